"""Published beside ours: what the sources of a study print, and the same of its records, stop by stop."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from analysis.columns import at_stop, possible_targets, stops
from analysis.exclude import STANDARD, Variants, exclude
from analysis.statistics.association.coefficients import RESAMPLES
from analysis.statistics.beside.published import WIDEST, Published, compare
from analysis.statistics.resampling.resample import WORDS
from analysis.stopwise import lacking

TITLE = "Published beside ours"
USE = "headline"
METHOD = (
    f"Ours with {WORDS}. Agrees: the published number, with all that round to it, lies in our interval, which holds "
    f"no zero and is at most {WIDEST} wide; if it is not so, uninformative; where all of them lie outside, ours is "
    "lower, or higher. A phrase agrees where the whole interval is as small as it says, differs where none of it is. "
    "That one measure is above others agrees where the intervals of all differences lie above zero, differs where one "
    "lies below (Benjamini-Hochberg's q below .05). Rules: which runs were left out, ours (default) and the source's."
)
NEEDS = "published numbers (analysis/studies/<study>.yaml: published) about this target"


def build(
    frame: pd.DataFrame, published: Sequence[Published] = (), rules: Variants = STANDARD, resamples: int = RESAMPLES
) -> pd.DataFrame:
    """Columns: item, measure, stop, rules, published, ours with .low and .high, n, configurations, verdict."""
    possible = possible_targets(frame)
    published = [source for source in published if source.target in possible]
    if not published:
        return lacking(TITLE, NEEDS)
    table = pd.DataFrame([row for source in published for row in compared(frame, source, rules, resamples)])
    sources = " ".join(dict.fromkeys(f"{source.source}." for source in published))
    note = f"{METHOD.format(resamples=f'{resamples:,}')} Sources: {sources}"
    table.attrs |= {"title": TITLE, "note": note}
    return table


def compared(
    frame: pd.DataFrame | None, source: Published, rules: Variants, resamples: int = RESAMPLES
) -> list[dict[str, object]]:
    """The rows of one source; `frame` holds all stops, and is None while no records are committed."""
    rows: list[dict[str, object]] = []
    asked = (
        [("n/a", "n/a")] if frame is None else [(stop, variant) for stop in stops(frame) for variant in source.rules]
    )
    for stop, variant in asked:
        kept = None if frame is None else exclude(at_stop(frame, stop), rules[variant])[0]
        found = compare(kept, source.target, source.claims, resamples)
        for claim, row in zip(source.claims, found, strict=True):
            names = {"item": claim.item, "measure": claim.measure, "stop": stop, "rules": variant}
            rows.append(names | {"published": str(claim.published)} | row)
    return rows
