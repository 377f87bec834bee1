"""How many runs each stop has, and which rule left how many out."""

from __future__ import annotations

import pandas as pd

from analysis.columns import at_stop, stops
from analysis.exclude import exclude
from analysis.stopwise import lacking

TITLE = "Runs used and left out"
USE = "diagnostic"


def build(frame: pd.DataFrame) -> pd.DataFrame:
    """Columns: stop, rule, reason, runs; for each stop the rules in the order they were asked, then what is kept."""
    parts = []
    for stop in stops(frame):
        part = exclude(at_stop(frame, stop))[1].table()
        part.insert(0, "stop", stop)
        parts.append(part)
    if not parts:
        return lacking(TITLE, "a network")
    table = pd.concat(parts, ignore_index=True)
    table.attrs |= {"title": TITLE, "note": "A run is counted under the first rule that means it."}
    return table
