"""Within what: correlation and permutation p among all networks, those that share a setting, and seeds alone."""

from __future__ import annotations

import pandas as pd

from analysis.selection import with_last_layer
from analysis.statistics.coefficients import RESAMPLES
from analysis.statistics.permutation import within_settings
from analysis.stopwise import stopwise

TITLE = "Correlation and permutation p within each hyperparameter, and among seeds alone"
METHOD = (
    "Pearson's r of what is left when the mean of the networks that share a setting is removed, of the values and, as "
    "ρ, of their ranks: within data set and model, within an axis' setting, within the configuration, where networks "
    "differ in the seed alone. In brackets 95% intervals by Student's t of the jackknife over what is compared: the "
    "settings of all other axes, or the configurations. p: two-sided, {permutations} exchanges of whole configurations "
    "within the setting, in each setting independently, or of the networks of a configuration; statistic: the sum of "
    "products of ranks; q: Benjamini-Hochberg over the measures of one stop, target and setting. p takes "
    "configurations for independent: where axes are crossed, those that share a setting of another axis are not, and "
    "an effect of four settings shows no p below 1/24."
)


def build(frame: pd.DataFrame, permutations: int = RESAMPLES) -> pd.DataFrame:
    """Columns: stop, target, measure, within, n, pearson with bounds, spearman, p_permutation, q_bh, note. No p of 0
    permutations."""

    def one(kept: pd.DataFrame, target: str) -> pd.DataFrame:
        return within_settings(kept, target, with_last_layer(kept), permutations)

    return stopwise(frame, one, TITLE, METHOD.format(permutations=f"{permutations:,}"), every_target=True)
