"""How stable the measures' order is: tau-b over nested random sets of configurations, from four to all of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import kendalltau

from analysis.columns import check_frame, configurations, measures, values

Floats = NDArray[np.float64]
DRAWS = 40
LEAST = 8  # configurations of which smaller sets can be drawn; ours
_POINTS = 6


def stability(frame: pd.DataFrame, target: str = "gap.loss", labels: Sequence[str] | None = None) -> pd.DataFrame:
    """tau-b of every measure with `target` over DRAWS random sets of configurations of each of a few sizes.

    Over the rows of a records frame of one stop; a larger set of a draw holds the smaller ones. Columns: measure,
    networks (mean over the sets of a size), low, median, high (10th, 50th and 90th percentile of tau-b). Seeded: the
    same frame gives the same numbers. Raises ValueError for fewer than LEAST configurations.
    """
    check_frame(frame, target)
    names = measures(frame) if labels is None else list(labels)
    group = configurations(frame)
    n_configurations = int(group.max(initial=-1)) + 1
    if n_configurations < LEAST:
        raise ValueError(f"configurations: {n_configurations}: at least {LEAST} are allowed")
    gap, columns = values(frame, target), [values(frame, f"measure.{name}") for name in names]
    sizes = np.unique(np.linspace(4, n_configurations, _POINTS).round().astype(int))
    found = np.full((len(sizes), DRAWS, len(names)), np.nan)
    networks = np.zeros((len(sizes), DRAWS))
    for draw in range(DRAWS):
        place = np.random.default_rng([0, draw]).permutation(n_configurations)[group]
        for s, size in enumerate(sizes):
            chosen = place < size
            networks[s, draw] = chosen.sum()
            found[s, draw] = [_tau(x[chosen], gap[chosen]) for x in columns]
    low, median, high = (_quantile(found, q) for q in (0.1, 0.5, 0.9))
    rows = [
        (name, float(networks[s].mean()), low[s, k], median[s, k], high[s, k])
        for k, name in enumerate(names)
        for s in range(len(sizes))
    ]
    return pd.DataFrame(rows, columns=["measure", "networks", "low", "median", "high"])


def _tau(x: Floats, y: Floats) -> float:
    there = ~np.isnan(x) & ~np.isnan(y)
    a, b = x[there], y[there]
    varies = len(a) > 1 and (a != a[0]).any() and (b != b[0]).any()
    return float(kendalltau(a, b).statistic) if varies else float("nan")


def _quantile(found: Floats, q: float) -> Floats:
    """Quantile over draws, of those where tau is defined; NaN where it never is."""
    missing = np.isnan(found)
    filled = np.sort(np.where(missing, np.inf, found), axis=1)
    last = found.shape[1] - missing.sum(axis=1) - 1
    at = np.clip(q * last, 0, None)
    low, high = np.floor(at).astype(int), np.ceil(at).astype(int)

    def pick(index: NDArray[np.int64]) -> Floats:
        return np.take_along_axis(filled, index[:, None, :], axis=1)[:, 0, :]

    known = last >= 0
    below, above = (np.where(known, pick(index), 0.0) for index in (low, high))
    return np.where(known, below + (at - low) * (above - below), np.nan)
