"""What a measure says that others do not: its nearest one, the gap predicted by it alone and beside loss and norm."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.selection import trained
from analysis.statistics.redundancy import FEWEST, MOST_FITS, agreement, prediction
from analysis.stopwise import stopwise
from analysis.vocabulary import measure_words

TITLE = "What a measure adds: the measure most like it, and the gap predicted for configurations left out"
METHOD = (
    "Nearest is the other measure with the largest |τ_b| with this one. R² is of gaps of networks that the model was "
    f"not fitted to: each configuration is left out with its seeds (in {MOST_FITS} groups where there are more; none "
    f"below {FEWEST}); 0 is no better than the mean of the others. Linear is least squares, monotone isotonic "
    "regression; an infinite value counts as missing; added is what least squares on training loss (on the squared "
    "weight norm) and this measure has more than on the former alone, of the networks that have both."
)


def build(frame: pd.DataFrame) -> pd.DataFrame:
    """Columns: stop, target, measure, n, configurations, nearest, nearest_tau_b, r2_linear, r2_monotone, r2_loss,
    added_to_loss, r2_norm, added_to_norm; those of a control that the records have."""

    def one(kept: pd.DataFrame, target: str) -> pd.DataFrame:
        labels = trained(kept)
        table, alike = prediction(kept, target, labels), agreement(kept, labels)
        if table.empty:
            return table
        nearest = [_nearest(alike, label) for label in labels]
        table.insert(3, "nearest", [measure_words(name) if name else "" for name, _ in nearest])
        table.insert(4, "nearest_tau_b", [tau for _, tau in nearest])
        return table

    return stopwise(frame, one, TITLE, METHOD, every_target=True)


def _nearest(alike: pd.DataFrame, label: str) -> tuple[str, float]:
    others = alike.loc[label].drop(label).dropna()
    if others.empty:
        return "", np.nan
    at = int(others.abs().to_numpy().argmax())
    return str(others.index[at]), float(others.to_numpy()[at])
