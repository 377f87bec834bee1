"""Every measure against every target and stop: tau-b, tau-a and Pearson with intervals, n beside each."""

from __future__ import annotations

import pandas as pd

from analysis.correlation import RESAMPLES, WITH_INTERVAL, correlate
from analysis.exclude import exclude
from analysis.load import TARGETS, at_stop, measures, stops, values
from analysis.render import lacking
from analysis.style import ordered

TITLE = "Rank correlation of each measure with the generalization gap"
METHOD = (
    "τ_b corrects for ties, τ_a does not (a constant measure scores τ_a = 0 and has no τ_b); in brackets 95% BCa "
    "intervals from {resamples} resamples of configurations (all hyperparameters but the seed); n is the number of "
    "networks with a value."
)


def build(frame: pd.DataFrame, resamples: int = RESAMPLES, rules: str = "default") -> pd.DataFrame:
    """Columns: stop, target, measure, n, configurations, tau_b, tau_a, pearson (each with .low, .high), spearman, ...

    One row a stop, target and measure, in the order of style.MEASURES. `rules` is an exclusion variant.
    """
    parts, notes = [], []
    for stop in stops(frame):
        kept, exclusions = exclude(at_stop(frame, stop), rules)
        notes.append(f"{stop}: {exclusions.note}" if stop != "ledger" else exclusions.note)
        if len(kept) < 2:
            continue
        for target in targets(kept):
            part = correlate(kept, target, ordered(measures(kept)), resamples)
            part.insert(0, "target", target)
            part.insert(0, "stop", stop)
            parts.append(part)
    if not parts:
        return lacking(TITLE, "two networks with a gap at one stop; " + " ".join(notes))
    table = pd.concat(parts, ignore_index=True)
    table.attrs |= {"title": TITLE, "note": " ".join([METHOD.format(resamples=f"{resamples:,}"), *notes])}
    return table


def headline(table: pd.DataFrame, stop: str, target: str) -> pd.DataFrame:
    """The rows of one stop and target, with only the columns that fit a terminal and a paper's page."""
    if table.attrs.get("lacks"):
        return table
    rows = table[(table["stop"] == stop) & (table["target"] == target)]
    columns = [
        c for c in table.columns if c.split(".")[0] in ("measure", "n", "configurations", *WITH_INTERVAL, "note")
    ]
    short = rows[columns].reset_index(drop=True)
    short.attrs |= dict(table.attrs)
    return short


def targets(frame: pd.DataFrame) -> list[str]:
    """The targets that the frame has values of, in the order of load.TARGETS."""
    return [t for t in TARGETS if t in frame.columns and pd.notna(values(frame, t)).any()]
