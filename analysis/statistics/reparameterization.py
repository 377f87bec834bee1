"""Before and after: coefficients of the same networks, their function written otherwise, and how far a measure went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.columns import layers, values
from analysis.statistics.association.coefficients import RESAMPLES, coefficients_of_many
from analysis.statistics.resampling.design import design
from study.names import Label

NEEDS = "measures of reparameterized networks (columns measure.<label>@<transform>)"
NEEDS_FACTORS = "measures of networks rescaled by given factors (columns measure.<label>@factor_<a>)"


def before_and_after(
    frame: pd.DataFrame, target: str, taken: Mapping[str, Sequence[str]], resamples: int = RESAMPLES
) -> pd.DataFrame:
    """A row a measure, layer and transform of `taken` (label -> transforms), as trained first; rows of one stop.

    Columns: measure, layer ("all": the sum over layers), transform ("none": as trained), n, configurations, tau_b and
    pearson (with bounds, unless there are no resamples), largest_change (the largest relative one over the networks).
    """
    rows = [
        (label, layer, transform)
        for label, names in taken.items()
        for layer in ("all", *layers(frame, str(Label.parse(label).at(transform=names[0]))))
        for transform in ("none", *names)
    ]
    gap = values(frame, target)
    columns = [values(frame, column_of(*row)) for row in rows]
    every = coefficients_of_many([(x, gap) for x in columns], design(frame), resamples)
    found = []
    for (label, layer, transform), after, c in zip(rows, columns, every, strict=True):
        row: dict[str, object] = {"measure": label, "layer": layer, "transform": transform, "n": c.n}
        row["configurations"] = c.n_configurations
        for name in ("tau_b", "pearson"):
            bounds = c.interval(name)
            row[name] = c.point[name]
            row |= {f"{name}.low": bounds.low, f"{name}.high": bounds.high} if resamples else {}
        row["largest_change"] = _largest_change(values(frame, column_of(label, layer, "none")), after)
        found.append(row)
    return pd.DataFrame(found)


def column_of(label: str, layer: str, transform: str) -> str:
    """The records' column of a measure, layer ("all": the sum) and transform ("none": as trained)."""
    taken = {"transform": "" if transform == "none" else transform, "layer": "" if layer == "all" else layer}
    return Label.parse(label).at(**taken).column


def _largest_change(before: NDArray[np.float64], after: NDArray[np.float64]) -> float:
    with np.errstate(invalid="ignore", divide="ignore"):
        change = np.abs(after - before) / np.abs(before)
    known = change[~np.isnan(change)]
    return float(known.max()) if len(known) else float("nan")


def median_ratio(frame: pd.DataFrame, before: str, after: str) -> float:
    """Median over networks of one column over another, where it is positive and finite; NaN where it never is."""
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = values(frame, after) / values(frame, before)
    known = ratio[np.isfinite(ratio) & (ratio > 0)]
    return float(np.median(known)) if len(known) else float("nan")
