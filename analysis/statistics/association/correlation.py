"""Rank and linear correlation of each measure with the generalization gap, with intervals for new levels.

How missing values, infinities, ties and constants count: see `coefficients`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from analysis.columns import check_frame, measures, values
from analysis.statistics.association.coefficients import RESAMPLES, Coefficients, coefficients_of_many, complete
from analysis.statistics.association.pairs import dense_ranks
from analysis.statistics.association.weighted import WITH_INTERVAL
from analysis.statistics.resampling.design import NONE, design


def correlate(
    frame: pd.DataFrame,
    target: str = "gap.loss",
    labels: Sequence[str] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = 0.95,
) -> pd.DataFrame:
    """Correlate every measure with `target` over the rows of a records frame of one stop; one row a measure.

    Columns: measure, n, configurations, tau_b, tau_b.low, tau_b.high, the same for tau_a and pearson, spearman,
    weighted_tau, note. What is resampled: see design. `labels` may name a layer: `hessian_trace.fc1`.
    """
    every = correlate_each(frame, target, labels, resamples, seed)
    gap = values(frame, target)
    extras = {label: more_coefficients(values(frame, f"measure.{label}"), gap) for label in every}
    table = pd.DataFrame([_row(label, c, level) | extras[label] for label, c in every.items()])
    return table[[*[c for c in table.columns if c != "note"], "note"]]


def correlate_each(
    frame: pd.DataFrame,
    target: str = "gap.loss",
    labels: Sequence[str] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Coefficients]:
    """Like `correlate`, keeping replicates and leave-one-out values; label -> Coefficients."""
    check_frame(frame, target)
    grid, gap = design(frame), values(frame, target)
    names = measures(frame) if labels is None else list(labels)
    pairs = [(values(frame, f"measure.{name}"), gap) for name in names]
    return dict(zip(names, coefficients_of_many(pairs, grid, resamples, seed), strict=True))


def more_coefficients(x: ArrayLike, y: ArrayLike) -> dict[str, float]:
    """Spearman's rho and Vigna's weighted tau (additive hyperbolic: the largest values weigh most), no intervals."""
    a, b, _ = complete(x, y)
    constant = len(a) < 2 or (a == a[0]).all() or (b == b[0]).all()
    if constant:
        return {"spearman": np.nan, "weighted_tau": np.nan}
    ranks = dense_ranks(a), dense_ranks(b)
    weighted = float(stats.weightedtau(*ranks).statistic)
    return {"spearman": float(stats.spearmanr(*ranks).statistic), "weighted_tau": weighted}


def kendall(
    frame: pd.DataFrame,
    target: str = "gap.loss",
    labels: Sequence[str] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = 0.95,
) -> pd.DataFrame:
    """Kendall's tau-b and tau-a of every measure with `target`, with n and intervals; see `correlate`."""
    table = correlate(frame, target, labels, resamples, seed, level)
    names = ("measure", "n", "configurations", "tau_b", "tau_a", "note")
    return table[[c for c in table.columns if c.split(".")[0] in names]]


def _row(label: str, c: Coefficients, level: float) -> dict[str, object]:
    row: dict[str, object] = {"measure": label, "n": c.n, "configurations": c.n_configurations}
    reasons = [c.note] if c.note else []
    if c.without == NONE and any(np.isfinite(value) for value in c.point.values()):
        reasons.append(f"no interval: {NONE}")
    for name in WITH_INTERVAL:
        bounds = c.interval(name, level)
        row |= {name: c.point[name], f"{name}.low": bounds.low, f"{name}.high": bounds.high}
        if bounds.reason and np.isfinite(c.point[name]) and c.replicates:
            reasons.append(f"no interval for {name}: {bounds.reason}")
    return row | {"note": "; ".join(reasons)}
