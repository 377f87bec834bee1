"""Within each setting of one axis: does a measure rank the networks that share an init, or a batch size?"""

from __future__ import annotations

import pandas as pd

from analysis.selection import with_last_layer
from analysis.statistics.association.coefficients import RESAMPLES
from analysis.statistics.grid.settings import LIMIT, by_setting
from analysis.statistics.resampling.resample import WORDS
from analysis.stopwise import stopwise
from analysis.vocabulary import hyperparameter_words

TITLE = "Correlation with the gap within each setting of one hyperparameter"
METHOD = (
    f"τ_b and Pearson's r among the networks that share the setting, with {WORDS}, none above {{limit:,}} networks; "
    "r without: Pearson's r of all other networks; hyperparameters that were only changed together are one."
)


def build(frame: pd.DataFrame, resamples: int = RESAMPLES) -> pd.DataFrame:
    """Columns: stop, target, axis, setting, measure, n, configurations, tau_b and pearson with bounds,
    pearson_without."""

    def one(kept: pd.DataFrame, target: str) -> pd.DataFrame:
        table = by_setting(kept, target, with_last_layer(kept), resamples)
        return table.assign(axis=table["axis"].map(hyperparameter_words)) if len(table) else table

    method = METHOD.format(resamples=f"{resamples:,}", limit=LIMIT)
    return stopwise(frame, one, TITLE, method, every_target=True, needs="a hyperparameter with two settings")
