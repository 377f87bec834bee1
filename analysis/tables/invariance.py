"""The invariance audit: how much each measure changes when a network is rewritten without changing its function."""

from __future__ import annotations

import pandas as pd

from analysis.stopwise import lacking
from analysis.vocabulary import ordered

TITLE = "Invariance audit: largest relative change under function-preserving transformations"
FRAME = "audit"
_COLUMNS = ("measure", "transform", "factor", "before", "after")


def build(frame: pd.DataFrame) -> pd.DataFrame:
    """From the audit frame (measure, transform, factor, before, after): a row a measure, a column a transform."""
    if len(frame) == 0 or not set(_COLUMNS).issubset(frame.columns):
        return lacking(TITLE, f"audit.csv beside the records ({', '.join(_COLUMNS)})")
    change = ((frame["after"] - frame["before"]) / frame["before"]).abs()
    changes = frame.assign(change=change)
    largest = changes.pivot_table(index="measure", columns="transform", values="change", aggfunc="max", sort=True)
    table = largest.loc[ordered(largest.index)].reset_index()
    table.columns.name = None
    low, high = frame["factor"].min(), frame["factor"].max()
    note = f"Largest |after / before − 1| over networks and factors from {low:g} to {high:g}; 0 is invariant."
    table.attrs |= {"title": TITLE, "note": note, "decimals": 3}
    return table
