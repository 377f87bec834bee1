"""Within each setting of one axis: coefficients among networks that share an init or a batch size, and of the rest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.columns import axes, axis_columns, check_frame, codes, measures, values
from analysis.statistics.association.coefficients import RESAMPLES, complete, scaled
from analysis.statistics.association.correlation import correlate_each

_ROUNDING = 1e-14  # of the largest value: a smaller spread is none, as in every coefficient
LIMIT = 2000  # networks above which the many intervals would cost more than they tell; ours
_SETTINGS = 12  # of one axis; a longer axis is a continuum


def by_setting(
    frame: pd.DataFrame, target: str = "gap.loss", labels: Sequence[str] | None = None, resamples: int = RESAMPLES
) -> pd.DataFrame:
    """tau-b and Pearson of every measure in every setting of every axis; a records frame of one stop.

    Columns: axis, setting, measure, n, configurations, tau_b and pearson (with .low and .high, unless there are no
    resamples or more than LIMIT networks), pearson_without (of all networks but those of the setting). Empty where no
    hyperparameter has two values.
    """
    check_frame(frame, target)
    names = measures(frame) if labels is None else list(labels)
    count = resamples if len(frame) <= LIMIT else 0
    rows: list[dict[str, object]] = []
    for axis, setting, here in _settings(frame):
        part, rest = (frame[chosen].reset_index(drop=True) for chosen in (here, ~here))
        rows += [{"axis": axis, "setting": setting} | row for row in _rows(part, rest, target, names, count)]
    return pd.DataFrame(rows)


def _settings(frame: pd.DataFrame) -> Iterator[tuple[str, str, NDArray[np.bool_]]]:
    """Each axis, each of its settings in words, and which rows are of it."""
    for axis in axes(frame):
        columns = axis_columns([axis])
        level = codes(frame, columns)
        for value in range(int(level.max()) + 1 if level.max() < _SETTINGS else 0):
            here = level == value
            yield axis, ", ".join(str(frame.loc[here, c].iloc[0]) for c in columns), here


def _rows(
    part: pd.DataFrame, rest: pd.DataFrame, target: str, names: Sequence[str], resamples: int
) -> Iterator[dict[str, object]]:
    """A row a measure of the networks of one setting; `rest` are those of all others."""
    for name, c in correlate_each(part, target, names, resamples).items():
        row: dict[str, object] = {"measure": name, "n": c.n, "configurations": c.n_configurations}
        for coefficient in ("tau_b", "pearson"):
            bounds = c.interval(coefficient)
            row[coefficient] = c.point[coefficient]
            row |= {f"{coefficient}.low": bounds.low, f"{coefficient}.high": bounds.high} if resamples else {}
        yield row | {"pearson_without": _pearson(values(rest, f"measure.{name}"), values(rest, target))}


def _pearson(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    a, b = map(scaled, complete(x, y)[:2])
    if len(a) < 2 or not np.isfinite([a, b]).all() or min(a.std(), b.std()) <= _ROUNDING:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])
