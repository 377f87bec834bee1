"""Jiang's K and the PGDL competition's score, each under its own name."""

from __future__ import annotations

import pandas as pd

from analysis.columns import axes
from analysis.selection import trained
from analysis.statistics.grid.information import information
from analysis.statistics.grid.means import column_beside, has_seeds
from analysis.stopwise import stopwise

TITLE = "Conditional mutual information of the signs of differences: K and the PGDL score"
METHOD = (
    "Of single networks; K of means is of configurations' means over seeds. "
    "K (Jiang et al. 2020): smallest normalized conditional mutual information over sets of at most two "
    "hyperparameters. PGDL: the competition's score, sets of exactly two, cells of equal weight, self-pairs kept, a "
    "tie counted as less; it is not invariant to flipping a measure with ties. The competition prints 100 times this."
)


def build(frame: pd.DataFrame) -> pd.DataFrame:
    """Columns: stop, target, measure, n, K, K_given, pgdl, pgdl_given; K_means with seeds."""

    def one(kept: pd.DataFrame, target: str) -> pd.DataFrame:
        if not axes(kept):
            return pd.DataFrame()
        table = information(kept, target, trained(kept))
        if has_seeds(kept):
            of_means = information(kept, target, trained(kept), of="means")
            table["K_means"] = column_beside(table, of_means, ["measure"], "K")
        return table.rename(columns={"K_given": "K given", "pgdl": "PGDL", "pgdl_given": "PGDL given"})

    needs = "a hyperparameter with two values among the networks kept"
    table = stopwise(frame, one, TITLE, METHOD, needs=needs)
    table.attrs["decimals"] = 3
    return table
