"""Every measure against every target and stop: tau-b, tau-a and Pearson with intervals, n beside each."""

from __future__ import annotations

import pandas as pd

from analysis.columns import LEDGER, TARGETS
from analysis.selection import with_last_layer
from analysis.statistics.coefficients import RESAMPLES
from analysis.statistics.correlation import correlate
from analysis.statistics.resample import WORDS
from analysis.statistics.weighted import WITH_INTERVAL
from analysis.stopwise import stopwise
from analysis.vocabulary import target_words

TITLE = "Rank correlation of each measure with the generalization gap"
METHOD = (
    f"τ_b corrects for ties, τ_a does not (a constant measure scores τ_a = 0 and has no τ_b); in brackets {WORDS}; a "
    "configuration is all hyperparameters but the seed; n is the number of networks with a value."
)


def build(frame: pd.DataFrame, resamples: int = RESAMPLES, rules: str = "default") -> pd.DataFrame:
    """Columns: stop, target, measure, n, configurations, tau_b, tau_a, pearson (each with .low, .high), spearman, ...

    One row a stop, target and measure (and its last layer alone), in the order of style.MEASURES. `rules` is an
    exclusion variant.
    """

    def one(kept: pd.DataFrame, target: str) -> pd.DataFrame:
        return correlate(kept, target, with_last_layer(kept), resamples)

    method = METHOD.format(resamples=f"{resamples:,}")
    return stopwise(frame, one, TITLE, method, wanted=TARGETS, every_target=True, rules=rules)


def headline(table: pd.DataFrame, stop: str, target: str, again: pd.DataFrame | None = None) -> pd.DataFrame:
    """The rows of one stop and target, with only the columns that fit a terminal and a paper's page.

    `again` is the study's table of reparameterized networks: `tau_b_after` is the coefficient of the first
    reparameterization in it, beside that of the networks as they were trained.
    """
    if table.attrs.get("lacks"):
        return table
    rows = table[(table["stop"] == stop) & (table["target"] == target)]
    rows = rows[~rows["measure"].str.contains(".", regex=False)]
    columns = [
        c for c in table.columns if c.split(".")[0] in ("measure", "n", "configurations", *WITH_INTERVAL, "note")
    ]
    short = rows[columns].reset_index(drop=True)
    note = table.attrs.get("note_at", {}).get(stop, table.attrs.get("note", ""))
    short.attrs |= dict(table.attrs) | {"note": note}
    if again is not None and not again.attrs.get("lacks"):
        _add_after(short, again[(again["stop"] == stop) & (again["target"] == target) & (again["layer"] == "all")])
    place = "" if stop == LEDGER else f" at {stop}"
    short.attrs["title"] = f"Rank correlation of each measure with the {target_words(target)}{place}"
    return short


def _add_after(short: pd.DataFrame, again: pd.DataFrame) -> None:
    names = [t for t in again["transform"].unique() if t != "none"]
    if not names:
        return
    found = again[again["transform"] == names[0]].set_index("measure")
    for end in ("", ".low", ".high"):
        values = found["tau_b" + end]
        short["tau_b_after" + end] = [values.get(m) for m in short["measure"]]
    short.attrs["note"] += f" After: every network reparameterized by {names[0]}."
