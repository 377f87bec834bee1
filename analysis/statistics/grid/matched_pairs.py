"""Pairs of runs whose configurations differ in one hyperparameter: what granulated tau and the sign error compare."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.columns import SEED, axis_columns, codes, hyperparameters

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Neighbours:
    """Unordered pairs of rows (i, j) that differ along one axis and agree in all other hyperparameters.

    `i`, `j`: row numbers (pairs,); `cell`: the setting of the others each pair lies in (pairs,), numbered below
    `n_cells`, the number of settings that have any run at all; `setting`: each cell's setting without the seed
    (n_cells,).
    """

    axis: str
    i: Ints
    j: Ints
    cell: Ints
    n_cells: int
    setting: Ints


def neighbours(frame: pd.DataFrame, axis: str, same_seed: bool) -> Neighbours:
    """Pair the rows along `axis` (an axis of load.axes); with `same_seed`, only runs of one seed. Cost O(n * largest
    cell).

    Raises ValueError for an axis that is no hyperparameter of the frame, and for the seed, which is none.
    """
    known = hyperparameters(frame)
    own = axis_columns([axis])
    if not set(own) <= set(known):
        raise ValueError(f"axis: {axis}: allowed are {', '.join(known)}")
    others = [c for c in known if c not in own]
    held = [*others, SEED] if same_seed and SEED in frame.columns else others
    cell, level, setting = codes(frame, held), codes(frame, own), codes(frame, others)
    n_cells = int(cell.max(initial=-1)) + 1
    order = np.argsort(cell, kind="stable")
    i, j = same_group_pairs(cell[order])
    i, j = order[i], order[j]
    differ = level[i] != level[j]
    i, j = i[differ], j[differ]
    of_cell = np.zeros(n_cells, dtype=np.int64)
    of_cell[cell] = setting
    return Neighbours(axis, i, j, cell[i], n_cells, of_cell)


def same_group_pairs(group: Ints) -> tuple[Ints, Ints]:
    """All pairs of positions i < j of one group, for a sorted group (n,); each (pairs,)."""
    size = np.bincount(group)
    left, right = [], []
    for step in range(1, int(size.max(initial=0))):
        i = np.flatnonzero(group[step:] == group[:-step])
        left.append(i)
        right.append(i + step)
    if not left:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    return np.concatenate(left), np.concatenate(right)


def signs(x: NDArray[np.float64], i: Ints, j: Ints) -> NDArray[np.float64]:
    """Sign of x_i - x_j by comparison, so that equal infinities tie; NaN where either is missing. Shape (pairs,)."""
    a, b = x[i], x[j]
    sign = (a > b).astype(np.float64) - (a < b)
    sign[np.isnan(a) | np.isnan(b)] = np.nan
    return sign
