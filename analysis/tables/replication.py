"""Does the order of measures hold in another study? Rank correlation of their tau-b in both, a row a study and stop."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from analysis.statistics.association.coefficients import RESAMPLES
from analysis.statistics.beside.order import LEAST, WORDS
from analysis.statistics.beside.replication import Other, order_in_both, replication
from analysis.stopwise import stopwise

TITLE = "Does a measure that ranks the gap here rank it in another study?"
METHOD = (
    "Order: τ_b between the measures' τ_b with the target here and in the other study (at the same stop, else its main "
    f"one), over the measures that both have; {WORDS}; ρ: Spearman's, of the same. Left out is a measure that fewer "
    "than half of a study's networks have; forms of one family with the same τ_b in both count once. Same sign and "
    "above zero: how many measures; the latter by the interval for new levels. First: the measure that is first here, "
    "there, and its rank there."
)
GAPS = ("gen.gap", "gap.loss", "gap.error", "gap.shift.mean.loss", "gap.shift.mean.error")
NEEDS = f"a study beside it (`beside` in its file of analysis/studies) with {LEAST} measures that both have"


def build(frame: pd.DataFrame, others: Sequence[Other] = (), resamples: int = RESAMPLES) -> pd.DataFrame:
    """Columns: stop, target, other, there_stop, measures, order (.low, .high), spearman, same_sign, above_zero,
    there_above_zero, both_above_zero, first_there, rank_there."""

    def one(here: pd.DataFrame, target: str) -> pd.DataFrame:
        rows = []
        for other in others:
            stop = other.like(str(here["stop"].iloc[0]))
            if found := order_in_both(replication(here, other.kept[stop], target, resamples)):
                rows.append({"other": other.name, "there_stop": stop, **found})
        return pd.DataFrame(rows)

    return stopwise(frame, one, TITLE, METHOD, wanted=GAPS, every_target=True, needs=NEEDS)
