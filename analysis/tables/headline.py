"""The first table: each measure with the gap at the main stop, as trained and after a reparameterization."""

from __future__ import annotations

import pandas as pd

from analysis.columns import TARGETS, at_stop
from analysis.selection import of_half, trained, transforms
from analysis.statistics.association.coefficients import RESAMPLES
from analysis.statistics.association.correlation import correlate
from analysis.statistics.association.weighted import WITH_INTERVAL
from analysis.stopwise import stopwise
from analysis.tables.correlation import METHOD
from analysis.vocabulary import at_words, target_words
from study.names import Label

TITLE = "Rank correlation of each measure with the gap, at the main stop"
USE = "headline"
_SHOWN = ("measure", "n", "configurations", *WITH_INTERVAL, "note")


def build(frame: pd.DataFrame, resamples: int = RESAMPLES) -> pd.DataFrame:
    """Columns: measure, n, configurations, tau_b, tau_a, pearson, tau_b_after (of the first transform), note.

    A row a measure that half of the networks have, layers taken together; first target. Only what fits a terminal and
    a page of a paper.
    """
    after: dict[str, str] = {}
    without = ""

    def one(kept: pd.DataFrame, target: str) -> pd.DataFrame:
        nonlocal without
        names, without = of_half(kept, trained(kept), target)
        table = correlate(kept, target, names, resamples)
        table = table[[c for c in table.columns if c.split(".")[0] in _SHOWN]]
        drawn = transforms(kept)
        transform = next((found[0] for found in drawn.values()), "")
        after.update({m: str(Label.parse(m).at(transform=transform)) for m in drawn if transform in drawn[m]})
        if after:
            again = correlate(kept, target, list(after.values()), resamples).set_index("measure")
            for end in ("", ".low", ".high"):
                values = again["tau_b" + end]
                table["tau_b_after" + end] = [values.get(after.get(m, "")) for m in names]
        return table

    method, needs = METHOD.format(resamples=f"{resamples:,}"), "two networks with a gap at the main stop"
    table = stopwise(at_stop(frame), one, TITLE, method, wanted=TARGETS, needs=needs)
    if table.attrs.get("lacks"):
        return table
    stop, target = table["stop"].iloc[0], table["target"].iloc[0]
    short = table.drop(columns=["stop", "target"])
    short.attrs = {
        "title": f"Rank correlation of each measure with the {target_words(target)}{at_words(stop)}",
        "note": table.attrs["note"],
    }
    if without:
        short.attrs["note"] += f" {without[0].upper()}{without[1:]}."
    if after:
        transform = Label.parse(next(iter(after.values()))).transform
        short.attrs["note"] += f" After: every network reparameterized by {transform}."
    return short
