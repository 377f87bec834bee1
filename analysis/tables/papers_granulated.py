"""Granulated tau of the large grids' papers beside ours: psi along each axis, tau-a and Psi, measure by measure."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from analysis.statistics.beside.papers import Beside, Paper
from analysis.tables.papers import by_measure

TITLE = "Granulated rank correlation of the large grids' papers beside ours"
METHOD = (
    "Two rows a measure: the paper's, under its tag, and below it ours, under its label. ψ along an axis, τ_a of all "
    "networks, Ψ the mean of the ψ; a constant measure counts as 0. Ours is of single networks; Ψ where the study has "
    "all the paper's axes."
)
NEEDS = "a measure that a paper of analysis/studies/papers has, and a gap"


def build(frame: pd.DataFrame, papers: Sequence[Paper] = ()) -> pd.DataFrame:
    """Columns: of (the paper's tag, or ours), name (the paper's, our label), its axes, tau_a, psi_all; main stop."""
    return by_measure(frame, papers, _rows, "granulated", TITLE, METHOD, NEEDS)


def _rows(two: Beside) -> pd.DataFrame:
    """The paper's numbers of each measure, and below them ours, where there is one."""
    rows: list[dict[str, object]] = []
    for at, row in enumerate(two.paper.rows):
        rows.append({"of": f"[{two.paper.tag}]", "name": row.name, **_numbers(two.published, at)})
        if two.ours.iloc[at].notna().any():
            rows.append({"of": "ours", "name": row.ours, **_numbers(two.ours, at)})
    return pd.DataFrame(rows)


def _numbers(table: pd.DataFrame, at: int) -> dict[str, object]:
    return {str(name): value for name, value in table.iloc[at].items()}
