"""Batch-norm as what it is after training: a factor and a shift of the layer before it."""

from __future__ import annotations

import copy
import itertools
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.nn.modules.batchnorm import _BatchNorm

    Layer = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d


class Folding:
    """A network in eval mode without its batch-norms, and how these are folded into any parameters of the network.

    `model` is a copy in which an nn.Identity stands for each batch-norm, and a ReLU overwrites what a convolution
    gives where nothing else reads that; `parameters` gives what it runs with, differentiably. Whether that is the same
    function is for the caller to check, as of `folded`, which says what ValueError is raised.
    """

    def __init__(self, model: nn.Module) -> None:
        from torch import nn

        self._pairs = list(_pairs(model))
        self.model = copy.deepcopy(model).eval()
        for path, _, layer, _ in self._pairs:
            _remove(self.model, path)
            other = self.model.get_submodule(layer)
            if other.bias is None:
                other.bias = nn.Parameter(other.weight.detach().new_zeros(len(other.weight)))
        _overwrite(self.model)

    @property
    def folds(self) -> bool:
        """Whether there is a batch-norm."""
        return bool(self._pairs)

    def parameters(self, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Those of `model` by those of the network. Cost: two passes over the weights of the layers with norms."""
        found = dict(given)
        for path, norm, layer, _ in self._pairs:
            weight, bias = f"{layer}.weight", f"{layer}.bias"
            scale, shift = found.pop(f"{path}.weight", None), found.pop(f"{path}.bias", None)
            found[weight], found[bias] = _into(norm, scale, shift, found[weight], found.get(bias))
        return found


def folded(model: nn.Module) -> nn.Module:
    """A copy in float64 whose batch-norms are folded into the layer registered before each; in eval mode.

    The layer's weights times gamma / sqrt(var + eps), its bias moved along, made where there is none. Whether that
    leaves the function is for the caller to check: in a network that has batch-norm before the layer it does not.
    Raises ValueError for a batch-norm without a layer of as many channels before it or without running statistics, and
    where it or that layer stands at more than one place. Cost: a copy of the network. Source: as in the public code of
    Dziugaite et al. 2020 (2010.11924).
    """
    import torch
    from torch import nn

    other = copy.deepcopy(model).double().eval()
    with torch.no_grad():
        for path, norm, _, layer in list(_pairs(other)):
            weight, bias = _into(norm, norm.weight, norm.bias, layer.weight, layer.bias)
            layer.weight.copy_(weight)
            layer.bias = nn.Parameter(bias)
            _remove(other, path)
    return other


def is_batch_norm(module: nn.Module) -> bool:
    """Whether it is one, of any number of dimensions or of several processes."""
    from torch.nn.modules.batchnorm import _BatchNorm

    return isinstance(module, _BatchNorm)


def _pairs(model: nn.Module) -> Iterator[tuple[str, _BatchNorm, str, Layer]]:
    """Each batch-norm with its path, and the layer registered before it, its path first."""
    from torch import nn
    from torch.nn.modules.batchnorm import _BatchNorm

    layer: tuple[str, Layer] | None = None
    again = _again(model)
    for path, module in model.named_modules():
        if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d):
            layer = path, module
        elif isinstance(module, _BatchNorm):
            if module.running_mean is None or module.running_var is None:
                raise ValueError(f"{path}: has no running statistics: batch-norm cannot be folded")
            if layer is None or len(layer[1].weight) != module.num_features:
                what = f"no layer of {module.num_features} channels before it"
                raise ValueError(f"{path}: {what}: batch-norm cannot be folded")
            for name in (path, layer[0]):
                if name in again:
                    why = f"is registered as {again[name]}, too, so that it may be run twice"
                    raise ValueError(f"{name}: {why}: batch-norm cannot be folded, allowed: one name")
            yield path, module, *layer


def _again(model: nn.Module) -> dict[str, str]:
    """By a module's first path another one, at which it, or a module with its weight, stands."""
    first: dict[int, str] = {}
    again: dict[str, str] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        for part in (module, *module._parameters.values()):
            if part is not None and (known := first.setdefault(id(part), path)) != path:
                again.setdefault(known, path)
                again.setdefault(path, known)
    return again


def _into(
    norm: _BatchNorm, scale: Tensor | None, shift: Tensor | None, weight: Tensor, bias: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Weight and bias of the layer before a norm with this scale and shift, the norm folded in."""
    import torch

    assert norm.running_mean is not None and norm.running_var is not None
    factor = (norm.running_var + norm.eps).rsqrt()
    factor = factor if scale is None else factor * scale
    moved = factor * ((torch.zeros_like(factor) if bias is None else bias) - norm.running_mean)
    return weight * factor.view(-1, *[1] * (weight.ndim - 1)), moved if shift is None else moved + shift


def _overwrite(model: nn.Module) -> None:
    """Let each ReLU right behind a convolution write over its outputs, where certainly nothing else reads them.

    That is in an nn.Sequential that runs as such inside of such alone: a forward of one's own may read them again.
    """
    from torch import nn

    if type(model) is not nn.Sequential:
        return
    times = Counter(id(module) for _, module in model.named_modules(remove_duplicate=False))
    chains = [model]
    for chain in chains:
        chains += [part for part in chain if type(part) is nn.Sequential]
        layers = [layer for layer in chain if not isinstance(layer, nn.Identity)]
        for before, layer in itertools.pairwise(layers):
            if type(before) is nn.Conv2d and type(layer) is nn.ReLU and times[id(layer)] == 1:
                layer.inplace = True


def _remove(model: nn.Module, path: str) -> None:
    from torch import nn

    owner, _, name = path.rpartition(".")
    setattr(model.get_submodule(owner), name, nn.Identity())
