"""Before and after reparameterization: the same networks measured again, their function written otherwise."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.columns import configurations, layers, values
from analysis.selection import transforms
from analysis.statistics.coefficients import RESAMPLES, coefficients_of_many
from analysis.statistics.resample import WORDS
from analysis.stopwise import stopwise
from study.names import Label

TITLE = "Correlation with the gap before and after reparameterization"
METHOD = (
    "After: every network's weights are rescaled without changing its function, and measured again; all: the sum over "
    "layers. Largest change is the largest relative change of the measure over the networks; "
    f"{WORDS}."
)
NEEDS = "measures of reparameterized networks (columns measure.<label>@<transform>)"


def build(frame: pd.DataFrame, resamples: int = RESAMPLES) -> pd.DataFrame:
    """Columns: stop, target, measure, layer ("all": the sum), transform ("none" first), n, configurations, tau_b,
    pearson with bounds, largest_change; against the loss gap and the error gap."""

    def one(kept: pd.DataFrame, target: str) -> pd.DataFrame:
        return before_and_after(kept, target, transforms(kept), resamples)

    method = METHOD.format(resamples=f"{resamples:,}")
    wanted = ("gap.loss", "gap.error", "gen.gap")
    return stopwise(frame, one, TITLE, method + _checked(frame), wanted=wanted, every_target=True, needs=NEEDS)


def _checked(frame: pd.DataFrame) -> str:
    """What the records say of the outputs before and after; nothing where they are older than that column."""
    columns = [c for c in frame.columns if c.startswith("reparameterized.") and c.endswith(".difference")]
    seen = frame[columns].max(axis=1)
    if not seen.notna().any():
        return ""
    runs = f"{frame['key'][seen.notna()].nunique()} of {frame['key'].nunique()} networks"
    return f" Outputs moved by at most {float(seen.max()):.1g} of the largest (recorded for {runs})."


def before_and_after(
    kept: pd.DataFrame, target: str, taken: dict[str, list[str]], resamples: int = RESAMPLES
) -> pd.DataFrame:
    """A row a measure, layer and transform of `taken` (label -> transforms), as trained first."""
    rows = [
        (label, layer, transform)
        for label, names in taken.items()
        for layer in ("all", *layers(kept, str(Label.parse(label).at(transform=names[0]))))
        for transform in ("none", *names)
    ]
    gap = values(kept, target)
    columns = [values(kept, column_of(*row)) for row in rows]
    every = coefficients_of_many([(x, gap) for x in columns], configurations(kept), resamples)
    found = []
    for (label, layer, transform), after, c in zip(rows, columns, every, strict=True):
        row: dict[str, object] = {"measure": label, "layer": layer, "transform": transform, "n": c.n}
        row["configurations"] = c.n_configurations
        for name in ("tau_b", "pearson"):
            bounds = c.interval(name)
            row[name] = c.point[name]
            row |= {f"{name}.low": bounds.low, f"{name}.high": bounds.high} if resamples else {}
        row["largest_change"] = _largest_change(values(kept, column_of(label, layer, "none")), after)
        found.append(row)
    return pd.DataFrame(found)


def column_of(label: str, layer: str, transform: str) -> str:
    """The records' column of a measure, layer ("all": the sum) and transform ("none": as trained)."""
    taken = {"transform": "" if transform == "none" else transform, "layer": "" if layer == "all" else layer}
    return Label.parse(label).at(**taken).column


def _largest_change(before: np.ndarray, after: np.ndarray) -> float:
    with np.errstate(invalid="ignore", divide="ignore"):
        change = np.abs(after - before) / np.abs(before)
    known = change[~np.isnan(change)]
    return float(known.max()) if len(known) else float("nan")
