"""Whatever a network is made of and whatever happens: afterwards it holds the same objects with the same numbers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from study.curvature import hessian_trace, layer_curvature, layer_eigenvalues
from tests.study.curvature.comparison import small


class TwoNames(nn.Module):
    """A block that is listed, and has a name of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])
        self.first = self.blocks[0]
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks[1](self.first(x).relu()).relu())


class Restless(nn.Module):
    """A forward pass that writes everywhere: buffers, attributes, submodules, hooks, modes, and a weight in place."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.frozen = nn.Linear(4, 3), nn.Dropout(0.5)
        self.register_buffer("mean", torch.zeros(4))
        self.n_calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.n_calls += 1
        self.mean = 0.9 * self.mean + 0.1 * x.detach().mean(0)
        self.register_buffer("last", x.detach())
        self.extra = nn.Identity()
        self.frozen.train()
        self.layer.register_forward_hook(lambda module, args, output: None)
        with torch.no_grad():
            self.layer.weight.clamp_(-0.1, 0.1)
            self.layer.weight.data.mul_(0.5)
            self.layer.weight.data.mul_(2)
        return self.layer(x)


class Failing(TwoNames):
    def forward(self, x: Tensor) -> Tensor:
        super().forward(x)
        raise RuntimeError("out of luck")


def with_lstm() -> nn.Module:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm, self.head = nn.LSTM(2, 3, batch_first=True), nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.lstm(x.view(-1, 2, 2))[0][:, -1])

    return Recurrent()


def traced() -> nn.Module:
    return torch.jit.trace(nn.Linear(4, 3), torch.randn(2, 4))


def held(model: nn.Module) -> list:
    """Every object that the modules hold, and what stands in the tensors."""
    found: list = []
    for module in model.modules():
        for name, value in vars(module).items():
            inner = list(value.items()) if isinstance(value, dict) else value
            found.append((name, inner))
    return found


def numbers(model: nn.Module) -> list[Tensor]:
    return [value.detach().clone() for value in (*model.parameters(), *model.buffers())]


@pytest.mark.parametrize("build", [TwoNames, Restless, Failing, with_lstm, lambda: small()[0]])
@pytest.mark.parametrize("measure", [layer_curvature, hessian_trace, layer_eigenvalues])
def test_the_same_objects_with_the_same_numbers(build: Callable[[], nn.Module], measure: Callable) -> None:
    torch.manual_seed(0)
    model = build()
    x = torch.randn(6, 1, 6, 6) if isinstance(model, nn.Sequential) else torch.randn(6, 4)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    next(model.parameters()).requires_grad_(False)
    model.train()
    before, old, grads = held(model), numbers(model), [parameter.grad for parameter in model.parameters()]
    flags = [parameter.requires_grad for parameter in model.parameters()]
    try:
        measure(model, (x, torch.randint(3, (6,))), layers=["head"] if hasattr(model, "lstm") else None)
    except (RuntimeError, ValueError) as error:
        assert isinstance(model, Failing | Restless), error
    after = held(model)
    assert [name for name, _ in after] == [name for name, _ in before]
    for (name, now), (_, then) in zip(after, before, strict=True):
        if isinstance(then, list) and then and isinstance(then[0], tuple):
            assert all(a[0] == b[0] and a[1] is b[1] for a, b in zip(now, then, strict=True)), name
        elif not isinstance(then, list):
            assert now is then, name
    assert all(map(torch.equal, numbers(model), old))
    assert all(p.grad is grad for p, grad in zip(model.parameters(), grads, strict=True))
    assert flags == [parameter.requires_grad for parameter in model.parameters()]


def test_training_goes_on_after_a_block_with_two_names_was_measured() -> None:
    torch.manual_seed(0)
    model, x, y = TwoNames(), torch.randn(8, 4), torch.randint(3, (8,))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    layer_curvature(model, (x, y))
    before = model.first.weight.detach().clone()
    nn.functional.cross_entropy(model(x), y).backward()
    optimizer.step()
    assert isinstance(model.first.weight, nn.Parameter)
    assert not torch.equal(model.first.weight, before)


def test_the_global_state_is_put_back_where_a_weight_cannot_be_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x, y = small(6)
    model.train()
    precision, state = torch.get_float32_matmul_precision(), torch.get_rng_state()
    monkeypatch.setattr("study.curvature.networks.network.Network._copy", lambda self, value: value.no_such_method())
    torch.set_float32_matmul_precision("medium")
    try:
        with pytest.raises(AttributeError):
            layer_curvature(model, (x, y))
        assert torch.get_float32_matmul_precision() == "medium"
        assert not torch.is_inference_mode_enabled()
    finally:
        torch.set_float32_matmul_precision(precision)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(module.training for module in model.modules())


def test_weights_made_in_inference_mode_are_measured() -> None:
    torch.manual_seed(0)
    model, x, y = small(6)
    expected = layer_curvature(model, (x, y))["5"].trace
    with torch.inference_mode():
        other = small(6)[0]
        other.load_state_dict(model.state_dict())
    assert other[5].weight.is_inference()
    assert layer_curvature(other, (x, y))["5"].trace == expected


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Linear(4, 3, device="meta"), "'weight' is on the meta device, where there are no numbers"),
        (nn.Sequential(nn.LazyLinear(3)), "'0.weight' has no shape yet"),
    ],
)
def test_weights_without_numbers_are_named(model: nn.Module, message: str) -> None:
    for measure in (layer_curvature, hessian_trace):
        with pytest.raises(ValueError, match=message):
            measure(model, (torch.randn(6, 4), torch.zeros(6, dtype=torch.long)))


@pytest.mark.filterwarnings("ignore:.torch.jit.trace. is (deprecated|not supported)")
@pytest.mark.filterwarnings("ignore:.torch.jit.trace_method. is deprecated")
def test_a_traced_network_is_named() -> None:
    with pytest.raises(ValueError, match=r"'0' of the model is a module of torch\.jit"):
        layer_curvature(nn.Sequential(traced()), (torch.randn(6, 4), torch.zeros(6, dtype=torch.long)))


def test_the_default_device_is_the_models_own_affair() -> None:
    """Random vectors and sums are made on the CPU, what the forward pass makes where the user wants it."""
    seen: list[torch.device] = []

    class Asking(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(torch.zeros(1).device)
            return super().forward(x)

    torch.manual_seed(0)
    model, x, y = nn.Sequential(Asking(4, 5), nn.ReLU(), nn.Linear(5, 3)), torch.randn(9, 4), torch.randint(3, (9,))
    calls = [
        lambda: layer_curvature(model, (x, y))["0"].trace,
        lambda: layer_curvature(model, (x, y), columns=0.1)["0"].trace,
        lambda: layer_curvature(model, (x, y), columns=2, neuron_wise=True)["0"].trace,
        lambda: hessian_trace(model, (x, y))["0"].value,
        lambda: hessian_trace(model, (x, y), method="xtrace")["0"].value,
        lambda: layer_eigenvalues(model, (x, y))["0"].lambda_max,
    ]
    expected = [call() for call in calls]
    assert {device.type for device in seen} == {"cpu"}
    seen.clear()
    with torch.device("meta"):
        assert [call() for call in calls] == expected
    assert {device.type for device in seen} == {"meta"}


def test_backward_hooks_change_no_number_and_stay() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))
    data = torch.randn(12, 4), torch.randint(3, (12,))
    before = layer_curvature(model, data), hessian_trace(model, data)
    model[2].register_full_backward_hook(lambda module, into, outof: (2 * into[0],))
    model[2].register_full_backward_pre_hook(lambda module, outof: (3 * outof[0],))
    after = layer_curvature(model, data), hessian_trace(model, data)
    assert {n: (c.trace, c.kind) for n, c in after[0].items()} == {n: (c.trace, c.kind) for n, c in before[0].items()}
    assert after[1] == before[1]
    assert len(model[2]._backward_hooks) == len(model[2]._backward_pre_hooks) == 1
