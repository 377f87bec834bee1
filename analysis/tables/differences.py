"""The first measure against every other: paired difference of tau-b, and how many networks would show one of .1."""

from __future__ import annotations

import pandas as pd

from analysis.selection import last_layer, trained
from analysis.statistics.association.coefficients import RESAMPLES
from analysis.statistics.association.differences import differences
from analysis.statistics.resampling.resample import WORDS
from analysis.stopwise import stopwise
from analysis.vocabulary import measure_words
from study.names import Label

TITLE = "Difference of τ_b between the first measure and each other one, and power"
METHOD = (
    f"Paired, with {WORDS}; q: Benjamini-Hochberg's, of no difference, over the differences of one stop, sums and last "
    "layers apart; networks needed: how many networks, of as many more levels in proportion, would show a difference "
    "of 0.1 with power 0.8 at the 0.05 level: more seeds of the same levels do not. A sum over layers is compared with "
    "sums, the last layer with last layers."
)


def build(frame: pd.DataFrame, resamples: int = RESAMPLES) -> pd.DataFrame:
    """Columns: stop, target, measure (the first), than, n, configurations, delta_tau_b, q_bh, se, networks_needed,
    note."""

    def one(kept: pd.DataFrame, target: str) -> pd.DataFrame:
        totals = trained(kept)
        last = [last_layer(kept, m) or m for m in totals]
        alike = [totals, last] if totals and last[0] != totals[0] else [totals]
        parts = [differences(kept, target, names[0], names, resamples) for names in alike if len(names) > 1]
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()

    table = stopwise(frame, one, TITLE, METHOD.format(resamples=f"{resamples:,}"), needs="two measures")
    first = {str(Label.parse(label).at(layer="")) for label in table.get("measure", ())}
    if len(first) == 1:
        table.attrs["title"] = f"τ_b of {measure_words(first.pop())} less that of each other measure, and power"
    return table
