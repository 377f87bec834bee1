"""Outputs along rays are those of the network with its parameters moved, however they are put together."""

import copy

import pytest
import torch
from torch import nn

from study.measures import MeasureContext, compute
from study.measures.families.pac_bayes import _own_rays
from study.measures.perturbation.perturbation import Perturbed
from study.measures.perturbation.rays import Rays
from study.models.lenet5 import lenet5
from study.models.mlp import mlp
from study.models.nin import nin

N = 16


def context(model: nn.Module, shape: tuple[int, ...]) -> MeasureContext:
    x = torch.randn(N, *shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    labels = model.double().eval()(x).argmax(1)  # it makes no mistake
    return MeasureContext(model, {}, x, labels, "cross_entropy", "0123456789ab")


@pytest.fixture(scope="module")
def images() -> MeasureContext:
    torch.manual_seed(0)
    return context(lenet5((2, 16, 16), 3, ()), (2, 16, 16))


def plain(rays: Rays, sigma: float, k: int) -> torch.Tensor:
    with torch.no_grad():
        return rays.network.outputs(rays.network.weights + sigma * rays.directions[k])


@pytest.mark.parametrize("sigma", [0.0, 0.03, 1.0])
def test_outputs_are_those_of_the_moved_network(images: MeasureContext, sigma: float) -> None:
    rays = _own_rays(images, "false")
    assert rays._at_w is not None
    for k in (0, 9):
        torch.testing.assert_close(rays.outputs(sigma, k), plain(rays, sigma, k))


@pytest.mark.parametrize("transform", ["layerwise_1", "factor_1e-2"])
def test_a_copy_takes_what_its_first_layers_give_from_the_network(images: MeasureContext, transform: str) -> None:
    copy = images.reparameterized(transform)
    rays, before = _own_rays(copy, "false"), _own_rays(images, "false")
    assert not torch.equal(rays.network.weights, before.network.weights)
    for sigma in (0.03, 0.25):
        torch.testing.assert_close(rays.outputs(sigma, 2), plain(rays, sigma, 2))
        assert (sigma, 2) in before._kept
    alone = context(copy.model, (2, 16, 16))
    found = compute(f"pac_bayes_flatness@{transform}", images)
    assert found["value"] == pytest.approx(compute("pac_bayes_flatness", alone)["value"], rel=1e-6)


@pytest.mark.parametrize("transform", ["factor_5", "neuronwise_1"])
def test_a_copy_shares_nothing_where_a_norm_that_it_changes_is_folded_before(transform: str) -> None:
    torch.manual_seed(0)
    model = nin((2, 16, 16), 3, (), depth=2, width=6, dropout=0.0, norm_momentum=0.1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 2.0)
            nn.init.uniform_(module.running_var, 0.5, 2.0)  # type: ignore[arg-type]
    ctx = context(model, (2, 16, 16))
    copy = ctx.reparameterized(transform)
    rays = _own_rays(copy, "false")
    assert rays.network.folds
    for sigma in (0.0, 0.03):
        torch.testing.assert_close(rays.outputs(sigma, 2), plain(rays, sigma, 2))


class Aliased(nn.Module):
    """Layers that are there by two names each."""

    def __init__(self, layer: nn.Module, last: nn.Module) -> None:
        super().__init__()
        self.layer, self.last = layer, last
        self.all = nn.Sequential(layer, nn.ReLU(), last)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.all(x)


def test_parameters_by_two_names_are_moved_in_every_place_and_put_back() -> None:
    """One layer that stands twice, one weight of two layers, layers that are there by another name, too."""
    torch.manual_seed(0)
    layer, last = nn.Linear(6, 6), nn.Linear(6, 3)
    tied = nn.Sequential(layer, nn.ReLU(), nn.Linear(6, 6), last)
    tied[2].weight = layer.weight
    own, x = layer.weight, torch.randn(N, 6)
    for model in (nn.Sequential(layer, nn.ReLU(), layer, last), tied, Aliased(layer, last)):
        network = Perturbed(model, x, torch.zeros(N).long(), "cross_entropy")
        rays = Rays(network, [torch.randn(len(network.weights))])
        found = rays.outputs(0.5, 0)
        assert layer.weight is own, "put back"
        moved = copy.deepcopy(model)
        with torch.no_grad():
            for p, value in zip(moved.parameters(), network.named(rays._moved(0.5, 0)).values(), strict=True):
                p.copy_(value)
            torch.testing.assert_close(found, moved(x))
            torch.testing.assert_close(network.outputs(network.weights), model(x))


def test_without_room_nothing_is_kept(images: MeasureContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("study.measures.perturbation.rays._KEPT_BYTES", 1000)
    rays = Rays(_own_rays(images, "false").network, _own_rays(images, "false").directions, 7)
    assert torch.equal(rays.outputs(0.03, 1), plain(rays, 0.03, 1))
    assert rays._at_w is None and not rays._kept


def test_of_a_fully_connected_network_outputs_are_the_same_to_the_bit() -> None:
    torch.manual_seed(0)
    ctx = context(mlp((6,), 3, (8, 5), activation="relu", dropout=0.0), (6,))
    for of in (ctx, ctx.reparameterized("layerwise_1")):
        rays = _own_rays(of, "false")
        assert torch.equal(rays.outputs(0.1, 3), plain(rays, 0.1, 3))


def test_a_network_that_is_no_sequence_is_taken_as_a_whole() -> None:
    torch.manual_seed(0)
    network = Perturbed(nn.Linear(6, 3), torch.randn(N, 6), torch.zeros(N).long(), "cross_entropy")
    rays = Rays(network, [torch.randn(21)])
    assert torch.equal(rays.outputs(0.5, 0), plain(rays, 0.5, 0))
