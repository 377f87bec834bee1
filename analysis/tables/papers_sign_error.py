"""Sign error of the large grids' papers beside ours: mean and 90th percentile over environments, measure by measure."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from analysis.statistics.beside.papers import Beside, Paper
from analysis.statistics.grid.sign_error import MIN_SAMPLES
from analysis.tables.papers import by_measure

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
    return by_measure(frame, papers, _rows, "sign_error", TITLE, METHOD, NEEDS)


def _rows(two: Beside) -> pd.DataFrame:
    table = pd.DataFrame({"tag": f"[{two.paper.tag}]", "name": [row.name for row in two.paper.rows]})
    table["ours"] = [row.ours for row in two.paper.rows]
    for end in ("mean", "p90"):
        table[end], table[f"{end}_ours"] = two.published[f"sign_error_{end}"], two.ours[f"sign_error_{end}"]
    return table
