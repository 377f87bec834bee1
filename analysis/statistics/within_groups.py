"""Correlation within blocks: of what is left of two vectors when the mean of each block is removed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from analysis.statistics.coefficients import scaled
from analysis.statistics.design import NONE, Design
from analysis.statistics.resample import Interval, interval

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
_ROUNDING = 1e-13  # of a block's largest value: what differs from the block's mean by less is that mean
_HEAVY = 1e-6  # of a sum of squares: a unit without which no more is left has nearly all of it; ours


@dataclass(frozen=True)
class _Sums:
    """Of each share, the runs of one unit in one block: n, a, b, aa, bb, ab (6, shares); its unit, its block."""

    each: Floats
    unit: Ints
    block: Ints

    def of_blocks(self, weights: Floats) -> Floats:
        """The sums of each block under weights on shares (shares, B): (6, blocks, B)."""
        order = np.argsort(self.block, kind="stable")
        first = np.flatnonzero(np.diff(self.block[order], prepend=-1))
        weighted = self.each[:, order, None] * weights[order]
        return np.asarray(np.add.reduceat(weighted, first, axis=1))


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
    drawn, (a, b), of_block = design.where(there).resampling(), (x[there], y[there]), block[there]
    if not drawn.axes:
        return Interval(np.nan, np.nan, NONE)
    sums = _sums(a, b, of_block, drawn.unit)
    chunks = [sums.of_blocks(w[sums.unit].astype(np.float64)) for w in drawn.chunks(resamples, seed)]
    replicates = np.concatenate([_r(_about_mean(whole).sum(axis=1)) for whole in chunks])
    return interval(value, replicates, _leave_one_out(a, b, of_block, drawn.unit) if drawn.is_single else None, level)


def _sums(a: Floats, b: Floats, block: Ints, unit: Ints) -> _Sums:
    of_block = np.unique(block, return_inverse=True)[1].reshape(-1)
    left = [_centred(v, of_block) for v in (a, b)]
    shares, share = np.unique(np.stack([unit, of_block]), axis=1, return_inverse=True)
    products = (np.ones(len(a)), *left, left[0] ** 2, left[1] ** 2, left[0] * left[1])
    return _Sums(np.stack([np.bincount(share.reshape(-1), weights=w) for w in products]), shares[0], shares[1])


def _leave_one_out(a: Floats, b: Floats, block: Ints, unit: Ints) -> Floats:
    """r without each unit (units,), numbered from 0, as few as there are levels of an axis.

    A block's sums without a unit are the block's less the unit's share; a unit that has nearly all of a sum is left out
    in full.
    """
    sums = _sums(a, b, block, unit)
    every = range(int(unit.max()) + 1)
    weights = np.stack([sums.unit != u for u in every], axis=1).astype(np.float64)
    rest = _about_mean(sums.of_blocks(weights)).sum(axis=1)
    total = _about_mean(sums.of_blocks(np.ones((len(sums.unit), 1)))).sum(axis=1)
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
