"""What layer_curvature promises besides its numbers: any data, any loss, few columns, and a model left as it was."""

import copy
import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from study.curvature import Loss, layer_curvature, plan
from tests.curvature import networks


def small(n: int = 40, n_classes: int = 3) -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        nn.Dropout(0.5),
        nn.Flatten(),
        nn.Linear(64, n_classes),
    )
    model(torch.randn(64, 1, 6, 6))
    return model.eval(), torch.randn(n, 1, 6, 6), torch.randint(n_classes, (n,))


def values(curvature: dict) -> dict[str, list[float]]:
    return {
        name: [layer.trace, layer.relative_flatness, layer.relative_flatness_normalized, layer.kappa_2019]
        for name, layer in curvature.items()
    }


def assert_close(left: dict, right: dict, rel: float = 1e-4) -> None:
    assert left.keys() == right.keys()
    for name in left:
        assert left[name] == pytest.approx(right[name], rel=rel)


def test_any_data_gives_the_same() -> None:
    model, x, y = small()
    expected = values(layer_curvature(model, (x, y)))
    loader = DataLoader(TensorDataset(x, y), batch_size=7)
    assert_close(values(layer_curvature(model, loader)), expected)
    assert_close(values(layer_curvature(model, DataLoader(TensorDataset(x, y), batch_size=9, shuffle=True))), expected)
    assert_close(values(layer_curvature(model, (batch for batch in loader))), expected)
    assert_close(values(layer_curvature(model, [(x[:1], y[:1]), (x[1:], y[1:])])), expected)
    assert_close(values(layer_curvature(model, [x, y])), expected)


