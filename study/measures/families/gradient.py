"""Measures of the gradients of single samples on the training set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from study.measures.context import MeasureContext
from study.measures.jacobian.gauss_newton import slopes
from study.measures.jacobian.jacobian import check_layers, layer_rows, verified_layers
from study.measures.layer_weights import value_by_layer
from study.measures.registry import measure

if TYPE_CHECKING:
    from torch import Tensor

_AT_ONCE = 128  # samples, whose gradients are there together


@dataclass(frozen=True)
class _Gradients:
    """By layer: the mean over samples of the squared length of their gradients, and the squared length of the mean."""

    squares: dict[str, float]
    of_mean: dict[str, float]


@measure("gradient_square", layerwise=True, check=check_layers)
def gradient_square(ctx: MeasureContext) -> dict[str, float]:
    """Mean over samples of the squared length of their loss's gradient in each layer's weights.

    mean_i ||g_i||^2. Source: none that was read in any code; a baseline beside `gradient_noise`. Parameters: weights of
    layers. Data: training set, mean. Deterministic. Cost: one forward and one backward pass, shared, and the samples'
    gradients. Invariant: permutation.
    """
    return ctx.shared(_gradients).squares


@measure("gradient_norm", check=check_layers)
def gradient_norm(ctx: MeasureContext) -> float:
    """Length of the gradient of the mean training loss in all weights.

    ||mean_i g_i||. Source: none that was read in any code; a baseline beside `gradient_noise`. Parameters: weights of
    layers. Data: training set, mean. Deterministic. Cost: as `gradient_square`, shared. Invariant: permutation.
    """
    return float(sum(ctx.shared(_gradients).of_mean.values()) ** 0.5)


@measure("gradient_noise", layerwise=True, check=check_layers)
def gradient_noise(ctx: MeasureContext) -> dict[str, float]:
    """Noise of the gradient: the trace of its covariance over the training samples.

    Tr Cov(g) = mean_i ||g_i||^2 - ||mean_i g_i||^2. Source: Jiang et al. 2020 (1912.02178), numbers 64 at a stop after
    the first epoch (`epoch_1`) and 65 at the last one, whose text was not read; read in no published code. Parameters:
    weights of layers. Data: training set. Deterministic. Cost: as `gradient_square`, shared. Invariant: permutation.
    """
    found = ctx.shared(_gradients)
    return {path: square - found.of_mean[path] for path, square in found.squares.items()}


@measure("noise_over_trace", check=check_layers)
def noise_over_trace(ctx: MeasureContext) -> float:
    """Noise of the gradient over the trace of the Hessian: what stands in for `tic` at little cost.

    Tr C / sum_l Tr H_l, as `gradient_noise` and `hessian_trace`. Source: Thomas et al. 2020 (1906.07774), as `tic`.
    Parameters: weights of layers, none of norm layers. Data: training set. Deterministic. Cost: shared curvature pass,
    and `gradient_noise`. Invariant: permutation.
    """
    noise, trace = (value_by_layer(ctx, label) for label in ("gradient_noise", "hessian_trace"))
    if not sum(trace.values()):
        raise ValueError("noise_over_trace: the trace of the Hessian is 0")
    return sum(noise.values()) / sum(trace.values())


def _gradients(ctx: MeasureContext) -> _Gradients:
    paths, n = list(verified_layers(ctx)), len(ctx.x)
    squares = dict.fromkeys(paths, 0.0)
    totals: dict[str, Tensor] = {}
    for x, labels in zip(ctx.x.split(_AT_ONCE), ctx.labels.split(_AT_ONCE), strict=True):
        found = layer_rows(ctx.model, paths, x, lambda outputs, y=labels: slopes(outputs, y, ctx.loss))  # type: ignore[misc]
        for path, rows in found:
            square, total = rows.square_and_total()
            squares[path] += square / n
            totals[path] = total / n + totals.get(path, 0.0)
    return _Gradients(squares, {path: float(total.square().sum()) for path, total in totals.items()})
