"""Measures of the parameters alone."""

from __future__ import annotations

from study.measures.context import MeasureContext
from study.measures.registry import measure


@measure("weight_norm_squared", layerwise=True)
def weight_norm_squared(ctx: MeasureContext) -> dict[str, float]:
    """Squared Frobenius norm of each layer's weights, one of the two ingredients of relative flatness.

    ||W_l||_F^2. Source: read in the published code of Petzka et al. 2021 (2001.00939), there of the last layer.
    Parameters: weight tensors of two or more dimensions, no biases. Data: none. Deterministic. Cost: no pass.
    """
    weights = {n: p for n, p in ctx.model.named_parameters() if p.ndim >= 2}
    return {n.removesuffix(".weight"): p.detach().double().square().sum().item() for n, p in weights.items()}


@measure("distance_from_init")
def distance_from_init(ctx: MeasureContext) -> float:
    """Euclidean distance of all parameters from their initial values.

    ||theta - theta_0||_2. Source: Jiang et al. 2020 (1912.02178), numbering not checked; read in the public code of
    Dziugaite et al. 2020 (`L2_DIST`), there without biases. Parameters: all, biases too. Data: none. Deterministic.
    Cost: no pass.
    """
    moved = [(p.detach().double() - ctx.initial[n].double()).square().sum() for n, p in ctx.model.named_parameters()]
    return float(sum(m.item() for m in moved) ** 0.5)
