"""Within each setting of one axis: does a measure rank the networks that share an init, or a batch size?"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.columns import axes, axis_columns, codes, values
from analysis.selection import with_last_layer
from analysis.statistics.coefficients import RESAMPLES, complete
from analysis.statistics.correlation import correlate_each
from analysis.statistics.resample import WORDS
from analysis.stopwise import stopwise
from analysis.vocabulary import hyperparameter_words

TITLE = "Correlation with the gap within each setting of one hyperparameter"
METHOD = (
    f"τ_b and Pearson's r among the networks that share the setting, with {WORDS}, none above {{limit:,}} networks; "
    "r without: Pearson's r of all other networks; hyperparameters that were only changed together are one."
)
_LIMIT = 2000  # networks above which the many intervals would cost more than they tell; ours
_SETTINGS = 12  # of one axis; a longer axis is a continuum


def build(frame: pd.DataFrame, resamples: int = RESAMPLES) -> pd.DataFrame:
    """Columns: stop, target, axis, setting, measure, n, configurations, tau_b and pearson with bounds,
    pearson_without."""

    def one(kept: pd.DataFrame, target: str) -> pd.DataFrame:
        rows: list[dict[str, object]] = []
        count = resamples if len(kept) <= _LIMIT else 0
        for axis in axes(kept):
            columns = axis_columns([axis])
            level = codes(kept, columns)
            for value in range(int(level.max()) + 1 if level.max() < _SETTINGS else 0):
                part, rest = (kept[here].reset_index(drop=True) for here in (level == value, level != value))
                setting = ", ".join(str(part[c].iloc[0]) for c in columns)
                head = {"axis": hyperparameter_words(axis), "setting": setting}
                rows += [head | row for row in _setting(part, rest, target, count)]
        return pd.DataFrame(rows)

    method = METHOD.format(resamples=f"{resamples:,}", limit=_LIMIT)
    return stopwise(frame, one, TITLE, method, every_target=True, needs="a hyperparameter with two settings")


def _setting(part: pd.DataFrame, rest: pd.DataFrame, target: str, resamples: int) -> list[dict[str, object]]:
    """A row a measure of the networks of one setting; `rest` are those of all others."""
    every = correlate_each(part, target, with_last_layer(part), resamples)
    rows: list[dict[str, object]] = []
    for name, c in every.items():
        row: dict[str, object] = {"measure": name, "n": c.n, "configurations": c.n_configurations}
        for coefficient in ("tau_b", "pearson"):
            bounds = c.interval(coefficient)
            row[coefficient] = c.point[coefficient]
            row |= {f"{coefficient}.low": bounds.low, f"{coefficient}.high": bounds.high} if resamples else {}
        row["pearson_without"] = _pearson(values(rest, f"measure.{name}"), values(rest, target))
        rows.append(row)
    return rows


def _pearson(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    a, b, _ = complete(x, y, None)
    if len(a) < 2 or not np.isfinite([a, b]).all() or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])
