"""Correlation within blocks: of what is left of two vectors when the mean of each block is removed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
_ROUNDING = 1e-13  # of a block's largest value: what differs from the block's mean by less is that mean
_HEAVY = 1e-6  # of a sum of squares: a unit without which no more is left has nearly all of it; ours


def within_blocks(x: Floats, y: Floats, block: Ints, unit: Ints, of_ranks: bool = False) -> tuple[float, Floats]:
    """Pearson's r of x and y (n,) less their means of each block, or of their ranks; and r without each unit in turn.

    Units may lie across blocks. Runs with a missing value are left out; NaN where nothing is left, or a value is
    infinite. Cost O(n): the sums of a block without a unit are the block's less the unit's share of it; a unit that
    has nearly all of a sum is left out in full.
    """
    there = ~(np.isnan(x) | np.isnan(y))
    if not there.any() or not (of_ranks or np.isfinite([x[there], y[there]]).all()):
        return float("nan"), np.zeros(0)
    vectors = [stats.rankdata(v[there]) if of_ranks else v[there] for v in (x, y)]
    of_run, of_block = (np.unique(c[there], return_inverse=True)[1].reshape(-1) for c in (unit, block))
    a, b = (_centred(v, of_block) for v in vectors)
    shares, share = np.unique(np.stack([of_run, of_block]), axis=1, return_inverse=True)
    whose, home = shares  # of each share its unit and its block
    weights = (np.ones(len(a)), a, b, a * a, b * b, a * b)
    sums: Floats = np.stack([np.bincount(share.reshape(-1), weights=w) for w in weights])
    whole: Floats = np.stack([np.bincount(home, weights=row) for row in sums])
    products = _about_mean(whole)  # (3, blocks): squares of a, of b, and products
    total = products.sum(axis=1)
    changes = _about_mean(whole[:, home] - sums) - products[:, home]
    rest = total[:, None] + np.stack([np.bincount(whose, weights=row) for row in changes])
    for heavy in np.flatnonzero((rest[:2] < _HEAVY * total[:2, None]).any(axis=0)):  # the difference has no digits left
        kept = of_run != heavy
        c, d = (_centred(v[kept], np.unique(of_block[kept], return_inverse=True)[1].reshape(-1)) for v in vectors)
        rest[:, heavy] = c @ c, d @ d, c @ d
    return float(_r(total[:, None])[0]), _r(rest)


def _centred(v: Floats, block: Ints) -> Floats:
    """A vector less its mean of each block, of unit length; what is rounding of a block's values is 0."""
    rest = v - (np.bincount(block, weights=v) / np.bincount(block))[block]
    largest = np.zeros(int(block.max(initial=-1)) + 1)
    np.maximum.at(largest, block, np.abs(v))
    rest[np.abs(rest) <= _ROUNDING * largest[block]] = 0.0
    length = float(np.linalg.norm(rest))
    return rest / length if length > 0 else rest


def _about_mean(sums: Floats) -> Floats:
    """Sums of aa, bb, ab about the mean, from n, a, b, aa, bb, ab (6, m); 0 of nothing."""
    n, a, b = np.maximum(sums[0], 1), sums[1], sums[2]
    return sums[3:] - np.stack([a * a, b * b, a * b]) / n


def _r(products: Floats) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where((products[:2] > 0).all(axis=0), products[2] / np.sqrt(products[0] * products[1]), np.nan)
