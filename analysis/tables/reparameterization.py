"""Before and after reparameterization: the same networks measured again, their function written otherwise."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.correlation import RESAMPLES, coefficients
from analysis.load import configurations, measures, values
from analysis.stopwise import stopwise
from analysis.style import ordered

TITLE = "Correlation with the gap before and after reparameterization"
METHOD = (
    "After: every network's weights are rescaled without changing its function, and measured again. Largest change is "
    "the largest relative change of the measure over the networks; 95% BCa intervals from {resamples} resamples of "
    "configurations."
)
NEEDS = "measures of reparameterized networks (columns measure.<label>@<transform>)"


def build(frame: pd.DataFrame, resamples: int = RESAMPLES) -> pd.DataFrame:
    """Columns: stop, target, measure, transform ("none" first), n, configurations, tau_b, pearson, largest_change."""

    def one(kept: pd.DataFrame, target: str) -> pd.DataFrame:
        rows = [_row(kept, target, m, t, resamples) for m in transformed(kept) for t in ("", *transformed(kept)[m])]
        return pd.DataFrame(rows)

    return stopwise(frame, one, TITLE, METHOD.format(resamples=f"{resamples:,}"), needs=NEEDS)


def transformed(frame: pd.DataFrame) -> dict[str, list[str]]:
    """The measures that were taken again after a transform: label -> transforms, in order."""
    found: dict[str, list[str]] = {}
    for label in ordered(measures(frame)):
        name, _, transform = label.partition("@")
        if transform and f"measure.{name}" in frame.columns:
            found.setdefault(name, []).append(transform)
    return found


def _row(kept: pd.DataFrame, target: str, label: str, transform: str, resamples: int) -> dict[str, object]:
    before = values(kept, f"measure.{label}")
    after = values(kept, f"measure.{label}@{transform}") if transform else before
    c = coefficients(after, values(kept, target), configurations(kept), resamples)
    row: dict[str, object] = {"measure": label, "transform": transform or "none", "n": c.n}
    row["configurations"] = c.n_configurations
    for name in ("tau_b", "pearson"):
        interval = c.interval(name)
        row |= {name: c.point[name], f"{name}.low": interval.low, f"{name}.high": interval.high}
    with np.errstate(invalid="ignore", divide="ignore"):
        change = np.abs(after - before) / np.abs(before)
    known = change[~np.isnan(change)]
    return row | {"largest_change": float(known.max()) if len(known) else float("nan")}