@pytest.mark.parametrize(("budget", "from_a_loader", "from_memory"), [(10**8, 1, 1), (10**6, 2, 1.1), (10**5, 2, 1.9)])
def test_recorded_passes_are_used_again_as_far_as_the_budget_holds_them(
    budget: int, from_a_loader: float, from_memory: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A DataLoader may bring its samples in another order the second time, tensors do not."""
    model, x, y = small(400)
    monkeypatch.setattr(plan, "_SWIFT_CPU", 2**16)
    seen: list[int] = []
    model.register_forward_hook(lambda module, args, output: seen.append(len(output)))
    results: list = []
    for data in (DataLoader(TensorDataset(x, y), batch_size=400), (x, y)):
        results.append(values(layer_curvature(model, data, memory_budget=budget)))
        results.append(sum(seen) / 400)
        seen.clear()
    assert results[1] == pytest.approx(from_a_loader, abs=0.05)  # and the few samples of a first look
    assert results[3] == pytest.approx(from_memory, abs=0.05)
    assert_close(results[0], results[2])


def test_several_inputs_as_tuple_or_by_name() -> None:
    case = networks.case("two_inputs")
    a, b = case.inputs
    y = networks.targets("cross_entropy", len(a), 3)
    expected = values(layer_curvature(case.model, ((a, b), y)))
    assert_close(values(layer_curvature(case.model, ({"b": b, "a": a}, y))), expected, 1e-12)
    assert_close(values(layer_curvature(case.model, [([a, b], y)])), expected, 1e-12)


def test_the_model_is_left_as_it_was_found() -> None:
    model, x, y = small()
    model.train()
    model[1].eval()
    model[0].weight.requires_grad_(False)
    model[5].weight.grad = torch.ones_like(model[5].weight)
    before = copy.deepcopy(model.state_dict())
    modes = [module.training for module in model.modules()]
    state = torch.get_rng_state()
    for columns in ("exact", 0.1, 2):
        layer_curvature(model, DataLoader(TensorDataset(x, y), batch_size=8, shuffle=True), columns=columns)
    with pytest.raises(ValueError, match="targets"):
        layer_curvature(model, (x, y[1:]))
    assert torch.equal(torch.get_rng_state(), state)
    assert modes == [module.training for module in model.modules()]
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in before.items())
    assert [p.requires_grad for p in model.parameters()] == [False, True, True, True, True, True]
    assert torch.equal(model[5].weight.grad, torch.ones_like(model[5].weight))
    assert model[0].weight.grad is None
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_works_inside_no_grad_inference_and_autocast_and_without_gradients() -> None:
    model, x, y = small()
    expected = values(layer_curvature(model, (x, y)))
    with torch.no_grad():
        assert values(layer_curvature(model, (x, y))) == expected
    with torch.inference_mode():
        assert values(layer_curvature(model, (x * 1, y))) == expected
    with torch.autocast("cpu", torch.bfloat16):
        assert values(layer_curvature(model, (x, y))) == expected
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    assert values(layer_curvature(model, (x, y))) == expected


def test_float64_on_request_and_close_to_it_otherwise() -> None:
    model, x, y = small()
    wide = layer_curvature(model, (x, y), dtype=torch.float64)
    truth = layer_curvature(copy.deepcopy(model).double(), (x.double(), y))
    assert values(wide) == values(truth)
    assert model[0].weight.dtype == torch.float32
    assert_close(values(layer_curvature(model, (x, y))), values(truth), 1e-5)


def test_label_smoothing_changes_nothing_in_the_gauss_newton_matrix() -> None:
    model, x, y = small()
    expected = values(layer_curvature(model, (x, y)))
    assert values(layer_curvature(model, (x, y), Loss("cross_entropy", label_smoothing=0.1))) == expected
    assert values(layer_curvature(model, (x, y), nn.CrossEntropyLoss(label_smoothing=0.1))) == expected


def rescaled(model: nn.Module, factors: Tensor) -> nn.Module:
    """The same function with neuron s of layer 0 times factors[s] and layer 2's columns divided by them."""
    model = copy.deepcopy(model)
    with torch.no_grad():
        model[0].weight *= factors[:, None]
        model[0].bias *= factors
        model[2].weight /= factors
    return model


def test_the_invariances_of_definitions() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4)).double()
    with torch.no_grad():
        model[0].weight[3], model[0].bias[3] = 0, -1  # a dead feature
        model[0].weight[4], model[0].bias[4] = 0, 2  # one that never varies
    x, y = torch.randn(50, 6, dtype=torch.float64), torch.randint(4, (50,))
    plain = layer_curvature(model, (x, y), neuron_wise=True)
    one = layer_curvature(rescaled(model, torch.full((5,), 9.0).double()), (x, y), neuron_wise=True)
    each = layer_curvature(rescaled(model, torch.tensor([0.2, 3, 40, 5, 0.5]).double()), (x, y), neuron_wise=True)
    for name in ("0", "2"):
        assert one[name].relative_flatness == pytest.approx(plain[name].relative_flatness)
        assert one[name].kappa_2019 == pytest.approx(plain[name].kappa_2019)
        assert one[name].trace != pytest.approx(plain[name].trace)
        for other in (one, each):
            normalized = plain[name].relative_flatness_normalized
            assert other[name].relative_flatness_normalized == pytest.approx(normalized)
            torch.testing.assert_close(other[name].neuron_wise, plain[name].neuron_wise)
    assert each["0"].relative_flatness == pytest.approx(plain["0"].relative_flatness)  # scaling of its own outputs
    assert each["2"].relative_flatness != pytest.approx(plain["2"].relative_flatness, rel=0.1)
    assert each["2"].kappa_2019 != pytest.approx(plain["2"].kappa_2019, rel=0.1)
    assert plain["2"].feature_scale[3:].tolist() == [0, 0]


def test_normalized_is_what_the_normalized_network_has() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 3, 3, groups=1), nn.ReLU(), nn.Flatten(), nn.Linear(12, 3)).double()
    x, y = (
        torch.randn(20, 2, 4, 4, dtype=torch.float64) * torch.tensor([1.0, 7.0])[:, None, None],
        torch.randint(3, (20,)),
    )
    scale = x.std((0, 2, 3), correction=0)
    other = copy.deepcopy(model)
    other[0].weight.data *= scale[:, None, None]
    plain, scaled = layer_curvature(model, (x, y)), layer_curvature(other, (x / scale[:, None, None], y))
    assert plain["0"].relative_flatness_normalized == pytest.approx(scaled["0"].relative_flatness)
    torch.testing.assert_close(plain["0"].trace_matrix_normalized, scaled["0"].trace_matrix)
    torch.testing.assert_close(plain["0"].feature_scale, scale.repeat_interleave(9))
    phi = model[:3](x)
    torch.testing.assert_close(plain["3"].feature_scale, phi.std(0, correction=0).detach())


