"""Between seeds: does another seed put the configurations into the same order, by a measure and by the gap?

A network's gap is that of its configuration and the luck of its seed. A measure that tells of configurations alone goes
with it at best as the expected gap of the configuration does. The mean gap of the other seeds stands for that, worse
the fewer they are: the bar beside which a measure's own coefficient is to be read. Where seeds order configurations
otherwise by a measure itself, it tells more of the seed than of the configuration.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import nan

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.columns import SEED, check_frame, codes, configurations, measures, values

Floats = NDArray[np.float64]
LEAST = 3  # pairs of configurations, that is three of them, from which two seeds are compared; ours


def between_seeds(frame: pd.DataFrame, target: str = "gap.loss", labels: Sequence[str] | None = None) -> pd.DataFrame:
    """tau-b between seeds, over the configurations that both have; a records frame of one stop, one row a measure.

    Columns: measure, seeds, configurations (those with one seed tell nothing here), then means of tau-b over pairs of
    seeds, or over seeds, weighted by the pairs of configurations that each is of: `between` (the measure of one seed
    and of another), `within` (measure and target of one seed), `target_between` (the target of one seed and of
    another) and `target_others` (the target of one seed and the mean over the others of the same configuration). All
    are of the networks that have the measure and the target. Empty below three configurations with two seeds, and where
    a seed appears twice in a configuration. Cost and memory O(seeds n_configurations^2) a measure.
    """
    check_frame(frame, target)
    if SEED not in frame.columns:
        return pd.DataFrame()
    place = configurations(frame), codes(frame, [SEED])
    if len(np.unique(np.stack(place), axis=1).T) < len(frame):
        return pd.DataFrame()
    rows = _rows(frame, target, place, measures(frame) if labels is None else labels)
    return pd.DataFrame(list(rows))


def _rows(
    frame: pd.DataFrame, target: str, place: tuple[NDArray[np.int64], NDArray[np.int64]], labels: Sequence[str]
) -> Iterator[dict[str, object]]:
    for label in labels:
        x, y = values(frame, f"measure.{label}"), values(frame, target)
        there = ~(np.isnan(x) | np.isnan(y))
        several = np.bincount(place[0][there], minlength=len(frame))[place[0]] > 1
        kept = there & several
        at = tuple(np.unique(each[kept], return_inverse=True)[1] for each in place)
        n, n_seeds = (int(each.max(initial=-1)) + 1 for each in at)
        if n_seeds < 2 or n * (n - 1) / 2 < LEAST:
            continue
        own, gap = np.full((n_seeds, n), nan), np.full((n_seeds, n), nan)
        own[at[1], at[0]], gap[at[1], at[0]] = x[kept], y[kept]
        tau, weight = tau_b_of_rows(np.concatenate([own, gap, _others(gap)]))
        first, second, third = (slice(k * n_seeds, (k + 1) * n_seeds) for k in range(3))
        pairs, same = np.triu_indices(n_seeds, 1), np.diag_indices(n_seeds)
        found = {"measure": label, "seeds": n_seeds, "configurations": len(np.unique(place[0][there]))}
        for name, block, of in (
            ("between", (first, first), pairs),
            ("within", (first, second), same),
            ("target_between", (second, second), pairs),
            ("target_others", (second, third), same),
        ):
            found[name] = _mean(tau[block][of], weight[block][of])
        yield found


def tau_b_of_rows(table: Floats) -> tuple[Floats, Floats]:
    """tau-b of every two rows (k, n) over the columns that neither lacks, and of how many pairs of columns; (k, k)."""
    first, second = np.triu_indices(table.shape[1], 1)
    with np.errstate(invalid="ignore"):  # infinities of one sign are a tie
        sign = np.where(table[:, first] == table[:, second], 0.0, np.sign(table[:, first] - table[:, second]))
    known = ~(np.isnan(table[:, first]) | np.isnan(table[:, second]))
    sign[~known] = 0.0
    untied = (sign != 0).astype(float) @ known.T.astype(float)  # (k, k): pairs that the row orders and both have
    with np.errstate(invalid="ignore"):
        tau = (sign @ sign.T) / np.sqrt(untied * untied.T)
    return tau, known.astype(float) @ known.T.astype(float)


def _others(table: Floats) -> Floats:
    """The mean of each column (n_seeds, n) without the row's own value; NaN where there is no other, or no own."""
    known = ~np.isnan(table)
    total, count = np.where(known, table, 0.0).sum(0), known.sum(0) - 1
    with np.errstate(invalid="ignore", divide="ignore"):
        means = np.where(known & (count > 0), (total - table) / count, nan)
    return np.array([[float(f"{mean:.13g}") for mean in row] for row in means])  # equal means tie in any order of sums


def _mean(tau: Floats, weight: Floats) -> float:
    counted = ~np.isnan(tau) & (weight >= LEAST)
    return float(np.average(tau[counted], weights=weight[counted])) if counted.any() else nan
