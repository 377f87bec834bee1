"""Many tests at once: Benjamini-Hochberg."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
CLEAR = 0.05  # the q below which a coefficient or difference is called clear


def benjamini_hochberg(p: ArrayLike) -> Floats:
    """Adjusted p-values (q) that control the false discovery rate; a NaN stays NaN and is not counted as a test."""
    values_ = np.asarray(p, dtype=np.float64)
    q = np.full(len(values_), np.nan)
    there = ~np.isnan(values_)
    m = int(there.sum())
    if m:
        order = np.argsort(values_[there], kind="stable")
        scaled = values_[there][order] * m / np.arange(1, m + 1)
        adjusted = np.minimum(1.0, np.minimum.accumulate(scaled[::-1])[::-1])
        q[np.flatnonzero(there)[order]] = adjusted
    return q


def needed(least: ArrayLike, level: float = CLEAR) -> int:
    """How many tests must have the least p that each can have, `least` (n,), for any q to be below `level`.

    Of p read from resamples the least is not 0, so that one test alone, however far from zero, may not be enough: with
    p of .003 at least it takes 7 of 100. All the others have p = 1. n + 1 where all are not enough; NaN is no test.
    """
    found = np.sort(np.asarray(least, dtype=np.float64))
    found = found[~np.isnan(found)]
    enough = found * len(found) / np.arange(1, len(found) + 1) < level
    return int(enough.argmax()) + 1 if enough.any() else len(found) + 1
