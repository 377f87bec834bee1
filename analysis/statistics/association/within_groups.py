"""Correlation within blocks: of what is left of two vectors when the mean of each block is removed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse, stats

from analysis.statistics.association.coefficients import scaled
from analysis.statistics.resampling.design import NONE, Design
from analysis.statistics.resampling.resample import Interval, interval

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
_ROUNDING = 1e-13  # of a block's largest value: what differs from the block's mean by less is that mean
_HEAVY = 1e-6  # of a sum of squares: a unit without which no more is left has nearly all of it; ours


def within_blocks(x: Floats, y: Floats, block: Ints, of_ranks: bool = False) -> float:
    """Pearson's r of x and y (n,) less their means of each block, or of their ranks.

    Runs with a missing value are left out; NaN where nothing is left, or a value is infinite. Cost O(n).
    """
    there = ~(np.isnan(x) | np.isnan(y))
    if not there.any() or not (of_ranks or np.isfinite([x[there], y[there]]).all()):
        return float("nan")
    vectors = [stats.rankdata(v[there]) if of_ranks else v[there] for v in (x, y)]
    of_block = np.unique(block[there], return_inverse=True)[1].reshape(-1)
    a, b = (_centred(v, of_block) for v in vectors)
    return float(_r(np.array([[a @ a], [b @ b], [a @ b]]))[0])


def interval_within(
    x: Floats, y: Floats, block: Ints, design: Design, resamples: int, seed: int, level: float = 0.95
) -> Interval:
    """The interval of `within_blocks` for new levels of the axes of a design, which may be those of the blocks.

    Cost O(shares resamples), a share being the runs of one block that are drawn together.
    """
    value = within_blocks(x, y, block)
    if not resamples or not np.isfinite(value):
        return Interval(np.nan, np.nan)
    there = ~(np.isnan(x) | np.isnan(y))
    drawn, (a, b), of_block = design.where(there).resampling, (x[there], y[there]), block[there]
    if not drawn.axes:
        return Interval(np.nan, np.nan, NONE)
    sums = _Sums(a, b, of_block, drawn.unit)
    replicates = np.concatenate([sums.r(weights) for weights in drawn.chunks(resamples, seed)])
    without = _leave_one_out(a, b, of_block, drawn.unit) if drawn.is_single else None
    return interval(value, replicates, without, level, drawn.probability)


class _Sums:
    """n, a, b, aa, bb, ab of each block under weights on units: a sparse matrix (6 blocks, units)."""

    def __init__(self, a: Floats, b: Floats, block: Ints, unit: Ints) -> None:
        of_block = np.unique(block, return_inverse=True)[1].reshape(-1)
        left = [_centred(v, of_block) for v in (a, b)]
        products = (np.ones(len(a)), *left, left[0] ** 2, left[1] ** 2, left[0] * left[1])
        self.n_blocks = int(of_block.max()) + 1
        places = [(of_block + k * self.n_blocks, unit) for k in range(len(products))]
        rows, columns = (np.concatenate(each) for each in zip(*places, strict=True))
        shape = (len(products) * self.n_blocks, int(unit.max()) + 1)
        self.matrix = sparse.csr_array((np.concatenate(products), (rows, columns)), shape=shape)

    def about_mean(self, weights: NDArray[np.floating]) -> Floats:
        """Sums of aa, bb, ab about the blocks' means under weights (units, B): (3, B)."""
        whole = np.asarray(self.matrix @ weights.astype(np.float64))
        return np.asarray(_about_mean(whole.reshape(6, self.n_blocks, -1)).sum(axis=1))

    def r(self, weights: NDArray[np.floating]) -> Floats:
        """r within blocks under weights on units (units, B): (B,)."""
        return _r(self.about_mean(weights))


def _leave_one_out(a: Floats, b: Floats, block: Ints, unit: Ints) -> Floats:
    """r without each unit (units,), numbered from 0, as few as there are levels of an axis.

    A block's sums without a unit are the block's less the unit's share; a unit that has nearly all of a sum is left out
    in full.
    """
    sums, n_units = _Sums(a, b, block, unit), int(unit.max()) + 1
    rest, total = sums.about_mean(1 - np.eye(n_units)), sums.about_mean(np.ones((n_units, 1)))
    found = _r(rest)
    for heavy in np.flatnonzero((rest[:2] < _HEAVY * total[:2]).any(axis=0)):  # the difference has no digits left
        found[heavy] = within_blocks(a[unit != heavy], b[unit != heavy], block[unit != heavy])
    return found


def _centred(v: Floats, block: Ints) -> Floats:
    """A vector less its mean of each block, of unit length; what is rounding of a block's values is 0."""
    v = scaled(v)
    rest = v - (np.bincount(block, weights=v) / np.bincount(block))[block]
    largest = np.zeros(int(block.max(initial=-1)) + 1)
    np.maximum.at(largest, block, np.abs(v))
    rest[np.abs(rest) <= _ROUNDING * largest[block]] = 0.0
    length = float(np.linalg.norm(rest))
    return rest / length if length > 0 else rest


def _about_mean(sums: Floats) -> Floats:
    """Sums of aa, bb, ab about the mean, from n, a, b, aa, bb, ab (6, ...); 0 of nothing."""
    n, a, b = np.maximum(sums[0], 1), sums[1], sums[2]
    return np.asarray(sums[3:] - np.stack([a * a, b * b, a * b]) / n)


def _r(products: Floats) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where((products[:2] > 0).all(axis=0), products[2] / np.sqrt(products[0] * products[1]), np.nan)