@pytest.mark.parametrize("name", ["mlp_relu", "conv2d_groups", "conv2d_wide", "batch_norm1d"])
def test_neuron_wise_is_that_of_the_hessian(name: str) -> None:
    from tests.curvature.reference import hessian_block, mean_loss

    case = networks.case(name)
    y = networks.targets("cross_entropy", len(case.inputs), 3)
    for layer, measured in layer_curvature(case.model, (case.inputs, y), neuron_wise=True).items():
        module = case.model.get_submodule(layer)
        block = hessian_block(case.model, case.inputs, y, mean_loss("cross_entropy"), f"{layer}.weight")
        weight = module.weight.detach().reshape(len(block), -1)
        groups = len(weight) if isinstance(module, nn.BatchNorm1d) else getattr(module, "groups", 1)
        rows = len(weight) // groups
        rho = [
            torch.einsum("s,st,t->", v, block[at, j, at, j], v)
            for at in (slice(g * rows, (g + 1) * rows) for g in range(groups))
            for j in range(weight.shape[1])
            for v in [weight[at, j]]
        ]
        torch.testing.assert_close(measured.neuron_wise, torch.stack(rho), rtol=1e-9, atol=1e-13)


def many_classes(confidence: float) -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(30, 40), nn.ReLU(), nn.Linear(40, 50)).double()
    model[2].weight.data *= confidence
    return model, torch.randn(200, 30, dtype=torch.float64), torch.randint(50, (200,))


@pytest.mark.parametrize("confidence", [0.1, 5.0, 50.0])
@pytest.mark.parametrize("tolerance", [1e-1, 1e-3])
def test_a_tolerance_is_kept_and_its_bound_holds(confidence: float, tolerance: float) -> None:
    model, x, y = many_classes(confidence)
    truth = layer_curvature(model, (x, y))
    for seed in range(3):
        close = layer_curvature(model, (x, y), columns=tolerance, seed=seed)
        for name, layer in close.items():
            error = abs(layer.trace - truth[name].trace)
            assert error <= layer.error_bound + 1e-12 * layer.trace
            assert layer.error_bound <= tolerance * layer.trace
            assert layer.relative_flatness == pytest.approx(truth[name].relative_flatness, rel=tolerance)
            assert layer.standard_error is None


@pytest.mark.parametrize("confidence", [0.1, 5.0])
def test_random_columns_are_unbiased_with_an_honest_standard_error(confidence: float) -> None:
    model, x, y = many_classes(confidence)
    truth = layer_curvature(model, (x, y))
    runs = [layer_curvature(model, (x, y), columns=3, seed=seed) for seed in range(30)]
    for name in truth:
        for field in ("trace", "relative_flatness", "relative_flatness_normalized", "kappa_2019"):
            found = torch.tensor([getattr(run[name], field) for run in runs], dtype=torch.float64)
            stated = torch.tensor([run[name].standard_error[field] for run in runs]).double().square().mean().sqrt()
            error = abs(float(found.mean()) - getattr(truth[name], field))
            if name == "2":  # gives the outputs: in closed form
                assert error <= 1e-12 * found.mean()
                assert stated == 0
            else:
                assert error < 4 * float(found.std()) / math.sqrt(30)
                assert 0.5 < float(stated / found.std()) < 2
        assert runs[0][name].error_bound == 0 if name == "2" else math.isnan(runs[0][name].error_bound)


def test_as_many_random_columns_as_there_are_is_exact() -> None:
    model, x, y = many_classes(1.0)
    assert values(layer_curvature(model, (x, y), columns=49)) == values(layer_curvature(model, (x, y)))


def test_twice_the_same() -> None:
    model, x, y = many_classes(5.0)
    for columns in ("exact", 1e-2, 3):
        first, second = (layer_curvature(model, (x, y), columns=columns) for _ in range(2))
        assert values(first) == values(second)
        assert all(torch.equal(first[name].trace_matrix, second[name].trace_matrix) for name in first)


