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
