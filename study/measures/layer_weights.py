"""What measures of layers share: each layer's weights as a matrix, other measures' values of it, the margin."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from study.measures.context import MeasureContext

if TYPE_CHECKING:
    from torch import Tensor, nn


def weights_of(model: nn.Module) -> list[Tensor]:
    """Each layer's weights as a matrix (n_out, n_in), n_in = everything behind the first axis, in network order.

    A layer is whatever has two or more dimensions: position embeddings and class tokens are layers, too.
    """
    from torch.nn.modules.conv import _ConvTransposeNd

    turned = {id(m.weight): m.groups for m in model.modules() if isinstance(m, _ConvTransposeNd)}

    def matrix(p: Tensor) -> Tensor:
        if id(p) in turned:  # (n_in, n_out / groups, ...)
            p = p.unflatten(0, (turned[id(p)], -1)).transpose(1, 2).flatten(0, 1)
        return p.detach().flatten(1)

    return [matrix(p) for p in model.parameters() if p.ndim >= 2]


def positive(ctx: MeasureContext, squares: list[float]) -> list[float]:
    """A squared norm of each layer's weights; ValueError, naming the parameter, for one that is 0."""
    names = [name for name, p in ctx.model.named_parameters() if p.ndim >= 2]
    for name, square in zip(names, squares, strict=True):
        if square == 0:
            raise ValueError(f"{name}: is all 0: allowed: weights whose norm has a logarithm and may be divided by")
    return squares


def displacements(ctx: MeasureContext) -> list[Tensor]:
    """Each layer's weights minus their initial values, as `weights_of`, of the folded network."""
    return [w - start for w, start in zip(weights_of(ctx.folded), weights_of(ctx.folded_initial), strict=True)]


def squared_frobenius(weights: list[Tensor]) -> list[float]:
    """The squared Frobenius norm of each."""
    return [w.square().sum().item() for w in weights]


def value_by_layer(ctx: MeasureContext, label: str) -> dict[str, float]:
    """A layerwise measure of each layer with weights, not of norm layers, which the curvature pass has, too.

    Of a reparameterized network the layers come first that it has from before.
    """
    found = ctx.value(label)
    assert isinstance(found, dict)
    own = {layer: value for layer, value in found.items() if layer in ctx.layers()}
    return {**value_by_layer(ctx.before, label), **own} if ctx.before else own


def inverse_margin_of(ctx: MeasureContext) -> float:
    """1 / gamma^2, `inverse_margin` taken once. Raises ValueError where that does."""
    value = ctx.value("inverse_margin")
    assert isinstance(value, float)
    return value


def log_sum(ctx: MeasureContext, log_product: float) -> float:
    """log d + log_product / d: d times the geometric mean over the d layers, as a logarithm."""
    d = len(weights_of(ctx.model))
    return math.log(d) + log_product / d
