"""Means of configurations: what a statistic of pairs compares when asked for means in place of single networks.

The mean over a configuration's seeds has less noise than a network, so that agreement with the gap comes out otherwise:
a figure that was published of means over seeds is to be compared with one of means.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.columns import configurations, hyperparameters, values

OF = ("runs", "means")


def has_seeds(frame: pd.DataFrame) -> bool:
    """Whether any configuration has several runs, so that means are other than the runs themselves."""
    number = configurations(frame)
    return len(np.unique(number)) < len(number)


def column_beside(table: pd.DataFrame, of_means: pd.DataFrame, on: list[str], column: str) -> NDArray[np.float64]:
    """A column of the statistic of means, in the order of the rows of `table` with the same `on`; NaN without any."""
    found: NDArray[np.float64] = table[on].merge(of_means[[*on, column]], how="left", on=on)[column].to_numpy(float)
    return found


def runs_or_means(frame: pd.DataFrame, of: str, columns: Iterable[str]) -> pd.DataFrame:
    """The frame itself for `of` "runs"; for "means" a row a configuration: its hyperparameters, the means of `columns`.

    A mean is over all runs of a configuration, NaN where one has no value in that column: a measure's mean over some
    seeds is not to be laid beside the gap's over all. Raises ValueError for another word.
    """
    if of not in OF:
        raise ValueError(f"of: {of}: allowed are {', '.join(OF)}")
    if of == "runs":
        return frame
    number = configurations(frame)
    first = np.unique(number, return_index=True)[1]
    one = frame.iloc[first][hyperparameters(frame)].reset_index(drop=True)
    means = {c: _means(values(frame, c), number, len(first)) for c in columns if c in frame.columns}
    return pd.concat([one, pd.DataFrame(means)], axis=1)


def _means(each: NDArray[np.float64], number: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    order = np.argsort(number, kind="stable")
    parts = np.split(each[order], np.searchsorted(number[order], np.arange(1, count)))
    return np.array([_mean(part) for part in parts])


def _mean(part: NDArray[np.float64]) -> float:
    if np.isnan(part).any():
        return math.nan
    if not np.isfinite(part).all():
        return math.nan if {-math.inf, math.inf} <= set(part.tolist()) else float(part[~np.isfinite(part)][0])
    # To 14 digits: means of the same errors in another order are to tie, as the errors do.
    return float(f"{math.fsum(part) / len(part):.14g}")
