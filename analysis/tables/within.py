"""Within each setting of one axis: does a measure rank the networks that share an init, or a batch size?"""

from __future__ import annotations

import pandas as pd

from analysis.correlation import RESAMPLES, correlate
from analysis.load import axes, axis_columns, codes, measures
from analysis.stopwise import stopwise
from analysis.style import hyperparameter, ordered

TITLE = "Correlation with the gap within each setting of one hyperparameter"
METHOD = (
    "τ_b and Pearson's r among the networks that share the setting, with 95% BCa intervals from {resamples} resamples "
    "of configurations (none above {limit:,} networks); hyperparameters that were only changed together are one."
)
_LIMIT = 2000  # networks above which the many intervals would cost more than they tell; ours
_SETTINGS = 12  # of one axis; a longer axis is a continuum


def build(frame: pd.DataFrame, resamples: int = RESAMPLES) -> pd.DataFrame:
    """Columns: stop, target, axis, setting, measure, n, configurations, tau_b and pearson with bounds, note."""

    def one(kept: pd.DataFrame, target: str) -> pd.DataFrame:
        parts = []
        for axis in axes(kept):
            columns = axis_columns([axis])
            level = codes(kept, columns)
            for value in range(int(level.max()) + 1 if level.max() < _SETTINGS else 0):
                rows = kept[level == value].reset_index(drop=True)
                setting = ", ".join(str(rows[c].iloc[0]) for c in columns)
                names = [m for m in ordered(measures(kept)) if "@" not in m]
                part = correlate(rows, target, names, resamples if len(kept) <= _LIMIT else 0)
                part.insert(0, "setting", setting)
                part.insert(0, "axis", hyperparameter(axis))
                parts.append(part)
        if not parts:
            return pd.DataFrame()
        table = pd.concat(parts, ignore_index=True)
        shown = ("axis", "setting", "measure", "n", "configurations", "tau_b", "pearson")
        return table[[c for c in table.columns if c.split(".")[0] in shown]]

    method = METHOD.format(resamples=f"{resamples:,}", limit=_LIMIT)
    return stopwise(frame, one, TITLE, method, needs="a hyperparameter with two settings")
