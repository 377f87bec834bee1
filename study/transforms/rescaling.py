"""Transformations of the weights that leave the function as it was: what a measure of flatness should not notice.

In a network that is positively homogeneous between two consecutive layers (ReLU, leaky ReLU, pooling, flatten), the
weights and bias of neuron i of the first may be divided by any a_i > 0 if the second's weights that read it are
multiplied by a_i. Here the two are the network's last two layers, as in the published code of Petzka et al. 2021; where
a norm layer stands before the last one, its scale and shift are the first of the two.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from study.seeds import generator_for

if TYPE_CHECKING:
    from torch import Tensor, nn

TRANSFORM = re.compile(r"(layerwise|neuronwise)_([1-9]\d*)|factor_(\d+(?:e[+-]?\d+)?)")
ALLOWED = "layerwise_<draw>, neuronwise_<draw> (factors 5 to 25 from the run's key), factor_<20 or 1e-3, no point>"
FACTORS = (5, 25)  # integers, both ends included, as in the published code
TOLERANCE = 1e-3  # of the largest output: beyond it the function was not preserved, in float32 too


def is_transform(name: str) -> bool:
    """Whether this is the name of a reparameterization."""
    given = given_factor(name)
    return bool(TRANSFORM.fullmatch(name)) and (given is None or given > 0)


def given_factor(name: str) -> float | None:
    """The factor in the name of a transform, 20 of factor_20; None where it is drawn."""
    match = TRANSFORM.fullmatch(name)
    return float(match[3]) if match and match[3] else None


def factors(name: str, n_neurons: int, key: str) -> Tensor:
    """The factor of each neuron of the first of the two layers, shape (n_neurons,), float64.

    `layerwise_k` draws one factor, `neuronwise_k` one a neuron, from the run's key and k, so that every network has its
    own as in the published code (networks that share a seed would be rescaled alike); `factor_a` is a itself.
    Raises ValueError for another name.
    """
    import torch

    match = TRANSFORM.fullmatch(name)
    if not match or not is_transform(name):
        raise ValueError(f"reparameterize: {name!r}: allowed: {ALLOWED}")
    if (given := given_factor(name)) is not None:
        return torch.full((n_neurons,), given, dtype=torch.float64)
    n = n_neurons if match[1] == "neuronwise" else 1
    drawn = torch.randint(FACTORS[0], FACTORS[1] + 1, (n,), generator=generator_for(key, "reparameterize", name))
    return drawn.double().expand(n_neurons)


def last_two_layers(model: nn.Module) -> tuple[str, str]:
    """Paths of the two layers that are rescaled: the last one of LAYERS, and the layer or norm layer before.

    Raises ValueError where there are none, something that is not positively homogeneous is in the way, or the last is a
    convolution in groups: not every neuron of it reads every channel.
    """
    from torch import nn

    from study.transforms.places import HOMOGENEOUS, LAYERS, NORMS, has_scale

    leaves = [(path, m) for path, m in model.named_modules() if not list(m.children())]
    last = max((i for i, (_, module) in enumerate(leaves) if isinstance(module, LAYERS)), default=0)
    scaled = [i for i, (_, m) in enumerate(leaves[:last]) if isinstance(m, LAYERS + NORMS) and has_scale(m)]
    if not scaled or not isinstance(model, nn.Sequential):
        raise ValueError(f"reparameterize: {type(model).__name__}: allowed: nn.Sequential with two or more layers")
    for path, module in leaves[scaled[-1] + 1 : last]:
        if not isinstance(module, HOMOGENEOUS):
            raise ValueError(f"reparameterize: {path}: {type(module).__name__} is not positively homogeneous")
    if getattr(leaves[last][1], "groups", 1) != 1:
        raise ValueError(
            f"reparameterize: {leaves[last][0]}: groups {leaves[last][1].groups}: allowed: 1, as last layer"
        )
    return leaves[scaled[-1]][0], leaves[last][0]


def reparameterized(model: nn.Module, name: str, key: str) -> nn.Module:
    """A copy with the last two layers rescaled: weights and bias of the first / a, the weights that read them * a.

    Raises ValueError where something between the two is not positively homogeneous.
    """
    other = copy.deepcopy(model)
    first, second = map(other.get_submodule, last_two_layers(model))
    rescale(first, [second], factors(name, len(cast("Tensor", first.weight)), key))
    return other


def rescale(first: nn.Module, readers: Sequence[nn.Module], factors: Tensor) -> None:
    """In place: weights and bias of channel i of `first` / factors[i] (n,), the readers' weights that read it * it."""
    import torch

    weight, bias = cast("Tensor", first.weight), cast("Tensor | None", first.bias)
    a = factors.to(weight)
    with torch.no_grad():
        _scale(weight, 1 / a, 0)
        if bias is not None:
            _scale(bias, 1 / a, 0)
        for reader in readers:
            read = cast("Tensor", reader.weight)
            _scale(read, a.repeat_interleave(read.shape[1] // len(a)), 1)  # the pixels of a channel


def _scale(tensor: Tensor, factor: Tensor, axis: int) -> None:
    shape = [1] * tensor.ndim
    shape[axis] = -1
    tensor.mul_(factor.view(shape))


def function_difference(before: Tensor, after: Tensor, tolerance: float = TOLERANCE) -> float:
    """Largest difference of two networks' outputs, relative to the largest output. Raises ValueError past tolerance."""
    moved, largest = (after - before).abs().max().item(), before.abs().max().item()
    difference = moved / largest if largest else float("inf") if moved else 0.0  # no output but 0, and none after
    if not difference <= tolerance:
        raise ValueError(f"outputs differ by {difference:.2g} of the largest: the function was not preserved")
    return difference
