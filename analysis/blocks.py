"""Correlation within blocks: of what is left of two vectors when the mean of each block is removed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
_ROUNDING = 1e-12  # of the sum of squares: a block whose values differ by less has a constant


def within_blocks(x: Floats, y: Floats, block: Ints, unit: Ints, of_ranks: bool = False) -> tuple[float, Floats]:
    """Pearson's r of x and y (n,) less their means of each block, or of their ranks; and r without each unit in turn.

    A unit (a configuration) lies in one block. Runs with a missing value are left out; NaN where nothing is left, or a
    value is infinite. Cost O(n): the sums of a block without a unit are the block's less the unit's.
    """
    there = ~(np.isnan(x) | np.isnan(y))
    if not there.any() or not (of_ranks or np.isfinite([x[there], y[there]]).all()):
        return float("nan"), np.zeros(0)
    a, b = (stats.rankdata(v[there]) if of_ranks else v[there] for v in (x, y))
    of_run, of_block = (np.unique(c[there], return_inverse=True)[1].reshape(-1) for c in (unit, block))
    scale = [float(np.abs(v).max()) or 1.0 for v in (a, b)]
    # Around each block's mean the sums lose no digits; a unit's absence moves the mean a little.
    a, b = (_centred(v / s, of_block) for v, s in zip((a, b), scale, strict=True))
    sums: Floats = np.stack([np.bincount(of_run, weights=w) for w in (np.ones(len(a)), a, b, a * a, b * b, a * b)])
    home = np.zeros(sums.shape[1], dtype=np.int64)
    home[of_run] = of_block
    whole: Floats = np.stack([np.bincount(home, weights=row) for row in sums])
    products = _about_mean(whole)  # (3, blocks): squares of a, of b, and products
    total = products.sum(axis=1)
    without = total[:, None] - products[:, home] + _about_mean(whole[:, home] - sums)
    return float(_r(total[:, None])[0]), _r(without)


def _centred(v: Floats, block: Ints) -> Floats:
    return v - (np.bincount(block, weights=v) / np.bincount(block))[block]


def _about_mean(sums: Floats) -> Floats:
    """Sums of aa, bb, ab about the mean, from n, a, b, aa, bb, ab (6, m); 0 of nothing."""
    n, a, b = np.maximum(sums[0], 1), sums[1], sums[2]
    return sums[3:] - np.stack([a * a, b * b, a * b]) / n


def _r(products: Floats) -> Floats:
    enough = (products[:2] > _ROUNDING).all(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(enough, products[2] / np.sqrt(products[0] * products[1]), np.nan)
