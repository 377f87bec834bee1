"""Places of every architecture: each transformation that is said to be exact is, and what is not is named."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from study.config import config_from_dict
from study.models.registry import MODELS
from study.training.start import build_model
from study.transforms.equivalent import equivalent, has_batch_norm
from study.transforms.folding import folded
from study.transforms.places import AT_PLACES, LAYER, NEURON, NORM, PERMUTATION, find_places
from study.transforms.rescaling import function_difference

SMALL = {  # the least of each architecture; one that is not here is tried as it is by default
    "lenet5": {}, "mlp": {"activation": "leaky_relu"}, "nin": {"depth": 1, "width": 4},
    "resnet": {"depth": 8, "width": 4}, "resnet18": {"width": 4}, "vgg": {"depth": 2, "width": 4},
    "vit": {"depth": 1, "heads": 2, "width": 8},
}  # fmt: skip
# How many transformations are exact, of each kind, counted by hand from the architectures.
EXACT = {
    "mlp": (2, 2, 2, 0), "lenet5": (4, 4, 4, 0), "nin": (3, 3, 3, 4), "resnet": (3, 3, 3, 7),
    "resnet18": (8, 8, 8, 20), "vgg": (4, 4, 4, 4), "vit": (2, 2, 1, 0),
}  # fmt: skip


def network(name: str) -> tuple[nn.Module, Tensor]:
    """In float64 and eval mode, with running statistics, scales and shifts that are not 0 and 1."""
    shape = (1, 28, 28) if name == "lenet5" else (1, 8, 8)
    dataset = "fashion_mnist" if name == "lenet5" else "digits_images"
    model = build_model(config_from_dict({"dataset": dataset, "model": {name: SMALL.get(name, {})}})).double()
    torch.manual_seed(0)
    x = torch.randn(8, *shape, dtype=torch.float64)
    with torch.no_grad():
        model(x)  # batch-norm begins in train mode
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d | nn.LayerNorm):
                module.weight.uniform_(0.5, 2.0)
                module.bias.normal_()
    return model.eval(), x


@pytest.mark.parametrize("name", list(MODELS))
def test_what_is_said_to_be_exact_is(name: str) -> None:
    model, x = network(name)
    before = copy.deepcopy(model.state_dict())
    places = find_places(model)
    exact = {transform: [p for p in places if transform not in p.refused] for transform in AT_PLACES}
    if name in EXACT:
        assert tuple(len(exact[transform]) for transform in AT_PLACES) == EXACT[name]
    with torch.no_grad():
        outputs = model(x)
        for transform, some in exact.items():
            for place in some[:3]:
                for factor in (1e-3,) if transform == PERMUTATION else (1e-3, 1e3):
                    other = equivalent(model, transform, place, factor, "key")
                    function_difference(outputs, other(x), 1e-12)
                    moved = [n for n, t in other.state_dict().items() if not torch.equal(t, before[n])]
                    own = {place.layer, place.norm, *place.readers}
                    assert moved and {n.rpartition(".")[0] for n in moved} <= own
        if has_batch_norm(model):
            function_difference(outputs, folded(model)(x), 1e-12)
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())


def test_places_are_named_by_their_layers_and_say_what_is_in_the_way() -> None:
    places = {place.name: place for place in find_places(network("resnet")[0])}
    assert places["stages.block1_1.conv1-stages.block1_1.conv2"].refused == {}
    assert places["conv-norm"].refused == dict.fromkeys((LAYER, NEURON, PERMUTATION), "add reads it")
    assert set(network_places("nin")) == {
        "conv1_1-conv1_2", "conv1_2-conv1_3", "conv1_3-conv_out", "conv_out-norm_out"
    }  # fmt: skip
    three = "+".join(f"blocks.0.attention.{part}" for part in ("query", "key", "value"))
    assert set(network_places("vit")[f"blocks.0.norm1-{three}"].refused) == {PERMUTATION, NORM}
    gelu = network_places("vit")["blocks.0.fc1-blocks.0.fc2"].refused
    assert gelu[LAYER] == "blocks.0.gelu is not positively homogeneous" and PERMUTATION not in gelu


def network_places(name: str) -> dict:
    return {place.name: place for place in find_places(network(name)[0])}


def test_a_factor_does_what_it_says() -> None:
    model, _ = network("nin")
    place = find_places(model)[0]
    one = equivalent(model, NORM, place, 10.0, "k")
    torch.testing.assert_close(one.conv1_1.weight * 10, model.conv1_1.weight)
    torch.testing.assert_close(one.norm1_1.running_mean * 10, model.norm1_1.running_mean)
    torch.testing.assert_close(one.norm1_1.running_var * 100, model.norm1_1.running_var)
    scaled = equivalent(model, LAYER, place, 10.0, "k")
    torch.testing.assert_close(scaled.norm1_1.weight * 10, model.norm1_1.weight)
    torch.testing.assert_close(scaled.conv1_2.weight, model.conv1_2.weight * 10)
    biases = [equivalent(model, NEURON, place, a, "k").norm1_1.bias.detach() for a in (1e3, 1e-3)]
    up, down = (bias / model.norm1_1.bias.detach() for bias in biases)
    torch.testing.assert_close(up * down, torch.ones_like(up))
    assert 1e-3 <= float(up.min()) < float(up.max()) <= 1e3


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.relu, self.fc2 = nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.relu(self.fc1(self.relu(self.fc1(x)))))


class Asking(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


def test_what_is_not_exact_is_refused_with_its_reason() -> None:
    assert find_places(Shared())[0].refused == dict.fromkeys(AT_PLACES, "fc1 is used more than once")
    with pytest.raises(ValueError, match="Asking: its forward cannot be traced"):
        find_places(Asking())
    groups = nn.Sequential(nn.Conv2d(2, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 1, groups=2), nn.ReLU(), nn.Conv2d(4, 2, 1))
    first, second = find_places(groups)
    assert first.refused[LAYER] == "2 reads it in groups" and set(second.refused) == {PERMUTATION, NORM}
    with pytest.raises(ValueError, match="2-4: permutation: the layer is one of groups"):
        equivalent(groups, PERMUTATION, second)
    with pytest.raises(ValueError, match="transform: 'rotation': allowed: layer-wise"):
        equivalent(groups, "rotation", second)
    alone = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2, affine=False), nn.ReLU(), nn.Linear(2, 2))
    assert find_places(alone)[0].refused[LAYER] == "1 has no scale for each channel"
