"""Sign error of the large grids' papers beside ours: mean and 90th percentile over environments, measure by measure."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from analysis.columns import at_stop
from analysis.exclude import exclude
from analysis.statistics.papers import Paper, beside
from analysis.statistics.sign_error import MIN_SAMPLES
from analysis.stopwise import lacking
from analysis.tables.papers import about
from analysis.vocabulary import at_words

TITLE = "Sign error of the large grids' papers beside ours"
METHOD = (
    "Mean and 90th percentile over environments of the axes that both have; 0.5 is chance, 1 always wrong. Ours is of "
    f"single networks where an environment has an effective sample of {MIN_SAMPLES:.0f} pairs, else of means over "
    "seeds, where an environment is one pair and its error 0, 1/2 or 1."
)
NEEDS = (
    "a measure that a paper of analysis/studies/papers has, and along an axis of it two networks whose error gaps the "
    "test set orders surely"
)


def build(frame: pd.DataFrame, papers: Sequence[Paper] = ()) -> pd.DataFrame:
    """Columns: tag, name (the paper's), ours (our label), mean and mean_ours, p90 and p90_ours; at the main stop."""
    kept, exclusions = exclude(at_stop(frame))
    both = [beside(kept, paper) for paper in papers if paper.statistic == "sign_error"]
    both = [two for two in both if two.target]
    if not both:
        return lacking(TITLE, NEEDS)
    parts = []
    for two in both:
        part = pd.DataFrame({"tag": f"[{two.paper.tag}]", "name": [row.name for row in two.paper.rows]})
        part["ours"] = [row.ours for row in two.paper.rows]
        for end in ("mean", "p90"):
            part[end], part[f"{end}_ours"] = two.published[f"sign_error_{end}"], two.ours[f"sign_error_{end}"]
        parts.append(part)
    table = pd.concat(parts, ignore_index=True)
    note = " ".join([METHOD, *map(about, both), exclusions.note])
    table.attrs |= {"title": f"{TITLE}{at_words(str(kept['stop'].iloc[0]))}", "note": note}
    return table
