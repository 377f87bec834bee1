"""Each measure's tau-b with the gap here and in another study, side by side, with intervals for new levels of each."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from analysis.columns import at_stop, main_stop, targets
from analysis.exclude import exclude
from analysis.statistics.association.coefficients import RESAMPLES
from analysis.statistics.beside.replication import Other, replication
from analysis.statistics.resampling.resample import WORDS
from analysis.stopwise import lacking
from analysis.tables.replication import NEEDS
from analysis.vocabulary import at_words

TITLE = "Each measure here and in another study: rank correlation with the gap"
METHOD = (
    "τ_b with the target at the main stop here, in the other study at the same one, else its main one; in brackets "
    "{words}. Left out is a measure that less than half of a study's networks have a value of, or that has one value."
)


def build(frame: pd.DataFrame, others: Sequence[Other] = (), resamples: int = RESAMPLES) -> pd.DataFrame:
    """Columns: other, target, measure, n, tau_b (.low, .high), there_n, there_tau_b (.low, .high); first target."""
    kept, exclusions = exclude(at_stop(frame))
    parts, notes = [], []
    for other in others:
        target = next(iter(targets(kept)), "")
        there = other.kept[other.like(main_stop(frame))]
        part = replication(kept, there, target, resamples) if target and len(kept) > 1 else pd.DataFrame()
        if part.empty:
            continue
        part.insert(0, "target", target)
        part.insert(0, "other", other.name)
        parts.append(part)
        notes.append(f"{other.name}: {other.title}{at_words(other.like(main_stop(frame)))}, {len(there)} networks.")
    if not parts:
        return lacking(TITLE, NEEDS)
    table = pd.concat(parts, ignore_index=True)
    method = METHOD.format(words=WORDS.format(resamples=f"{resamples:,}"))
    note = " ".join([method, *notes, exclusions.note])
    table.attrs |= {"title": f"{TITLE}{at_words(main_stop(frame))}", "note": note}
    return table
