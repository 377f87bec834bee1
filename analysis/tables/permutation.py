"""Within what: correlation and permutation p among all networks, those that share a setting, and seeds alone."""

from __future__ import annotations

import pandas as pd

from analysis.selection import with_last_layer
from analysis.statistics.association.coefficients import RESAMPLES
from analysis.statistics.association.permutation import within_settings
from analysis.statistics.resampling.resample import WORDS
from analysis.stopwise import stopwise

TITLE = "Correlation and permutation p within each hyperparameter, and among seeds alone"
METHOD = (
    "Pearson's r of what is left when the mean of the networks that share a setting is removed, of the values and, as "
    "ρ, of their ranks: within data set and model, within an axis' setting, within the configuration, where networks "
    f"differ in the seed alone. In brackets {WORDS}. p: two-sided, of all orders of the levels of the other axes, or "
    "{permutations} of them, whole levels moving at once, or of exchanges of the networks of a configuration; "
    "statistic: the correlation of mean ranks; no p lies below p_least, which is all that four levels of one axis "
    "allow; q: Benjamini-Hochberg over the measures of one stop, target and setting."
)


def build(frame: pd.DataFrame, permutations: int = RESAMPLES, resamples: int = RESAMPLES) -> pd.DataFrame:
    """Columns: stop, target, measure, within, n, pearson with bounds, spearman, p_permutation, p_least, q_bh, note. No
    p of 0 permutations."""

    def one(kept: pd.DataFrame, target: str) -> pd.DataFrame:
        return within_settings(kept, target, with_last_layer(kept), permutations, resamples)

    return stopwise(
        frame,
        one,
        TITLE,
        METHOD.format(permutations=f"{permutations:,}", resamples=f"{resamples:,}"),
        every_target=True,
    )
