"""What training, evaluation and each measure cost, in seconds of wall clock and in passes over the measured images."""

from __future__ import annotations

import pandas as pd

from analysis.stopwise import lacking
from analysis.vocabulary import ordered
from study.measures import is_search
from study.names import pass_label, shift_of

TITLE = "Cost of training and of each measure"
FRAME = "timings"
USE = "diagnostic"

_PASS = str(pass_label(0))
_BEFORE = ["train", "evaluate", _PASS]
_TOGETHER, _BESIDES = "all measures", "all but searches"
_NOTE = "Wall clock. Work shared by several measures is counted under the first, that of a stack split evenly."
_PASSES = (
    " A pass is one forward and backward pass of the mean loss over the images that are measured, timed in the process "
    "that took the first of them; passes are the median of what an item took, over what a pass took there."
)


def build(frame: pd.DataFrame) -> pd.DataFrame:
    """From the timings frame (key, stop, item, seconds): item, runs, median, largest, total; seconds.

    Where one pass was timed, median_passes stands beside them, and rows of all measures of a network together, and of
    all but those that search.
    """
    if "seconds" not in frame.columns or len(frame) == 0:
        return lacking(TITLE, "timings.csv beside the records (key, stop, item, seconds)")
    timed = _PASS in set(frame["item"])
    grouped = (_with_sums(frame) if timed else frame).groupby("item", sort=True)
    found = grouped["seconds"].agg(runs="count", median_seconds="median", largest_seconds="max", total_seconds="sum")
    table = pd.DataFrame(found)
    if timed:
        table.insert(2, "median_passes", grouped["passes"].median())
    first = [item for item in (*_BEFORE, _TOGETHER, _BESIDES) if item in table.index]
    order = [*first, *ordered(item for item in table.index if item not in first)]
    table = table.reindex(order).reset_index()
    table.attrs |= {"title": TITLE, "decimals": 3, "note": _NOTE + (_PASSES + _untimed(frame) if timed else "")}
    return table


def _with_sums(frame: pd.DataFrame) -> pd.DataFrame:
    """With a column of passes, missing where none was timed, and rows of measures together behind the others."""
    at = ["key", "stop"]
    one = frame[frame["item"] == _PASS].set_index(at)["seconds"].rename("pass")
    taken = frame[frame["item"].map(_is_measure)]
    parts = {_TOGETHER: taken, _BESIDES: taken[~taken["item"].map(is_search)]}
    sums = [part.groupby(at, as_index=False)["seconds"].sum().assign(item=name) for name, part in parts.items()]
    every = pd.concat([frame, *sums], ignore_index=True).join(one, on=at)
    return every.assign(passes=every["seconds"] / every["pass"])


def _untimed(frame: pd.DataFrame) -> str:
    """Of how many networks passes are, where older ones were measured before any was timed."""
    every = len(frame.loc[frame["item"].map(_is_measure), ["key", "stop"]].drop_duplicates())
    less = every - int((frame["item"] == _PASS).sum())
    return f" Of {less} of {every} networks at a stop no pass was timed: passes are of the others." if less > 0 else ""


def _is_measure(item: str) -> bool:
    """Whether an item is a measure of the network as trained."""
    return item not in _BEFORE and not item.startswith("reparameterized: ") and not shift_of(item)
