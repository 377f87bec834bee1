"""Every measure against every target and stop: tau-b, tau-a and Pearson with intervals, n beside each."""

from __future__ import annotations

import pandas as pd

from analysis.columns import TARGETS
from analysis.selection import with_last_layer
from analysis.statistics.association.coefficients import RESAMPLES
from analysis.statistics.association.correlation import correlate
from analysis.statistics.resampling.resample import WORDS
from analysis.stopwise import stopwise

TITLE = "Rank correlation of each measure with the generalization gap"
METHOD = (
    f"τ_b corrects for ties, τ_a does not (a constant measure scores τ_a = 0 and has no τ_b); in brackets {WORDS}; a "
    "configuration is all hyperparameters but the seed; n is the number of networks with a value."
)


def build(frame: pd.DataFrame, resamples: int = RESAMPLES) -> pd.DataFrame:
    """Columns: stop, target, measure, n, configurations, tau_b, tau_a, pearson (each with .low, .high), spearman, ...

    One row a stop, target and measure (and its last layer alone), in the order of the vocabulary.
    """

    def one(kept: pd.DataFrame, target: str) -> pd.DataFrame:
        return correlate(kept, target, with_last_layer(kept), resamples)

    method = METHOD.format(resamples=f"{resamples:,}")
    return stopwise(frame, one, TITLE, method, wanted=TARGETS, every_target=True)
