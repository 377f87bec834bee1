"""Many tests at once: Benjamini-Hochberg."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import false_discovery_control

Floats = NDArray[np.float64]
CLEAR = 0.05  # the q below which a coefficient or difference is called clear


def benjamini_hochberg(p: ArrayLike) -> Floats:
    """Adjusted p-values (q) that control the false discovery rate; a NaN stays NaN and is not counted as a test."""
    q = np.array(p, dtype=np.float64)
    there = ~np.isnan(q)
    q[there] = false_discovery_control(q[there])
    return q


def needed(least: ArrayLike, level: float = CLEAR) -> int:
    """How many tests must have q below `level` together for any to have, where p are no less than `least` (n,).

    Of p read from resamples the least is not 0, so that one test alone, however far from zero, may not be enough: with
    p of .003 at least it takes 7 of 101. n + 1 where all are not enough; NaN is no test.
    """
    found = np.sort(np.asarray(least, dtype=np.float64))
    found = found[~np.isnan(found)]
    enough = found * (len(found) / np.arange(1, len(found) + 1)) < level  # rounded as scipy does
    return int(enough.argmax()) + 1 if enough.any() else len(found) + 1
