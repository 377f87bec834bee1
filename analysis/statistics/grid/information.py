"""What the sign of a measure's difference tells about the sign of the gap's, given hyperparameters: two scores.

`K` (Jiang et al. 2020): the smallest, over sets S of at most two hyperparameters (none included), of
I(V_m, V_g | U_S) / H(V_g | U_S). V is the sign (-1, 0, 1) of the difference in an ordered pair of two different runs,
U_S the values of S at both, cells weighted by their share of pairs. `pgdl` is the score of the PGDL competition's
program: sets of exactly two, every cell of equal weight, self-pairs kept, V the truth of a strict >, entropies of p +
1e-12; so it changes when a measure with ties is flipped. A cell without pairs counts in neither.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.columns import axes as varying
from analysis.columns import axis_columns, check_frame, codes, measures, values
from analysis.statistics.association.coefficients import spread
from analysis.statistics.association.pair_table import pair_tables
from analysis.statistics.grid.means import runs_or_means

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def information(
    frame: pd.DataFrame,
    target: str = "gap.loss",
    labels: Sequence[str] | None = None,
    axes: Sequence[str] | None = None,
    of: str = "runs",
) -> pd.DataFrame:
    """K and the PGDL score of every measure over a records frame of one stop; nats in neither: both are ratios.

    Columns: measure, n, K, K_given (the set S that gives the minimum), pgdl, pgdl_given; NaN where no set has an
    uncertain gap (PGDL: fewer than two axes vary). With `of` "means" configurations are compared by their means (see
    means), not runs, and n counts them. Cost O(n * 256 * cells) a measure, never n^2.
    """
    check_frame(frame, target)
    labels = measures(frame) if labels is None else labels
    frame = runs_or_means(frame, of, [target, *(f"measure.{label}" for label in labels)])
    names = varying(frame) if axes is None else list(axes)
    sets = [s for size in (0, 1, 2) for s in combinations(names, size)]
    gap = values(frame, target)
    number = {s: codes(frame, axis_columns(s)) for s in sets}

    def row(label: str) -> dict[str, object]:
        x = values(frame, f"measure.{label}")
        there = np.flatnonzero(~(np.isnan(x) | np.isnan(gap)))
        tables = pair_tables(x[there], gap[there], [number[s][there] for s in sets])
        sizes = [np.unique(number[s][there], return_counts=True)[1].astype(np.float64) for s in sets]
        scores = {s: jiang_ratio(t) for s, t in zip(sets, tables, strict=True)}
        each = zip(sets, tables, sizes, strict=True)
        twos: dict[tuple[str, ...], float] = {s: pgdl_ratio(t, n) for s, t, n in each if len(s) == 2}
        k, k_given = _least(scores)
        pgdl, pgdl_given = _least(twos)
        return {"measure": label, "n": len(there), "K": k, "K_given": k_given, "pgdl": pgdl, "pgdl_given": pgdl_given}

    rows = spread(row, labels)
    return pd.DataFrame(rows, columns=["measure", "n", "K", "K_given", "pgdl", "pgdl_given"])


def jiang_ratio(table: Floats) -> float:
    """I(V_m, V_g | U) / H(V_g | U) of a pair table (G, G, 3, 3); NaN where H is 0."""
    cells = table.reshape(-1, 3, 3)
    p = cells / cells.sum() if cells.sum() else cells
    weight = p.sum(axis=(1, 2))
    joint, m, g = (_plogp(part) for part in (p.reshape(len(p), 9), p.sum(axis=2), p.sum(axis=1)))
    conditional = float((_xlogx(weight) - g).sum())
    shared = float((joint - m - g + _xlogx(weight)).sum())
    return shared / conditional if conditional > 1e-12 else float("nan")


def pgdl_ratio(table: Floats, sizes: Floats) -> float:
    """The PGDL program's ratio of mean mutual information to mean entropy; `sizes` (G,): runs a group, for
    self-pairs."""
    above = table[..., 2, 2]
    counts = np.stack(
        [above, table[..., 2, :2].sum(-1), table[..., :2, 2].sum(-1), table[..., :2, :2].sum((-1, -2))], -1
    )
    counts[np.arange(len(sizes)), np.arange(len(sizes)), 3] += sizes
    cells = counts.reshape(-1, 2, 2)
    cells = cells[cells.sum(axis=(1, 2)) > 0]
    if len(cells) == 0:
        return float("nan")
    p = cells / cells.sum(axis=(1, 2), keepdims=True)
    m, g = p.sum(axis=2), p.sum(axis=1)
    apart = m[:, :, None] * g[:, None, :]
    ratio = np.divide(p, apart, out=np.ones_like(p), where=p > 0)
    entropy = -(g * np.log2(g + 1e-12)).sum(axis=1)
    return (
        float((p * np.log2(ratio)).sum(axis=(1, 2)).mean() / entropy.mean()) if entropy.mean() > 1e-9 else float("nan")
    )


def _least(scores: Mapping[tuple[str, ...], float]) -> tuple[float, str]:
    defined = [s for s in scores if not np.isnan(scores[s])]
    if not defined:
        return float("nan"), ""
    best = min(defined, key=lambda s: scores[s])
    return scores[best], " & ".join(name.replace("hp.", "") for name in best) or "nothing"


def _xlogx(p: Floats) -> Floats:
    return np.where(p > 0, p * np.log(np.where(p > 0, p, 1.0)), 0.0)


def _plogp(p: Floats) -> Floats:
    return _xlogx(p).sum(axis=1)