class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(nn.functional.linear(self.layer(x), self.layer.weight))


class Scaled(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            nn.Sequential(nn.Linear(4, 4), nn.Bilinear(4, 4, 3)),
            "layer '1' of type Bilinear holds parameters weight, bias",
        ),
        (nn.Sequential(nn.PReLU(), nn.Linear(4, 3)), "layer '0' of type PReLU"),
        (nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 3))), "of type ParametrizedLinear"),
        (nn.Sequential(nn.ReLU()), "has no layer with a weight"),
        (nn.DataParallel(nn.Linear(4, 3)), "give the network inside, model.module"),
        ("a path", "model is a str, not a torch.nn.Module"),
        (Functional(), "layer 'layer' of type Linear cannot be treated exactly"),
        (nn.Sequential(Scaled(4, 3)), "layer '0' of type Scaled cannot be treated exactly"),
        (nn.Sequential(nn.BatchNorm1d(4, track_running_stats=False), nn.Linear(4, 3)), "depends on the other samples"),
        (nn.Sequential(nn.Linear(4, 3), nn.Unflatten(1, (3, 1))), "shape"),
    ],
)
def test_what_cannot_be_treated_is_named(model: nn.Module, message: str) -> None:
    x, y = torch.randn(6, 4), torch.randint(3, (6,))
    with pytest.raises(ValueError, match=message):
        layer_curvature(model, (x, y))
    assert isinstance(model, str) or not any(module._forward_hooks for module in model.modules())


def test_a_shared_weight_is_one_layer_by_either_name() -> None:
    case = networks.case("tied")
    y = networks.targets("cross_entropy", 5, 4)
    expected = values(layer_curvature(case.model, (case.inputs, y)))
    assert list(expected) == ["first"]
    assert values(layer_curvature(case.model, (case.inputs, y), layers=["second"])) == expected


def test_layers_can_be_chosen() -> None:
    x, y = torch.randn(6, 4), torch.randint(3, (6,))
    model = nn.Sequential(nn.Linear(4, 4), nn.PReLU(), nn.Linear(4, 3))
    assert list(layer_curvature(model, (x, y), layers=["2"])) == ["2"]
    with pytest.raises(ValueError, match="layers '7' hold no parameters; those that do: 0, 1, 2"):
        layer_curvature(model, (x, y), layers=["7"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "hinge"}, "loss 'hinge' is not one of cross_entropy"),
        ({"loss": nn.MSELoss()}, "loss MSELoss"),
        ({"columns": "some"}, "columns 'some' is not"),
        ({"columns": 1}, "columns 1 is not"),
        ({"columns": 1.5}, "columns 1.5 is not"),
        ({"memory_budget": 1000}, "memory_budget 1000 bytes is too small"),
        ({"memory_budget": "2GB"}, "memory_budget '2GB' is not a whole number of bytes"),
        ({"dtype": torch.int32}, "dtype torch.int32 is not a floating point type"),
        ({"layers": "0"}, "layers '0' is not a list"),
        ({"layers": []}, r"layers \[\] is not a list of at least one path"),
    ],
)
def test_wrong_arguments_are_named(options: dict, message: str) -> None:
    model, x, y = small(4)
    with pytest.raises(ValueError, match=message):
        layer_curvature(model, (x, y), **options)


def test_wrong_data_is_named() -> None:
    model, x, y = small(4)
    with pytest.raises(ValueError, match="data must be"):
        layer_curvature(model, [x, x, x])
    with pytest.raises(ValueError, match="4 inputs and 3 targets"):
        layer_curvature(model, (x, y[:3]))
    with pytest.raises(ValueError, match="no sample"):
        layer_curvature(model, [])
    for data in (None, x, (x, None), (x, y.tolist())):
        with pytest.raises(ValueError, match="data must be"):
            layer_curvature(model, data)
    with pytest.raises(ValueError, match="a Dataset is read through DataLoader"):
        layer_curvature(model, TensorDataset(x, y))
    with pytest.raises(ValueError, match="targets are classes 3 to 4; the model's 3 outputs allow 0 to 2"):
        layer_curvature(model, (x, torch.tensor([3, 4, 4, 4])))
    with pytest.raises(ValueError, match=r"targets have shape \(4, 2\), the outputs \(4, 3\)"):
        layer_curvature(model, (x, torch.zeros(4, 2)), "squared_error")
    with pytest.raises(ValueError, match="targets are classes 0 to 3; the model's 3 outputs allow 0 to 2"):
        layer_curvature(model, (x, torch.arange(4)), "squared_error")
    x[1, 0, 2, 2] = math.nan
    with pytest.raises(ValueError, match="outputs are not finite"):
        layer_curvature(model, (x, y), columns=1e-2)
    assert math.isnan(layer_curvature(model, (x, y))["0"].trace)


