"""Measures of the paths from inputs to outputs."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from study.measures.context import MeasureContext
from study.measures.layer_weights import inverse_margin_of
from study.measures.registry import measure

if TYPE_CHECKING:
    from torch import nn


def check_paths(model: nn.Module) -> None:
    """Raises ValueError, naming it, for a module that neither multiplies and adds along paths nor passes them on."""
    from torch import nn

    from study.models.residual import PaddedShortcut

    weighted = (nn.Linear, nn.Conv2d, nn.BatchNorm1d, nn.BatchNorm2d, nn.SyncBatchNorm)  # batch-norm is folded
    pooling = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d)
    passing = (nn.ReLU, nn.LeakyReLU, nn.Flatten, nn.Dropout, nn.Identity, PaddedShortcut)
    for path, module in model.named_modules():
        if not list(module.children()) and not isinstance(module, weighted + pooling + passing):
            raise ValueError(
                f"path_norm: {path}: {type(module).__name__}: allowed: ReLU, leaky ReLU, pooling, batch-norm"
            )


@measure("path_norm", check=check_paths)
def path_norm(ctx: MeasureContext) -> float:
    """Path norm: the squared weights multiplied along each path, summed over paths, those from biases too.

    Sum of the outputs of the network with every parameter squared on an input of ones; pooling as it is. Source: Jiang
    et al. 2020 (1912.02178), number 44 as read in the public code of Dziugaite et al. 2020 (`PATH_NORM`). Parameters:
    all, biases too, batch-norm folded in. Data: none. Fails (recorded as missing) for other norm layers and activations
    than ReLU and leaky ReLU, those that are no modules too. Deterministic. Cost: three forward passes of one sample,
    and one of 64 that checks the folding. Invariant: layer-wise, neuron-wise, permutation, norm-layer.
    """
    import torch

    check_paths(ctx.folded)
    model = copy.deepcopy(ctx.folded)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.square_()
        ones = torch.ones_like(ctx.x[:1], dtype=torch.float64)
        total = float(model(ones).sum())
        for parameter in model.parameters():
            if parameter.ndim < 2:  # what is added
                parameter.zero_()
        once, twice = model(ones), model(2 * ones)
        if not torch.allclose(twice, 2 * once, rtol=1e-9, atol=0):
            allowed = "allowed: ReLU, leaky ReLU, pooling, no fixed shift"
            raise ValueError(f"path_norm: outputs are not in proportion to the inputs: {allowed}")
        return total


@measure("path_norm_over_margin", check=check_paths)
def path_norm_over_margin(ctx: MeasureContext) -> float:
    """Path norm over the squared margin.

    path_norm / gamma^2. Source: Jiang et al. 2020 (1912.02178), number 43 as read in the public code of Dziugaite et
    al. 2020 (`PATH_NORM_OVER_MARGIN`), there with the margin's absolute value. Parameters: as `path_norm`. Data:
    training set, for the margin gamma of `inverse_margin`; fails (recorded as missing) where that does. Deterministic.
    Cost: one forward pass, shared. Invariant: layer-wise, neuron-wise, permutation, norm-layer.
    """
    return path_norm(ctx) * inverse_margin_of(ctx)
