"""Invariance: what changes of the weights that keep a network's function do to each measure, over all that were tried.

Same: no value moved by more than rounding, and four standard errors where it is sampled. Arbitrary: how far it moves
grows with the factor: from factors of 100 (and 1/100) to 1,000 the largest change, or the largest logarithm of the
ratio of the two values, still grows by more than a quarter. Linear growth is by half; what comes to an end grows by
less. Bounded: all else, with the largest relative change. Lost: a value is there before and, somewhere, not after.
None: no value before.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

KINDS = ("same", "bounded", "arbitrary", "lost", "none")
TRANSFORMS = ("layer-wise", "neuron-wise", "permutation", "norm-layer", "folding")  # in the order of a table
NEEDS = "audit.csv beside the records (python -m study audit)"
ROUNDING = 1e-6  # the tolerance of a value that is not sampled, as in study/audit
GROWTH = 1.25  # ours


def by_network(frame: pd.DataFrame) -> pd.DataFrame:
    """`invariance` of each kind of network alone, kinds by name, with a column `network`: its model."""
    parts = [invariance(rows).assign(network=model) for model, rows in frame.groupby("model", sort=True)]
    return pd.concat(parts, ignore_index=True)


def invariance(frame: pd.DataFrame) -> pd.DataFrame:
    """A row a measure and transformation of an audit frame, in the frame's order of measures.

    Columns: measure, transform, kind (of KINDS), change (the largest relative one; NaN where lost or none), within (of
    what is the same for its standard errors alone: the largest relative change that they allow; else 0), networks, n
    (values compared). The frame has
    key, measure, transform, factor (text, empty where there is none), before, after, relative_change and tolerance.
    """
    parts = dict(tuple(frame.groupby(["measure", "transform"], sort=False)))
    known = [*TRANSFORMS, *sorted(set(frame["transform"]) - set(TRANSFORMS))]
    rows = []
    for place in ((measure, transform) for measure in frame["measure"].unique() for transform in known):
        if place in parts:
            there = parts[place][parts[place]["before"].notna()]
            kind, change = _kind(there)
            within = float(there["tolerance"].max()) if kind == "same" and change > ROUNDING else 0.0
            rows.append((*place, kind, change, within, there["key"].nunique(), len(there)))
    return pd.DataFrame(rows, columns=["measure", "transform", "kind", "change", "within", "networks", "n"])


def _kind(part: pd.DataFrame) -> tuple[str, float]:
    if len(part) == 0 or part["after"].isna().any():
        return "lost" if len(part) else "none", float("nan")
    moved = part["relative_change"].abs().to_numpy(dtype=np.float64)
    largest = float(moved.max())
    if (moved <= part["tolerance"].to_numpy(dtype=np.float64)).all():
        return "same", largest
    return ("arbitrary" if _grows(part, moved) else "bounded"), largest


def _grows(part: pd.DataFrame, moved: NDArray[np.float64]) -> bool:
    """Whether the last two decades of the factor differ by GROWTH; no without three of them."""
    factors = pd.to_numeric(part["factor"]).to_numpy(dtype=np.float64)
    decades = np.abs(np.log10(factors)).round(6)
    sizes = np.unique(decades[~np.isnan(decades)])
    if len(sizes) < 3:
        return False
    before, after = (part[column].to_numpy(dtype=np.float64) for column in ("before", "after"))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(before * after >= 0, np.abs(np.log(after / before)), 0.0)
    for each in (moved, np.nan_to_num(ratio, nan=0.0)):
        less, more = (each[decades == size].max() for size in sizes[-2:])
        if more > GROWTH * less:
            return True
    return False
