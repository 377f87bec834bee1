"""Do measures order as in the large grids' papers? Rank correlation of their numbers with ours, a statistic a row."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd

from analysis.columns import at_stop
from analysis.exclude import exclude
from analysis.statistics.beside.order import LEAST, WORDS
from analysis.statistics.beside.papers import Beside, Paper, beside, order_beside
from analysis.stopwise import lacking
from analysis.vocabulary import at_words, column_words, hyperparameter_words, target_words

TITLE = "Do measures order as in the papers of the large grids?"
METHOD = (
    "τ_b between the paper's numbers and ours, over the measures that both have; left out are oracles, canonical "
    "ordering, a measure that has one value here, and a ψ of 0 in both; "
    f"{WORDS}. Difference: median over measures, without its sign."
)
NEEDS = f"{LEAST} measures that a paper of analysis/studies/papers has, and a gap"


def build(frame: pd.DataFrame, papers: Sequence[Paper] = ()) -> pd.DataFrame:
    """Columns: paper, statistic, ours (our axis), measures, tau_b with .low and .high, difference; at the main stop."""
    kept, exclusions = exclude(at_stop(frame))
    rows, said = [], []
    for two in (beside(kept, paper) for paper in papers):
        found = order_beside(two).to_dict("records")
        for row in found:
            name, paper = str(row["statistic"]), f"{two.paper.title} [{two.paper.tag}]"
            own = hyperparameter_words(two.shared[name]) if name in two.shared else ""
            words = f"ψ, {name}" if name in two.paper.axes else column_words(name)
            rows.append({"paper": paper, **row, "statistic": words, "ours": own})
        said += [_about(two)] if found else []
    if not rows:
        return lacking(TITLE, NEEDS)
    table = pd.DataFrame(rows)
    table.insert(2, "ours", table.pop("ours"))
    note = " ".join([METHOD, *said, exclusions.note])
    table.attrs |= {"title": f"{TITLE[:-1]}{at_words(str(kept['stop'].iloc[0]))}?", "note": note}
    return table


def by_measure(
    frame: pd.DataFrame, papers: Sequence[Paper], rows: Callable[[Beside], pd.DataFrame], statistic: str,
    title: str, method: str, needs: str,
) -> pd.DataFrame:  # fmt: skip
    """The `rows` of each paper of one statistic beside ours, under one another; at the main stop."""
    kept, exclusions = exclude(at_stop(frame))
    both = [beside(kept, paper) for paper in papers if paper.statistic == statistic]
    both = [two for two in both if two.target]
    if not both:
        return lacking(title, needs)
    table = pd.concat([rows(two) for two in both], ignore_index=True)
    note = " ".join([method, *map(_about, both), exclusions.note])
    table.attrs |= {"title": f"{title}{at_words(str(kept['stop'].iloc[0]))}", "note": note}
    return table


def _about(two: Beside) -> str:
    """Where a paper's numbers come from, what of ours stands beside them, and what does not."""
    paper, notes = two.paper, []
    for row, ours in zip(paper.rows, two.ours.notna().any(axis=1), strict=True):
        why = row.without or (f"not here: {row.ours}" if not ours else row.note)
        notes += [f"{row.name} ({why})"] if why else []
    varied = ", ".join(f"{axis}: {hyperparameter_words(own)}" for axis, own in two.shared.items())
    rest = ", ".join(axis for axis in paper.axes if axis not in two.shared)
    pieces = [
        f"[{paper.tag}] of {paper.title}: {paper.meaning}. {paper.source}. {paper.note}",
        f"Ours: about the {target_words(two.target)}{_of_what(two)}",
        f"axes {varied or 'none'}" + (f"; not varied alone: {rest}" if rest else ""),
    ]
    return f"{pieces[0].strip()} {'; '.join(pieces[1:])}. Remarks: {'; '.join(notes) or 'none'}."


def _of_what(two: Beside) -> str:
    """What our sign errors compare, and over how many environments."""
    if not two.environments:
        return ""
    one_pair = ", of means over seeds" if two.has_seeds else ", of single networks, an environment being one pair"
    return f"{one_pair if two.of_means else ''}, {two.environments:,} environments"
