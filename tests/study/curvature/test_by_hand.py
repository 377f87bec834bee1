"""Columns that are sent back by hand give what autograd gives, and only a plain chain of known operations is."""

import functools
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from study.curvature import layer_curvature
from study.curvature.blocks import live, result, summation
from study.curvature.blocks.chain import Chain, chain_of
from study.curvature.blocks.contraction import Shape
from study.curvature.blocks.verification import Verification
from study.curvature.networks.batches import Batches
from study.curvature.networks.finding import find_layers
from study.curvature.networks.network import Network

N_CLASSES = 6  # five columns


def sequential(*layers: nn.Module, features: int) -> nn.Module:
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(features, 7), nn.ReLU(), nn.Linear(7, N_CLASSES))


class Functional(nn.Module):
    """No Sequential: what is read is the graph, whatever code built it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.out = nn.Conv2d(2, 3, 3), nn.Linear(27, N_CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(F.max_pool2d(self.conv(x), 2).clamp_min(-100).relu().flatten(1))


class Plainly(Functional):
    def forward(self, x: Tensor) -> Tensor:
        return self.out(F.max_pool2d(self.conv(x), 2).relu().view(len(x), -1))


class Residual(Functional):
    def forward(self, x: Tensor) -> Tensor:
        h = F.max_pool2d(self.conv(x), 2)
        return self.out((h.relu() + h).flatten(1))


class Twice(Functional):
    def forward(self, x: Tensor) -> Tensor:
        return self.out(F.max_pool2d(self.conv(self.conv(x)[:, :2]), 2).relu().flatten(1)[:, :9].repeat(1, 3))


class Hooked(Functional):
    """A hook on a tensor, which no graph shows."""

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv(x)
        if h.requires_grad:
            h.register_hook(lambda gradient: 2 * gradient)
        return self.out(F.max_pool2d(h, 2).relu().flatten(1))


BY_HAND: dict[str, Callable[[], nn.Module]] = {
    "pool, then relu": lambda: sequential(nn.Conv2d(2, 3, 3), nn.MaxPool2d(2), nn.ReLU(), features=27),
    "relu, then pool": lambda: sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.MaxPool2d(2), features=27),
    "relu in place, no biases": lambda: sequential(
        nn.Conv2d(2, 3, 3, bias=False), nn.ReLU(inplace=True), nn.MaxPool2d(2), features=27
    ),
    "two convolutions": lambda: sequential(
        nn.Conv2d(2, 3, 3, padding=1), nn.MaxPool2d(2), nn.ReLU(), nn.Conv2d(3, 4, 2), nn.ReLU(), features=36
    ),
    "overlapping windows": lambda: sequential(
        nn.Conv2d(2, 3, (3, 2)), nn.MaxPool2d(3, 2, padding=1), nn.ReLU(), nn.Conv2d(3, 4, 2), features=24
    ),
    "strides and padding": lambda: sequential(
        nn.Conv2d(2, 3, (2, 3), stride=(1, 2), padding=(2, 1)), nn.MaxPool2d((3, 2)), nn.ReLU(), features=18
    ),
    "groups, dilation": lambda: sequential(
        nn.Conv2d(2, 4, 2, groups=2), nn.MaxPool2d(2), nn.Conv2d(4, 3, 2, dilation=2), nn.ReLU(), features=3
    ),
    "no pooling": lambda: sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Conv2d(3, 2, 3), features=32),
    "functional": Plainly,
}
BY_AUTOGRAD: dict[str, Callable[[], nn.Module]] = {
    "an operation that is none of the chain's": Functional,
    "a residual": Residual,
    "one weight twice": Twice,
    "no convolution": lambda: nn.Sequential(nn.Flatten(), nn.Linear(128, 4), nn.ReLU(), nn.Linear(4, N_CLASSES)),
    "another padding": lambda: sequential(
        nn.Conv2d(2, 3, 3), nn.Conv2d(3, 2, 3, padding=1, padding_mode="circular"), features=72
    ),
    "tanh": lambda: sequential(nn.Conv2d(2, 3, 3), nn.Tanh(), nn.MaxPool2d(2), features=27),
}


@functools.cache
def data() -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    return torch.randn(11, 2, 8, 8, dtype=torch.float64), torch.randint(N_CLASSES, (11,))


def built(make: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return make().double()


def chain(model: nn.Module) -> tuple[Chain | None, bool]:
    """The chain of a network, and whether it was found to send what autograd sends."""
    layers = find_layers(model, None)
    with Network(model, None, [layer.parameter for layer in layers]) as network:
        verification = Verification(network, layers)
        inputs, _ = Batches.of(data()).head(network.place, 5)
        uses, outputs = verification.recorded(inputs)
        verification.verify(inputs, uses, outputs)
        return chain_of(outputs, uses), verification.by_hand


def by_autograd(monkeypatch: pytest.MonkeyPatch, model: nn.Module, **options: object) -> dict:
    with monkeypatch.context() as patch:
        patch.setattr(summation, "chain_of", lambda *_: None)
        return layer_curvature(model, data(), neuron_wise=True, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("is_live", [True, False])
@pytest.mark.parametrize("case", BY_HAND)
def test_a_chain_gives_what_autograd_gives(case: str, is_live: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Shape, "pays_at", lambda *_: is_live)
    model = built(BY_HAND[case])
    found, agrees = chain(model)
    assert found and agrees
    by_hand = layer_curvature(model, data(), neuron_wise=True)
    for name, expected in by_autograd(monkeypatch, model).items():
        for field in ("trace_matrix", "trace_matrix_normalized", "neuron_wise"):
            torch.testing.assert_close(getattr(by_hand[name], field), getattr(expected, field), rtol=1e-12, atol=1e-14)
        assert by_hand[name].relative_flatness == pytest.approx(expected.relative_flatness, rel=1e-12)
        assert by_hand[name].kind == expected.kind


@pytest.mark.parametrize("options", [{"columns": 0.01}, {"layers": ["0"]}, {"loss": "squared_error"}], ids=str)
def test_with_options_too(options: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    model = built(BY_HAND["two convolutions"])
    expected = by_autograd(monkeypatch, model, **options)
    for name, layer in layer_curvature(model, data(), **options).items():
        assert layer.trace == pytest.approx(expected[name].trace, rel=1e-12)


def test_only_the_places_behind_pooling_are_multiplied(monkeypatch: pytest.MonkeyPatch) -> None:
    n_places = []

    def gradient_at(module: nn.Conv2d, x: Tensor, delta: live.Live, at_once: int) -> Tensor:
        n_places.append(delta.values.shape[3])
        return live.gradient_at(module, x, delta, at_once)

    monkeypatch.setattr(result, "gradient_at", gradient_at)
    layer_curvature(built(lambda: sequential(nn.Conv2d(2, 3, 3), nn.MaxPool2d(3), features=12)), data())
    assert set(n_places) == {4}


@pytest.mark.parametrize("case", BY_AUTOGRAD)
def test_anything_else_is_autograds(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = built(BY_AUTOGRAD[case])
    assert chain(model)[0] is None
    monkeypatch.setattr(summation, "sweep", None)
    layer_curvature(model, data())


def test_a_hook_on_a_tensor_is_noticed() -> None:
    found, agrees = chain(built(Hooked))
    assert found and not agrees
