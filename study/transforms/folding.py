"""Batch-norm as what it is after training: a factor and a shift of the layer before it."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


def folded(model: nn.Module) -> nn.Module:
    """A copy in float64 whose batch-norms are folded into the layer registered before each; in eval mode.

    The layer's weights times gamma / sqrt(var + eps), its bias moved along, made where there is none. Whether that
    leaves the function is for the caller to check: in a network that has batch-norm before the layer it does not.
    Raises ValueError for a batch-norm without a layer of as many channels before it or without running statistics.
    Cost: a copy of the network. Source: as in the public code of Dziugaite et al. 2020 (2010.11924).
    """
    from torch import nn

    other = copy.deepcopy(model).double().eval()
    layer: nn.Module | None = None
    for path, module in list(other.named_modules()):
        if isinstance(module, nn.Linear | nn.Conv2d):
            layer = module
        elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            _fold(path, layer, module)
            owner, _, name = path.rpartition(".")
            setattr(other.get_submodule(owner), name, nn.Identity())
    return other


def _fold(path: str, layer: nn.Module | None, norm: nn.BatchNorm1d | nn.BatchNorm2d) -> None:
    import torch
    from torch import nn

    if norm.running_mean is None or norm.running_var is None:
        raise ValueError(f"{path}: has no running statistics: batch-norm cannot be folded")
    if not isinstance(layer, nn.Linear | nn.Conv2d) or len(layer.weight) != norm.num_features:
        raise ValueError(f"{path}: no layer of {norm.num_features} channels before it: batch-norm cannot be folded")
    with torch.no_grad():
        factor = (norm.running_var + norm.eps).rsqrt()
        factor = factor if norm.weight is None else factor * norm.weight
        before = torch.zeros_like(factor) if layer.bias is None else layer.bias
        bias = factor * (before - norm.running_mean)
        layer.bias = nn.Parameter(bias if norm.bias is None else bias + norm.bias)
        layer.weight.mul_(factor.view(-1, *[1] * (layer.weight.ndim - 1)))
