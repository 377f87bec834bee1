"""Granulated Kendall coefficients (Jiang et al. 2020): agreement along one hyperparameter at a time.

psi_i is the mean, over all settings of the other hyperparameters, of tau along axis i; Psi is the mean of the psi_i.
A cell (one setting of the others) in which tau is undefined counts as a NaN cell: it stays out of the mean and is
printed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.columns import axes as varying
from analysis.columns import check_frame, measures, values
from analysis.statistics.grid.matched_pairs import Neighbours, neighbours, signs
from analysis.statistics.grid.means import runs_or_means

Floats = NDArray[np.float64]


def granulated(
    frame: pd.DataFrame,
    target: str = "gap.loss",
    labels: Sequence[str] | None = None,
    axes: Sequence[str] | None = None,
    variant: str = "a",
    same_seed: bool = True,
    of: str = "runs",
) -> pd.DataFrame:
    """psi of every measure along every axis, then Psi, then Psi without each axis, over a records frame of one stop.

    Columns: measure, axis (a hyperparameter, "all", or "all but <axis>"), psi, se, cells, nan_cells. `variant` "a"
    scores a measure that is constant in a cell 0 there; "b" leaves such a cell undefined. With `same_seed` (the
    default) a cell also holds the seed, as one more setting; without it, all seeds of a setting are compared in one
    cell. Pairs with the same value on the axis do not count. `se` is the standard error of the mean over cells, seeds
    of a setting taken together. With `of` "means" configurations are compared by their means (see means), not runs.
    """
    check_frame(frame, target)
    if variant not in ("a", "b"):
        raise ValueError(f"variant: {variant}: allowed are a, b")
    labels = measures(frame) if labels is None else labels
    frame = runs_or_means(frame, of, [target, *(f"measure.{label}" for label in labels)])
    names = varying(frame) if axes is None else list(axes)
    pairs = [neighbours(frame, axis, same_seed) for axis in names]
    gap = values(frame, target)
    gaps = [signs(gap, p.i, p.j) for p in pairs]
    rows: list[dict[str, object]] = []
    for label in labels:
        x = values(frame, f"measure.{label}")
        along = [_along(p, signs(x, p.i, p.j), g, variant) for p, g in zip(pairs, gaps, strict=True)]
        rows += [{"measure": label, "axis": name, **part} for name, part in zip(names, along, strict=True)]
        rows.append({"measure": label, "axis": "all", **_together(along)})
        if len(along) > 1:
            for left_out, name in enumerate(names):
                rest = _together(along[:left_out] + along[left_out + 1 :])
                rows.append({"measure": label, "axis": f"all but {name}", **rest})
    return pd.DataFrame(rows, columns=["measure", "axis", "psi", "se", "cells", "nan_cells"])


def _along(pairs: Neighbours, measure: Floats, gap: Floats, variant: str) -> dict[str, float]:
    tau = cell_taus(pairs, measure, gap, variant)
    defined = ~np.isnan(tau)
    count = int(defined.sum())
    psi = float(tau[defined].mean()) if count else float("nan")
    off = np.where(defined, tau - psi, 0.0)
    clusters = np.bincount(pairs.setting, weights=off) if len(off) else np.zeros(0)
    n_clusters = len(np.unique(pairs.setting[defined]))
    se = float(np.sqrt((clusters**2).sum())) / count if n_clusters > 1 else float("nan")
    return {"psi": psi, "se": se, "cells": pairs.n_cells, "nan_cells": pairs.n_cells - count}


def cell_taus(pairs: Neighbours, measure: Floats, gap: Floats, variant: str) -> Floats:
    """Tau of each cell from the signs of its pairs; NaN where it is undefined. Shape (n_cells,)."""
    there = ~(np.isnan(measure) | np.isnan(gap))
    cell, m, g = pairs.cell[there], measure[there], gap[there]

    def add(each: Floats) -> Floats:
        return np.bincount(cell, weights=each, minlength=pairs.n_cells).astype(np.float64)

    below = add(np.ones(len(m))) if variant == "a" else np.sqrt(add(m * m) * add(g * g))
    agree = add(m * g)
    return np.divide(agree, below, out=np.full(pairs.n_cells, np.nan), where=below > 0)


def _together(along: Sequence[dict[str, float]]) -> dict[str, float]:
    psi = np.array([a["psi"] for a in along])
    se = np.array([a["se"] for a in along])
    defined = ~np.isnan(psi)
    known = defined.any() and not np.isnan(se[defined]).any()
    return {
        "psi": float(psi[defined].mean()) if defined.any() else float("nan"),
        "se": float(np.sqrt((se[defined] ** 2).sum()) / defined.sum()) if known else float("nan"),
        "cells": int(sum(a["cells"] for a in along)),
        "nan_cells": int(sum(a["nan_cells"] for a in along)),
    }
