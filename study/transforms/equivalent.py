"""The same function with other weights: each transformation of a place (places.py), and batch-norm folded away."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from study.seeds import generator_for
from study.transforms.folding import is_batch_norm
from study.transforms.places import LAYER, NEURON, NORM, PERMUTATION, Place
from study.transforms.rescaling import rescale

if TYPE_CHECKING:
    _Norm = nn.BatchNorm2d

FOLDING = "folding"  # of the whole network: at no place


def equivalent(model: nn.Module, transform: str, place: Place, factor: float = 1.0, key: str = "") -> nn.Module:
    """A copy whose function is that of `model`, in eval mode, to rounding: for the caller to check.

    "layer-wise": weights and bias of the first layer (of its norm layer, where there is one) / factor, those that read
    it * factor. "neuron-wise": so with factor^u for each neuron, u drawn from [-1, 1] by `key` and place, the same for
    every factor. "permutation": its neurons in an order drawn so. "norm-layer": weights and bias before a batch-norm /
    factor, running statistics moved along, its scale corrected for its eps. Raises ValueError where the place refuses.
    """
    if transform in place.refused:
        raise ValueError(f"{place.name}: {transform}: {place.refused[transform]}")
    other = copy.deepcopy(model)
    changes = {LAYER: _rescaled, NEURON: _rescaled, PERMUTATION: _permuted, NORM: _before_norm}
    if transform not in changes:
        raise ValueError(f"transform: {transform!r}: allowed: {', '.join(changes)}")
    with torch.no_grad():
        changes[transform](other, place, _draws(transform, other, place, factor, key))
    return other


def has_batch_norm(model: nn.Module) -> bool:
    """Whether there is something to fold."""
    return any(map(is_batch_norm, model.modules()))


def _draws(transform: str, model: nn.Module, place: Place, factor: float, key: str) -> Tensor:
    """A factor, or for a permutation the old place, of each channel (n,)."""
    n = len(cast("Tensor", model.get_submodule(place.first).weight))
    generator = generator_for(key, "equivalent", transform, place.name)
    if transform == PERMUTATION:
        return torch.randperm(n, generator=generator)
    if transform == NEURON:
        return factor ** (2 * torch.rand(n, generator=generator, dtype=torch.float64) - 1)
    return torch.full((n,), factor, dtype=torch.float64)


def _rescaled(model: nn.Module, place: Place, factors: Tensor) -> None:
    rescale(model.get_submodule(place.first), [model.get_submodule(path) for path in place.readers], factors)


def _permuted(model: nn.Module, place: Place, order: Tensor) -> None:
    for path in filter(None, (place.layer, place.norm)):
        module = model.get_submodule(path)
        for tensor in [*module.parameters(recurse=False), *module.buffers(recurse=False)]:
            if tensor.ndim:  # not the count of batches
                tensor.copy_(tensor[order])
    for path in place.readers:
        weight = cast("Tensor", model.get_submodule(path).weight)
        pixels = weight.view(len(weight), len(order), -1)  # of a channel
        pixels.copy_(pixels[:, order])


def _before_norm(model: nn.Module, place: Place, factors: Tensor) -> None:
    norm = cast("_Norm", model.get_submodule(place.norm))
    mean, variance = cast("Tensor", norm.running_mean), cast("Tensor", norm.running_var)
    a = factors.to(norm.weight)
    rescale(model.get_submodule(place.layer), [], factors)
    old = (variance + norm.eps).sqrt()
    mean.div_(a)
    variance.div_(a.square())
    norm.weight.mul_(a * (variance + norm.eps).sqrt() / old)
