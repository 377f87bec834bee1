"""A paper's table of measures beside ours: the same statistics of a study's networks, and whether measures order alike.

A paper's table has, of each measure, psi along the paper's axes, tau-a and Psi; or mean and 90th percentile of the sign
error over environments of its axes. Ours is the same statistic of single networks at one stop. An axis of theirs is
laid beside ours where a study varies the same, alone or with what the paper changes with it. Psi is given where a study
has all axes; where it has some, two or more, psi_shared is the mean over those, of both. Where no environment has
enough seeds, our sign error is that of configurations' means (see means); of one seed, that of single networks, an
environment being one pair. Baselines: see selection; an oracle's statistic is the mean over DRAWS draws. Dziugaite et
al. adjust a measure v for m training images, to sqrt(v / m) or, of a logarithm, (v - log m) / 2: no pair of networks of
one m changes places by that, and every published study but `invariance` has one m.

Order: Kendall's tau-b between their numbers and ours over the measures that both have. Left out are baselines, and what
is 0 in both by construction, which is no agreement: a measure that no two networks of ours differ in (the number of
weights of one architecture), and a psi of 0 in both (along an axis that does not move the measure). The interval is
over families of measures (see order).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from analysis.columns import axes, half_have, targets, values
from analysis.statistics.association.coefficients import tau
from analysis.statistics.beside.order import LEAST, order
from analysis.statistics.grid.granulated import granulated
from analysis.statistics.grid.means import has_seeds
from analysis.statistics.grid.sign_error import sign_error
from analysis.statistics.selection import baselines

STATISTICS = {"granulated": ("tau_a", "psi_all"), "sign_error": ("sign_error_mean", "sign_error_p90")}
BASELINES = ("oracle(0.02)", "oracle(0.05)", "canonical_ordering")
DRAWS = 10  # of an oracle's noise; ours
Found = dict[str, "pd.Series[float]"]
_SHARED = "psi_shared"


@dataclass(frozen=True)
class Row:
    """A row of a paper's table: the measure's name there, its numbers, and what of ours it is.

    That is a measure's `label`, a `baseline`, or neither, for a reason (`without`). `note`: in what ours may differ.
    `instead`: the label that stands for `label` where at least half of the networks have it and fewer have the latter.
    """

    name: str
    numbers: tuple[float, ...]
    label: str = ""
    baseline: str = ""
    without: str = ""
    note: str = ""
    instead: str = ""

    @property
    def ours(self) -> str:
        """The label or baseline; empty without one."""
        return self.label or self.baseline


@dataclass(frozen=True)
class Paper:
    """A paper's table, where its numbers come from, and which axes of ours each of its axes is.

    `tag`, `meaning`: how the numbers were come by. `target`: the gap that it is about. `statistic`: one of STATISTICS.
    """

    title: str
    source: str
    tag: str
    meaning: str
    target: str
    statistic: str
    axes: Mapping[str, tuple[str, ...]]
    rows: tuple[Row, ...]
    note: str = ""

    @property
    def columns(self) -> tuple[str, ...]:
        """What a row's numbers are."""
        return (*(self.axes if self.statistic == "granulated" else ()), *STATISTICS[self.statistic])


@dataclass(frozen=True)
class Beside:
    """A paper's numbers and ours, frames of one shape: a row a row of the paper, a column a statistic, NaN without one.

    `shared`: the paper's axes that the study has -> ours; `target`: what ours are about, empty where there is nothing;
    `of_means`: whether our sign errors are of configurations' means; `constant`: labels of ours that have one value;
    `environments`: how many ours are over, those of the measure that has most; `has_seeds`: see means.
    """

    paper: Paper
    published: pd.DataFrame
    ours: pd.DataFrame
    shared: Mapping[str, str]
    target: str
    of_means: bool = False
    constant: frozenset[str] = frozenset()
    environments: int = 0
    has_seeds: bool = True


def beside(frame: pd.DataFrame, paper: Paper) -> Beside:
    """Lay a paper's table beside a records frame of one stop. Cost: as granulated and sign_error of its measures.

    Ours are about the paper's target, or where the frame has not got it, about its first one.
    """
    there = targets(frame)
    paper = replace(paper, rows=tuple(_had(row, frame) for row in paper.rows))
    target = paper.target if paper.target in there else next(iter(there), "")
    shared = shared_axes(frame, paper)
    published = pd.DataFrame([row.numbers for row in paper.rows], columns=list(paper.columns), dtype=float)
    if paper.statistic == "granulated" and 1 < len(shared) < len(paper.axes):
        published[_SHARED] = published[list(shared)].mean(axis=1)
    scored, names = _scored(frame, paper, target) if target else (frame, {})
    every, of_means, environments = [name for each in names.values() for name in each], False, 0
    found: Found = {}
    if every and paper.statistic == "granulated":
        found = _granulated(scored, paper, target, every, shared)
    elif every and shared:
        found, of_means, environments = _sign_errors(scored, target, every, list(shared.values()))
    each = [[_mean(found.get(column), names.get(row.ours, ())) for column in map(str, published)] for row in paper.rows]
    ours = pd.DataFrame(each, columns=published.columns)
    constant = frozenset(row.label for row in paper.rows if row.label in names and _is_constant(frame, row.label))
    target = "" if ours.isna().all(axis=None) else target
    return Beside(paper, published, ours, shared, target, of_means, constant, environments, has_seeds(frame))


