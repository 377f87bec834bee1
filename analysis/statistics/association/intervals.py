"""How sure is a coefficient? For this grid, were it trained with other seeds; and for new levels of its axes.

For this grid: the networks of each configuration are resampled, among themselves, and the middle 95% of the resamples
is given. It says how far the coefficient moves with initial weights and data order, the settings being what they are,
and nothing of other settings. Of few seeds it is narrow: the variance among n comes out (n - 1) / n of what it is.

For new levels: the levels of the axes are drawn (see design). It says what the
coefficient might have been with other learning rates, inits, batch sizes of the same kind. Every claim rests on it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from analysis.columns import check_frame, measures, values
from analysis.statistics.association.coefficients import (
    RESAMPLES,
    Coefficients,
    coefficients,
    complete,
    spread,
    under_weights,
)
from analysis.statistics.resampling.design import design, unrelated
from analysis.statistics.resampling.multiple import benjamini_hochberg

Ints = NDArray[np.int64]
_SHOWN = ("tau_b", "pearson")
_CHUNK = 250  # resamples at a time, to bound memory; ours


def intervals(
    frame: pd.DataFrame,
    target: str = "gap.loss",
    labels: Sequence[str] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = 0.95,
) -> pd.DataFrame:
    """tau-b and Pearson of every measure with both intervals; a records frame of one stop, one row a measure.

    Columns: measure, n, configurations, drawn (the axes whose levels are drawn, " x " between them; empty where there
    is none for new levels), then of tau_b and of pearson the value with bounds for this grid, `<coefficient>_levels`,
    the same value with bounds for new levels, `<coefficient>_holds_0`: whether each interval does (yes, no or n/a, the
    grid's first) and `<coefficient>_q`, Benjamini-Hochberg's q of zero for new levels over the rows; note.
    """
    check_frame(frame, target)
    gap, grid = values(frame, target), design(frame)

    def row(label: str) -> dict[str, object]:
        x = values(frame, f"measure.{label}")
        both = this_grid(x, gap, grid.configuration, resamples, seed), coefficients(x, gap, grid, resamples, seed)
        return {"measure": label} | _row(*both, level)

    table = pd.DataFrame(spread(row, measures(frame) if labels is None else labels))
    return table.assign(**{f"{name}_q": benjamini_hochberg(table[f"{name}_q"]) for name in _SHOWN})


def this_grid(x: ArrayLike, y: ArrayLike, groups: ArrayLike, resamples: int = RESAMPLES, seed: int = 0) -> Coefficients:
    """Correlate two vectors (n,), resampling the runs of each configuration that `groups` (n,) numbers.

    Cost O(n^2 resamples) up to 256 runs, O(256 n resamples) of more; memory O(n 250).
    """
    a, b, there = complete(x, y)
    if len(a) < 2 or not resamples:
        return coefficients(x, y, groups, 0)
    group = unrelated(np.asarray(groups)[there]).configuration
    return under_weights(a, b, group, drawn_runs(group, resamples, seed))


def drawn_runs(group: Ints, resamples: int, seed: int) -> Iterator[NDArray[np.float32]]:
    """How often each run is drawn, from those of its configuration (n,); (n, B) a chunk of resamples."""
    size = np.bincount(group)
    order = np.lexsort((group, size[group]))  # configurations of one size are drawn in one go
    sizes, runs = np.unique(size[group], return_counts=True)
    generator = np.random.default_rng([seed, len(group), resamples])
    for at in range(0, resamples, _CHUNK):
        count = min(_CHUNK, resamples - at)
        drawn = [
            generator.multinomial(s, np.full(s, 1 / s), size=(count, n // s)).reshape(count, -1)
            for s, n in zip(sizes.tolist(), runs.tolist(), strict=True)
        ]
        weights = np.empty((len(group), count), dtype=np.float32)
        weights[order] = np.concatenate(drawn, axis=1).T
        yield weights


def _row(grid: Coefficients, levels: Coefficients, level: float) -> dict[str, object]:
    row: dict[str, object] = {"n": grid.n, "configurations": grid.n_configurations}
    row["drawn"] = " x ".join(levels.resampled)
    reasons = [grid.note] if grid.note else []
    for name in _SHOWN:
        holds = []
        for words, column, c in (("this grid", name, grid), ("new levels", f"{name}_levels", levels)):
            bounds = c.interval(name, level)
            row |= {column: c.point[name], f"{column}.low": bounds.low, f"{column}.high": bounds.high}
            known = np.isfinite([bounds.low, bounds.high]).all()
            holds.append(("yes" if bounds.low <= 0 <= bounds.high else "no") if known else "n/a")
            if bounds.reason and np.isfinite(c.point[name]) and grid.replicates:
                reasons.append(f"no interval of {name} for {words}: {bounds.reason}")
        row[f"{name}_holds_0"] = " / ".join(holds)
        row[f"{name}_q"] = levels.p_of_zero(name)
    return row | {"note": "; ".join(reasons)}
