"""Bootstrap over configurations: multiplicities, and the bias-corrected accelerated (BCa) interval.

Source: Efron, Better bootstrap confidence intervals, JASA 1987; acceleration by the jackknife over configurations.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

Floats = NDArray[np.float64]
_ROUNDING = 1e-12  # of a coefficient in [-1, 1]
_TOO_MANY = 0.01  # share of resamples without a value above which there is no interval; ours


@dataclass(frozen=True)
class Interval:
    """Bounds of a confidence interval; both NaN, with the reason, where there is none."""

    low: float
    high: float
    reason: str = ""


@lru_cache(maxsize=4)
def multiplicities(n_configurations: int, resamples: int, seed: int) -> NDArray[np.float32]:
    """How often each configuration is drawn in each resample; shape (n_configurations, resamples), columns sum to n.

    Depends on its arguments alone. The array is shared and read-only.
    """
    generator = np.random.default_rng([seed, n_configurations, resamples])
    counts = np.empty((n_configurations, resamples), dtype=np.float32)
    for b in range(resamples):
        drawn = generator.integers(0, n_configurations, n_configurations)
        counts[:, b] = np.bincount(drawn, minlength=n_configurations)
    counts.flags.writeable = False
    return counts


def bca(estimate: float, replicates: Floats, jackknife: Floats, level: float = 0.95) -> Interval:
    """Return the BCa interval of `estimate` from its bootstrap replicates (B,) and leave-one-out values (n,).

    Degenerate input gives NaN bounds and the reason, never a warning: an undefined estimate, fewer than three
    configurations, replicates that are undefined too often, or that do not vary.
    """
    if not 0 < level < 1:
        raise ValueError(f"level: {level}: between 0 and 1 is allowed")
    reason = _degenerate(estimate, replicates, jackknife)
    if reason:
        return Interval(np.nan, np.nan, reason)
    usable = np.sort(replicates[np.isfinite(replicates)])
    # A resample that equals the estimate but for rounding counts half: on a small grid many do.
    ties = np.searchsorted(usable, [estimate - _ROUNDING, estimate + _ROUNDING])
    below = ties.sum() / (2 * len(usable))
    bias = float(ndtri(below))
    if not np.isfinite(bias):
        return Interval(np.nan, np.nan, "the estimate lies outside all its resamples")
    spread = jackknife[np.isfinite(jackknife)]
    deviation = spread.mean() - spread
    scale = float((deviation**2).sum())
    acceleration = float((deviation**3).sum()) / (6 * scale**1.5) if scale > 0 else 0.0
    tails = np.array([(1 - level) / 2, (1 + level) / 2])
    shifted = bias + ndtri(tails)
    low, high = np.quantile(usable, ndtr(bias + shifted / (1 - acceleration * shifted)))
    return Interval(float(low), float(high))


def _degenerate(estimate: float, replicates: Floats, jackknife: Floats) -> str:
    if not np.isfinite(estimate):
        return "the coefficient is undefined"
    if len(jackknife) < 3:
        return f"{len(jackknife)} configurations; an interval needs 3"
    undefined = 1 - np.isfinite(replicates).mean()
    if undefined > _TOO_MANY:
        return f"undefined in {undefined:.0%} of the resamples"
    usable = replicates[np.isfinite(replicates)]
    if usable.max() - usable.min() <= _ROUNDING:
        return "the same in every resample"
    return ""
