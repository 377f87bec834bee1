"""Sign error in environments: the mean hides the worst case, so mean, 90th percentile and maximum stand together."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.columns import configurations
from analysis.selection import trained
from analysis.statistics.grid.means import column_beside, has_seeds
from analysis.statistics.grid.sign_error import DEFAULT_N_TEST, MIN_SAMPLES, sign_error
from analysis.stopwise import stopwise
from analysis.tables.granulated import axis_words
from analysis.vocabulary import at_words

TITLE = "Sign error over environments: mean, 90th percentile and maximum"
METHOD = (
    "Of single networks; unweighted, of means, is of configurations' means over seeds. "
    "An environment is an ordered pair of configurations that differ in one hyperparameter, over all pairs of seeds; "
    "pairs are weighted by how surely the test set orders their gaps (n.test of the records, else {n:,}); an "
    "environment is used if its effective sample size is at least {least:.0f}; 0.5 is chance, 1 always wrong; "
    "unweighted is over all pairs, and 1 − 2 × unweighted is τ_a over pairs that differ in one hyperparameter."
)


def build(frame: pd.DataFrame) -> pd.DataFrame:
    """Columns: stop, target, measure, axis, environments, used, mean, p90, max, unweighted; against the error gap.

    With seeds unweighted_means, too.
    """

    unused: list[str] = []

    def one(kept: pd.DataFrame, target: str) -> pd.DataFrame:
        if not (target.endswith(".error") or target == "gen.gap"):
            return pd.DataFrame()  # the weights are of errors, shares of a test set
        table = sign_error(kept, target, trained(kept))
        if has_seeds(kept):
            of_means = sign_error(kept, target, trained(kept), of="means")
            table["unweighted_means"] = column_beside(table, of_means, ["measure", "axis"], "unweighted")
        if not table["used"].any():
            unused.append(_why(kept))
        table["axis"] = ["all" if axis == "all" else axis_words(axis) for axis in table["axis"]]
        return table[table["environments"] > 0].reset_index(drop=True)

    method = METHOD.format(n=DEFAULT_N_TEST, least=MIN_SAMPLES)
    needs = "an error gap, and two configurations that differ in one hyperparameter"
    table = stopwise(frame, one, TITLE, method, wanted=("gap.error", "gen.gap"), needs=needs)
    if not table.attrs.get("lacks"):
        table.attrs["note"] = " ".join([table.attrs["note"], *dict.fromkeys(unused)])
    return table


def _why(kept: pd.DataFrame) -> str:
    """Why no environment of a stop is used: too few seeds for as many pairs, or gaps that the test set cannot order."""
    stop, most = kept["stop"].iloc[0], int(np.bincount(configurations(kept)).max())
    at = at_words(stop)
    if most * most < MIN_SAMPLES:
        pairs = f"{most * most} pair{'s' * (most > 1)} of seeds at most; {np.ceil(np.sqrt(MIN_SAMPLES)):.0f} seeds"
        return f"No environment is used{at}: it has {pairs} in each configuration make enough."
    return f"No environment is used{at}: the test set orders the gaps of too few pairs surely."
