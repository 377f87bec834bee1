"""What layer_curvature promises besides its numbers: any data, any loss, and a model left as it was."""

import contextlib
import copy
import sys
import types
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from study.curvature import Loss, layer_curvature
from study.device import reproducible
from tests.study.curvature import networks
from tests.study.curvature.comparison import assert_close, small, values


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
    monkeypatch.setattr("study.curvature.blocks.budget.swift_cpu", lambda: 2**16)
    seen: list[int] = []
    few = 5  # samples that are run again, to see whether their outputs are theirs alone
    model.register_forward_hook(lambda module, args, output: seen.append(len(output) if len(output) > few else 0))
    results: list = []
    for data in (DataLoader(TensorDataset(x, y), batch_size=400), (x, y)):
        results.append(values(layer_curvature(model, data, memory_budget=budget)))
        results.append(sum(seen) / 400)
        seen.clear()
    assert results[1] == pytest.approx(from_a_loader, abs=0.05)
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


def test_classes_stand_for_one_hot_vectors() -> None:
    outputs, y = torch.randn(5, 3, dtype=torch.float64), torch.tensor([0, 2, 1, 1, 0])
    one_hot = torch.nn.functional.one_hot(y, 3)
    for targets in (y, one_hot, one_hot.double()):
        assert Loss("squared_error").sum(outputs, targets) == (outputs - one_hot).square().sum()
    single = torch.tensor([2, 5])  # of one output a sample, whole numbers are values, not classes
    assert Loss("squared_error").sum(torch.ones(2, 1), single) == 17


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


def test_a_torch_without_stances_measures_what_is_not_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """As 2.4 and 2.5 are, where something else has imported torch's compiler."""
    model, x, y = small()
    expected = values(layer_curvature(model, (x, y)))
    monkeypatch.delattr(torch.compiler, "set_stance")
    monkeypatch.setitem(sys.modules, "torch._dynamo", types.ModuleType("torch._dynamo"))
    assert values(layer_curvature(model, (x, y))) == expected


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("in_a_study", [False, True])
def test_a_gpu_gives_the_same(in_a_study: bool) -> None:
    """Also where torch refuses what has no deterministic kernel, as a study asks it to."""
    model, x, y = small()
    expected = values(layer_curvature(model, (x, y), dtype=torch.float64))
    with reproducible("cuda") if in_a_study else contextlib.nullcontext():
        assert_close(values(layer_curvature(model.cuda(), (x, y), dtype=torch.float64)), expected, 1e-9)
        assert_close(values(layer_curvature(model, (x, y))), expected, 1e-4)
        for columns in (1e-3, 2):
            assert layer_curvature(model, (x, y), columns=columns).keys() == expected.keys()
