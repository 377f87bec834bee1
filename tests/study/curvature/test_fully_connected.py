"""Products of fully connected layers by hand are those of autograd, to the bit; other layers go autograd's way."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from study.curvature import Curvature, layer_eigenvalues
from study.curvature.matrix.fully_connected import fully_connected
from study.curvature.networks.network import Network

N = 300  # more than one chunk


def network(*more: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Flatten(), nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 9), nn.ReLU(), nn.Linear(9, 4), *more
    )


def data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(N, 3, 4, generator=generator), torch.randint(4, (N,), generator=generator)


@pytest.mark.parametrize("loss", ["cross_entropy", "squared_error"])
@pytest.mark.parametrize("layer", ["1", "3", "5"])
def test_products_are_those_of_autograd(layer: str, loss: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, taken = network(), []

    def seen(*given: Any) -> object:
        taken.append(fully_connected(*given))
        return taken[-1]

    def both() -> tuple[object, Tensor, Tensor]:
        with Curvature(model, data(), loss, parameters=[f"{layer}.weight"], kind="gauss_newton") as matrix:
            vectors = torch.randn(2, matrix.n, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
            one, two = matrix.product(vectors[:1]), matrix.product(vectors)
        return layer_eigenvalues(model, data(), loss, layers=[layer]), one, two

    monkeypatch.setattr("study.curvature.matrix.products.fully_connected", seen)
    ours = both()
    assert taken and all(taken)
    monkeypatch.setattr("study.curvature.matrix.products.fully_connected", lambda *given: None)
    theirs = both()
    assert ours[0] == theirs[0]
    assert torch.equal(ours[1], theirs[1]) and torch.equal(ours[2], theirs[2])


class Own(nn.Linear):
    """A layer of somebody's."""


def hooked() -> nn.Sequential:
    model = network()
    model[2].register_forward_hook(lambda module, given, made: 2 * made)
    return model


def patched() -> nn.Sequential:
    model = network()
    model[2].forward = torch.tanh
    return model


def tied() -> nn.Sequential:
    model = network(nn.Linear(4, 4), nn.Linear(4, 4))
    model[7].weight = model[6].weight
    return model


@pytest.mark.parametrize(
    "make",
    [hooked, patched, tied, lambda: network(nn.Tanh()), lambda: network(nn.ReLU(inplace=True)),
     lambda: network(Own(4, 4)), lambda: nn.Sequential(nn.Linear(4, 5), nn.Flatten(), nn.Linear(15, 4)),
     lambda: nn.Sequential(network())],
)  # fmt: skip
def test_others_go_the_general_way(make: Callable[[], nn.Module]) -> None:
    model, x = make(), data()[0]
    with Network(model) as open_network:
        for name in open_network.parameters:
            assert fully_connected(open_network, x, model(x).detach(), name) is None


def test_outputs_must_be_the_networks_own() -> None:
    model, x = network(), data()[0]
    with Network(model) as open_network:
        outputs = model(x).detach()
        assert fully_connected(open_network, x, outputs, "3.weight") is not None
        assert fully_connected(open_network, x, outputs + 1e-3, "3.weight") is None
        assert fully_connected(open_network, x, outputs, "3.bias") is None
    with Network(model, call=lambda model, given: model(*given)) as called:
        assert fully_connected(called, x, outputs, "3.weight") is None
