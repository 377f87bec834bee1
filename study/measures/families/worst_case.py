"""Bounds from how far the worst direction must go until the training error has risen."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from study.choice import Option, integer, number
from study.measures.context import MeasureContext
from study.measures.perturbation.ascent import STEPS, ascend
from study.measures.perturbation.bound import EPSILON, displacement, log_ratios, weights_at
from study.measures.perturbation.noise import RISE
from study.measures.perturbation.perturbation import FOLDED, shared_samples, shared_start
from study.measures.registry import measure

if TYPE_CHECKING:
    from torch import Tensor

DELTA = 0.05  # of the magnitude-aware bound; ours, no source that was read fixes it
_OCTAVES, _HALVINGS = 2.0, 6  # of log2 alpha: the stride of the search, and how often the last one is halved
_FURTHEST = 24.0  # octaves from the start, where a search ends without a value
_STEPS: Option = integer(STEPS, least=1)
_EPS: Option = number(EPSILON, least=1e-12)


@measure("sharpness_flatness", steps=_STEPS, folded=FOLDED)
def sharpness_flatness(ctx: MeasureContext, steps: int, folded: str) -> float:
    """One over the squared radius of the largest box around the weights in which the training error stays.

    1 / alpha^2, alpha the largest with error(w + delta) <= error(w) + 0.1 for all |delta_i| <= alpha that ascent of the
    loss finds; to 3 % of its value. Source: Jiang et al. 2020 (1912.02178), number 54, whose text was not read; its
    public code is none, read in a public reimplementation's code. Parameters: all, biases too, batch-norm folded in
    unless folded=false. Data: the first 512 training samples. Deterministic. Cost: about 9 ascents of at most 21
    forward and backward passes over the samples, shared by the three. Invariant: permutation, norm-layer.
    """
    return _radius(ctx, steps, folded) ** -2


@measure("sharpness_orig", steps=_STEPS, folded=FOLDED)
def sharpness_orig(ctx: MeasureContext, steps: int, folded: str) -> float:
    """Bound from the worst direction with the origin as reference.

    ||w||^2 log(2 omega) / (4 alpha^2) + log(m / alpha) + 10, alpha as in `sharpness_flatness`, omega the number of
    weights, m that of training samples. Source: Jiang et al. 2020 (1912.02178), number 52, as `sharpness_flatness`.
    Parameters: ascent in all, w without biases; batch-norm folded in unless folded=false. Data: the first 512 training
    samples. Deterministic. Cost: the search of `sharpness_flatness`, shared. Invariant: permutation, norm-layer.
    """
    return _bound(ctx, weights_at(ctx, folded), _radius(ctx, steps, folded))


@measure("sharpness_init", steps=_STEPS, folded=FOLDED)
def sharpness_init(ctx: MeasureContext, steps: int, folded: str) -> float:
    """Bound from the worst direction with initialization as reference.

    As `sharpness_orig` with w - w_0 in place of w. Source: Jiang et al. 2020 (1912.02178), number 51, as
    `sharpness_flatness`. Parameters: ascent in all, w without biases; batch-norm folded in unless folded=false. Data:
    the first 512 training samples. Deterministic. Cost: the search of `sharpness_flatness`, shared. Invariant:
    norm-layer.
    """
    return _bound(ctx, displacement(ctx, folded), _radius(ctx, steps, folded))


@measure("sharpness_mag_flatness", eps=_EPS, steps=_STEPS, folded=FOLDED)
def sharpness_mag_flatness(ctx: MeasureContext, eps: float, steps: int, folded: str) -> float:
    """One over the squared radius, relative to each weight, of the largest box in which the training error stays.

    1 / alpha'^2, as `sharpness_flatness` with |delta_i| <= alpha' |w_i| + eps. Source: Jiang et al. 2020 (1912.02178),
    number 62, as `sharpness_flatness`; an eps of 0.001 is in the public code of Dziugaite et al. 2020. Parameters: all,
    biases too, batch-norm folded in unless folded=false. Data: the first 512 training samples. Fails (recorded as
    missing) where eps alone raises the error, which a smaller one, e.g. eps=0.0001, need not. Deterministic. Cost: a
    search as there, shared by the three. Invariant: permutation, norm-layer.
    """
    return _relative_radius(ctx, eps, steps, folded) ** -2


@measure("sharpness_mag_orig", eps=_EPS, steps=_STEPS, folded=FOLDED)
def sharpness_mag_orig(ctx: MeasureContext, eps: float, steps: int, folded: str) -> float:
    """Magnitude-aware bound from the worst direction with the origin as reference.

    1/4 sum_i log[(eps^2 + (alpha'^2 + 4 log(2 omega / delta)) ||w||^2 / omega) / (eps^2 + alpha'^2 (w - w_0)_i^2)] +
    log(m / alpha') + 10, delta = 0.05, alpha' and eps as in `sharpness_mag_flatness`. Source: Jiang et al. 2020
    (1912.02178), number 59, as `sharpness_flatness`. Parameters: ascent in all, w without biases; batch-norm folded in
    unless folded=false. Data: the first 512 training samples. Deterministic. Cost: the search of
    `sharpness_mag_flatness`, shared. Invariant: norm-layer.
    """
    return _relative_bound(ctx, weights_at(ctx, folded), eps, steps, folded)


@measure("sharpness_mag_init", eps=_EPS, steps=_STEPS, folded=FOLDED)
def sharpness_mag_init(ctx: MeasureContext, eps: float, steps: int, folded: str) -> float:
    """Magnitude-aware bound from the worst direction with initialization as reference.

    As `sharpness_mag_orig` with ||w - w_0||^2 in place of ||w||^2. Source: Jiang et al. 2020 (1912.02178), number 58,
    as `sharpness_flatness`. Parameters: ascent in all, w without biases; batch-norm folded in unless folded=false.
    Data: the first 512 training samples. Deterministic. Cost: the search of `sharpness_mag_flatness`, shared.
    Invariant: norm-layer.
    """
    return _relative_bound(ctx, displacement(ctx, folded), eps, steps, folded)


def _bound(ctx: MeasureContext, reference: Tensor, alpha: float) -> float:
    square, omega = float(reference.square().sum()), len(reference)
    return square * math.log(2 * omega) / (4 * alpha**2) + math.log(ctx.n_train / alpha) + 10


def _relative_bound(ctx: MeasureContext, reference: Tensor, eps: float, steps: int, folded: str) -> float:
    alpha, more = _relative_radius(ctx, eps, steps, folded), 4 * math.log(2 * len(reference) / DELTA)
    logarithms = log_ratios(reference, displacement(ctx, folded), alpha, more, eps)
    return logarithms / 4 + math.log(ctx.n_train / alpha) + 10


def _radius(ctx: MeasureContext, steps: int, folded: str) -> float:
    def search(ctx: MeasureContext) -> float:
        return _sought(ctx, steps, folded, lambda alpha, w: w.new_full(w.shape, alpha), None)

    return ctx.shared(search, ("radius", steps, folded))


def _relative_radius(ctx: MeasureContext, eps: float, steps: int, folded: str) -> float:
    def search(ctx: MeasureContext) -> float:
        return _sought(ctx, steps, folded, lambda alpha, w: alpha * w.abs() + eps, -6.0, eps)

    return ctx.shared(search, ("relative radius", eps, steps, folded))


def _sought(
    ctx: MeasureContext, steps: int, folded: str, scale: Callable[[float, Tensor], Tensor], start: float | None,
    eps: float = 0.0,
) -> float:  # fmt: skip
    """The radius at which ascent first raises the error by RISE, by halving of its logarithm."""
    network, origin = shared_samples(ctx, folded), shared_start(ctx, folded)
    clean = network.error(network.outputs(network.weights))
    first = math.floor(math.log2(network.size)) - 6.0 if start is None else start  # ours: near where searches end

    def is_reached(log2_alpha: float) -> bool:
        reached = False

        def loss(moved: Tensor) -> Tensor:
            nonlocal reached
            outputs = network.outputs(moved)
            reached = reached or network.error(outputs) - clean > RISE
            return network.mean_loss(outputs)

        box = scale(2.0**log2_alpha, network.weights)
        ascend(loss, network.weights, box, "linf", steps, lambda: reached, origin)
        return reached

    at = first
    outside = is_reached(at)
    # Ascent is not monotone: a smaller box than one that raised the error might have been found not to. Of 107 digits
    # networks with a value none was.
    if eps and outside and is_reached(-math.inf):
        raise ValueError(f"eps: {eps:g}: the training error rises by more than {RISE} in a box of eps alone; take less")
    while is_reached(at - _OCTAVES if outside else at + _OCTAVES) == outside:
        at += -_OCTAVES if outside else _OCTAVES
        if abs(at - first) > _FURTHEST:
            said = "rises by more than" if outside else "does not rise by"
            raise ValueError(f"alpha: {2.0**at:.3g}: the training error {said} {RISE} in any box")
    low, high = (at - _OCTAVES, at) if outside else (at, at + _OCTAVES)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if is_reached(middle) else (middle, high)
    return 2.0 ** ((low + high) / 2)
