"""Which axis of a grid matters most to the gap: the share of the variance of its ranks that each axis' levels explain.

Adjusted R squared of the one-way analysis of variance of the ranks, 1 - (within / (n - k)) / (total / (n - 1)) for k
levels of n networks: an axis of many levels is not ahead for having many. Below zero, the levels explain nothing. An
axis of fewer than two networks a level is not judged.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from analysis.columns import axes, axis_columns, check_frame, codes, values


def explained(frame: pd.DataFrame, target: str = "gap.loss") -> dict[str, float]:
    """The share a grid's axis, most first; of the rows of one stop that have the target, ties at their mean rank."""
    check_frame(frame, target)
    kept = frame[~np.isnan(values(frame, target))]
    ranks = rankdata(values(kept, target))
    total = float(((ranks - ranks.mean()) ** 2).sum()) if len(ranks) else 0.0
    shares: dict[str, float] = {}
    for axis in axes(kept) if total else ():
        level = codes(kept, axis_columns([axis]))
        n_levels = int(level.max()) + 1
        if len(ranks) < 2 * n_levels:
            continue
        means = np.bincount(level, ranks) / np.bincount(level)
        within = float(((ranks - means[level]) ** 2).sum())
        shares[axis] = 1 - (within / (len(ranks) - n_levels)) / (total / (len(ranks) - 1))
    return dict(sorted(shares.items(), key=lambda item: -item[1]))
