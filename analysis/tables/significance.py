"""Permutation p within blocks, with Benjamini-Hochberg's q over the measures."""

from __future__ import annotations

import pandas as pd

from analysis.correlation import RESAMPLES
from analysis.significance import permutation
from analysis.stopwise import stopwise
from analysis.subject import trained

TITLE = "Permutation p of each measure's rank correlation, and q over all measures"
METHOD = (
    "Two-sided, {permutations} exchanges of whole configurations within data set and model; statistic: the sum of "
    "products of ranks; q: Benjamini-Hochberg over the measures of one stop and target."
)


def build(frame: pd.DataFrame, permutations: int = RESAMPLES) -> pd.DataFrame:
    """Columns: stop, target, measure, n, p_permutation, q_bh, note."""

    def one(kept: pd.DataFrame, target: str) -> pd.DataFrame:
        return permutation(kept, target, trained(kept), permutations=permutations)

    table = stopwise(frame, one, TITLE, METHOD.format(permutations=f"{permutations:,}"))
    table.attrs["decimals"] = 4
    return table