def test_classes_stand_for_one_hot_vectors() -> None:
    outputs, y = torch.randn(5, 3, dtype=torch.float64), torch.tensor([0, 2, 1, 1, 0])
    one_hot = torch.nn.functional.one_hot(y, 3)
    for targets in (y, one_hot, one_hot.double()):
        assert Loss("squared_error").sum(outputs, targets) == (outputs - one_hot).square().sum()
    single = torch.tensor([2, 5])  # of one output a sample, whole numbers are values, not classes
    assert Loss("squared_error").sum(torch.ones(2, 1), single) == 17


def test_a_saturated_softmax_keeps_its_digits() -> None:
    """A network that is all but certain has a tiny trace, which a difference of numbers near one would lose."""
    torch.manual_seed(0)
    model, x, y = nn.Sequential(nn.Linear(5, 4)), 9 * torch.randn(40, 5), torch.randint(4, (40,))
    with torch.no_grad():
        model[0].weight.mul_(20)
    for options in ({}, {"neuron_wise": True}):
        found, true = (layer_curvature(model, (x, y), dtype=d, **options)["0"] for d in (None, torch.float64))
        assert found.trace == pytest.approx(true.trace, rel=1e-4)
        if found.neuron_wise is not None:
            torch.testing.assert_close(found.neuron_wise, true.neuron_wise, rtol=1e-4, atol=0)


def test_data_that_can_be_read_once_is_kept() -> None:
    model, x, y = small(6)

    class Once:
        def __init__(self) -> None:
            self.batches = iter([(x[:2], y[:2]), (x[2:4], y[2:4]), (x[4:], y[4:])])

        def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
            return self.batches

    expected = layer_curvature(model, (x, y))["0"].trace
    for data in (Once(), Once().batches):
        assert layer_curvature(model, data)["0"].trace == pytest.approx(expected, rel=1e-5)


class Counting(nn.Module):
    """Changes a buffer and its input at each forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)
        self.register_buffer("n_calls", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        self.n_calls += 1
        return self.layer(x.mul_(2))


def test_buffers_and_data_are_left_as_they_were_found() -> None:
    model, x, y = Counting(), torch.randn(6, 4), torch.randint(3, (6,))
    before, data = x.clone(), (x, y)
    expected = layer_curvature(model.layer, (2 * x, y))[""].trace
    for _ in range(2):
        assert layer_curvature(model, data)["layer"].trace == pytest.approx(expected)
    assert torch.equal(x, before)
    assert model.n_calls == 0


@pytest.mark.slow  # torch.compile takes seconds to import
@pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated")
def test_a_compiled_network_is_measured_as_the_plain_one() -> None:
    model, x, y = small()
    expected = values(layer_curvature(model, (x, y)))
    measured = values(layer_curvature(torch.compile(model), (x, y)))
    assert list(measured.values()) == list(expected.values())
    model.compile()
    assert values(layer_curvature(model, (x, y))) == expected


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_gives_the_same() -> None:
    model, x, y = small()
    expected = values(layer_curvature(model, (x, y), dtype=torch.float64))
    assert_close(values(layer_curvature(model.cuda(), (x, y), dtype=torch.float64)), expected, 1e-9)
    assert_close(values(layer_curvature(model, (x, y))), expected, 1e-4)
    for columns in (1e-3, 2):
        assert layer_curvature(model, (x, y), columns=columns).keys() == expected.keys()