def shared_axes(frame: pd.DataFrame, paper: Paper) -> dict[str, str]:
    """The paper's axes that the frame varies -> the frame's; not one that is changed together with anything else."""
    own = {frozenset(axis.split("+")): axis for axis in axes(frame)}
    found = {name: [own.get(frozenset(one.split("+"))) for one in known] for name, known in paper.axes.items()}
    return {name: axis for name, each in found.items() for axis in [next(filter(None, each), None)] if axis}


def order_beside(two: Beside) -> pd.DataFrame:
    """How alike measures order, a row a statistic that LEAST measures have in both, Psi and tau first.

    Columns: statistic, measures, tau_b with .low and .high, difference (median of the absolute ones).
    """
    is_measure = np.array([bool(row.label) and row.label not in two.constant for row in two.paper.rows])
    labels = [row.label for row, is_one in zip(two.paper.rows, is_measure, strict=True) if is_one]
    rows = []
    first = [name for name in ("psi_all", _SHARED, "tau_a") if name in two.ours]
    for name in dict.fromkeys([*first, *two.ours]):
        theirs, ours = (values(table[is_measure], name) for table in (two.published, two.ours))
        if two.paper.statistic == "granulated":
            ours = np.where((theirs == 0) & (ours == 0), np.nan, ours)
        found = order(labels, theirs, ours)
        if found.measures < LEAST:
            continue
        bounds = {"tau_b.low": found.interval.low, "tau_b.high": found.interval.high}
        row = {"statistic": name, "measures": found.measures, "tau_b": found.tau_b, **bounds}
        rows.append(row | {"difference": float(np.nanmedian(np.abs(theirs - ours)))})
    return pd.DataFrame(rows)


def _had(row: Row, frame: pd.DataFrame) -> Row:
    """The row with the label that stands for its own, where that is so."""

    def in_half(label: str) -> bool:
        column = frame.get(f"measure.{label}")
        return column is not None and half_have(column.notna().to_numpy(), np.ones(len(frame), dtype=bool))

    if not row.instead or in_half(row.label) or not in_half(row.instead):
        return row
    why = f"ours is {row.instead}: fewer than half of the networks have {row.label}"
    return replace(row, label=row.instead, note="; ".join(filter(None, (row.note, why))))


def _scored(frame: pd.DataFrame, paper: Paper, target: str) -> tuple[pd.DataFrame, dict[str, list[str]]]:
    """The frame with the baselines' scores as measures; label or baseline of the paper -> its measures there."""
    names = {row.label: [row.label] for row in paper.rows if row.label and f"measure.{row.label}" in frame.columns}
    scores = baselines(frame, values(frame, target)) if names else {}
    drawn = {row.baseline: scores[row.baseline][:DRAWS] for row in paper.rows if row.baseline in scores}
    names |= {name: [f"{name}#{at}" for at in range(len(score))] for name, score in drawn.items()}
    more = {f"measure.{name}#{at}": each for name, score in drawn.items() for at, each in enumerate(score)}
    return pd.concat([frame, pd.DataFrame(more, index=frame.index)], axis=1), names


def _granulated(
    frame: pd.DataFrame, paper: Paper, target: str, names: Sequence[str], shared: Mapping[str, str]
) -> Found:
    """Statistic -> ours of each measure."""
    gap = values(frame, target)
    found = {"tau_a": pd.Series({name: tau(values(frame, f"measure.{name}"), gap, "a") for name in names})}
    if shared:
        table = granulated(frame, target, names, list(shared.values()))
        along = {axis: table[table["axis"] == own].set_index("measure")["psi"] for axis, own in shared.items()}
        mean = pd.DataFrame(along).mean(axis=1, skipna=False)
        found |= along | {"psi_all" if len(shared) == len(paper.axes) else _SHARED: mean}
    return found


def _sign_errors(frame: pd.DataFrame, target: str, names: Sequence[str], own: Sequence[str]) -> tuple[Found, bool, int]:
    """Statistic -> ours of each measure over environments of these axes; whether it is of means; over how many."""
    table = sign_error(frame, target, names, axes=own)
    of_means = not table["used"].any()
    if of_means:
        table = sign_error(frame, target, names, axes=own, of="means")
    total = table[table["axis"] == "all"].set_index("measure")
    return {f"sign_error_{end}": total[end] for end in ("mean", "p90")}, of_means, int(total["used"].max())


def _is_constant(frame: pd.DataFrame, label: str) -> bool:
    x = values(frame, f"measure.{label}")
    return len(np.unique(x[~np.isnan(x)])) < 2


def _mean(found: pd.Series[float] | None, names: Sequence[str]) -> float:
    return float(found[list(names)].mean(skipna=False)) if found is not None and names else float("nan")
