"""Many tests at once: Benjamini-Hochberg."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


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
