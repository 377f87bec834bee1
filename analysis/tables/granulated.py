"""Granulated tau: agreement along one hyperparameter at a time, with cells and NaN cells counted."""

from __future__ import annotations

import pandas as pd

from analysis.columns import axes
from analysis.selection import with_last_layer
from analysis.statistics.grid.granulated import granulated
from analysis.statistics.grid.means import column_beside, has_seeds
from analysis.stopwise import stopwise
from analysis.vocabulary import hyperparameter_words

TITLE = "Granulated rank correlation ψ along each hyperparameter, and Ψ"
METHOD = (
    "Of single networks; ψ of means is of configurations' means over seeds, as published figures with seeds are. "
    "ψ is the mean of τ_a along one hyperparameter over all settings of the others and the seed, Ψ (all) the mean of "
    "the ψ; se is the standard error over settings; a NaN cell has fewer than two networks to compare and stays out "
    "of the mean; ψ_b is the same with τ_b, in which a cell with a constant measure or gap is a NaN cell too."
)


def build(frame: pd.DataFrame) -> pd.DataFrame:
    """Columns: stop, target, measure, axis, psi, se, cells, nan_cells, psi_b, nan_cells_b; psi_means with seeds."""

    def one(kept: pd.DataFrame, target: str) -> pd.DataFrame:
        if not axes(kept):
            return pd.DataFrame()
        names = with_last_layer(kept)
        table = granulated(kept, target, names)
        if table["psi"].isna().all():
            return pd.DataFrame()
        with_ties = granulated(kept, target, names, variant="b")
        table["psi_b"], table["nan_cells_b"] = with_ties["psi"], with_ties["nan_cells"]
        if has_seeds(kept):
            of_means = granulated(kept, target, names, of="means")
            table["psi_means"] = column_beside(table, of_means, ["measure", "axis"], "psi")
        table["axis"] = [axis_words(axis) for axis in table["axis"]]
        return table

    needs = "two networks kept that differ in one hyperparameter alone"
    return stopwise(frame, one, TITLE, METHOD, every_target=True, needs=needs)


def axis_words(axis: str) -> str:
    """An axis as the tables name it."""
    words = hyperparameter_words(axis.removeprefix("all but "))
    return f"all but {words}" if axis.startswith("all but ") else {"all": "all (Ψ)"}.get(axis, words)
