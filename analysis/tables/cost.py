"""What training, evaluation and each measure cost, in seconds of wall clock on the machine that ran them."""

from __future__ import annotations

import pandas as pd

from analysis.stopwise import lacking
from analysis.vocabulary import ordered

TITLE = "Cost of training and of each measure"
FRAME = "timings"
USE = "diagnostic"


def build(frame: pd.DataFrame) -> pd.DataFrame:
    """From the timings frame (key, stop, item, seconds): item, runs, median, largest, total; seconds."""
    if "seconds" not in frame.columns or len(frame) == 0:
        return lacking(TITLE, "timings.csv beside the records (key, stop, item, seconds)")
    grouped = frame.groupby("item", sort=True)["seconds"]
    table = grouped.agg(runs="count", median_seconds="median", largest_seconds="max", total_seconds="sum").reset_index()
    first = [item for item in ("train", "evaluate") if item in set(table["item"])]
    order = [*first, *ordered(item for item in table["item"] if item not in first)]
    table = table.set_index("item").loc[order].reset_index()
    table.attrs |= {
        "title": TITLE,
        "decimals": 3,
        "note": "Wall clock. Work shared by several measures is counted under the first, that of a stack split evenly.",
    }
    return table
