"""What the bounds of perturbations share: the weights as one vector, and their logarithms relative to each weight."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from study.measures.context import MeasureContext
from study.measures.perturbation.perturbation import check_precision

if TYPE_CHECKING:
    from torch import Tensor, nn

EPSILON = 1e-3  # the least perturbation of a weight, as in the public code of Dziugaite et al. 2020


def weights(model: nn.Module) -> Tensor:
    """All weights of layers, no biases, as one float64 vector (omega,)."""
    import torch

    return torch.cat([p.detach().double().flatten() for p in model.parameters() if p.ndim >= 2])


def weights_at(ctx: MeasureContext, folded: str) -> Tensor:
    """Those of the network with batch-norm folded in ("true"), or as trained ("false")."""
    check_precision(ctx.model)
    return weights(ctx.folded if folded == "true" else ctx.model)


def displacement(ctx: MeasureContext, folded: str) -> Tensor:
    """The same, minus their initial values."""
    import torch

    check_precision(ctx.model)
    if folded == "true":
        return weights(ctx.folded) - weights(ctx.folded_initial)
    start = [ctx.initial[name].double().flatten() for name, p in ctx.model.named_parameters() if p.ndim >= 2]
    return weights(ctx.model) - torch.cat(start)


def log_ratios(reference: Tensor, moved: Tensor, level: float, more: float, eps: float = EPSILON) -> float:
    """sum_i log[(eps^2 + (level^2 + more) ||reference||^2 / omega) / (eps^2 + level^2 moved_i^2)]."""
    numerator = eps**2 + (level**2 + more) * float(reference.square().sum()) / len(reference)
    denominators = eps**2 + level**2 * moved.square()
    return len(moved) * math.log(numerator) - float(denominators.log().sum())
