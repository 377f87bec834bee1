"""Numbers of a text: cells of analysis' tables, coefficients, and paired differences, each with its interval."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from analysis.columns import possible_targets, stops, targets
from analysis.manuscript import networks as of_study
from analysis.manuscript.networks import Networks, allowed
from analysis.manuscript.number import Number, Numbers, Words
from analysis.selection import trained
from analysis.statistics.association.coefficients import RESAMPLES, Coefficients
from analysis.statistics.association.correlation import correlate_each
from analysis.statistics.association.differences import difference as bounds_of
from analysis.statistics.association.differences import p_of_no_difference, paired
from analysis.statistics.association.permutation import permutation, settings
from analysis.statistics.resampling.multiple import benjamini_hochberg


def value(of: str | Networks, table: str, column: str, measure: str | None = None, **where: object) -> Number | Words:
    """One cell: `value("digits_mlp", "correlation", "tau_b", "hessian_trace")`; further columns name the row."""
    return of_study.cell(of, table, column, row_of(measure, where))


def across(
    of: str | Networks, table: str, column: str, measure: str | None = None, by: str = "stop",
    at: str | Sequence[str] = "every", **where: object,
) -> Numbers:  # fmt: skip
    """A column's cells by another column: of every stop, of the stops of a kind (`at="loss"`, `at="epoch"`), or of
    those listed."""
    found = of_study.cells(of, table, column, by, row_of(measure, where))
    return Numbers({key: found[allowed(key, found, by)] for key in _chosen(list(found), at)})


def coefficient(
    of: str | Networks, measure: str, column: str = "tau_b", stop: str | None = None, target: str = "gap.loss"
) -> Number:
    """The coefficient of any measure, layer and transform of the records: tau_b, tau_a or pearson."""
    some = of_study.networks(of)
    frame, _ = of_study.kept(some, stop)
    _check(frame, target, measure)
    found = correlate_each(frame, target, [measure], 0 if some.cuts else RESAMPLES)[measure]
    bounds = found.interval(allowed(column, found.point))
    return Number(found.point[column], bounds.low, bounds.high)


def at_stops(
    of: str | Networks, word: Callable[..., Number], *names: str, at: str | Sequence[str] = "every", **where: Any
) -> Numbers:
    """`coefficient` or `difference` at every stop, or those of `across`'s `at`."""
    return Numbers({stop: word(of, *names, stop=stop, **where) for stop in _chosen(stops_of(of), at)})


def difference(
    of: str | Networks, first: str, second: str, column: str = "tau_b", stop: str | None = None,
    target: str = "gap.loss",
) -> Number:  # fmt: skip
    """The first measure's coefficient less the second's, of the same networks, resampled together."""
    a, b = _paired(of, first, second, column, stop, target)
    bounds = bounds_of(a, b, column)
    return Number(a.point[column] - b.point[column], bounds.low, bounds.high)


def p_of_difference(
    of: str | Networks, first: str, second: str, column: str = "tau_b", stop: str | None = None,
    target: str = "gap.loss",
) -> float:  # fmt: skip
    """p of no `difference`."""
    a, b = _paired(of, first, second, column, stop, target)
    return p_of_no_difference(a, b, column)


def _paired(
    of: str | Networks, first: str, second: str, column: str, stop: str | None, target: str
) -> tuple[Coefficients, Coefficients]:
    frame, _ = of_study.kept(of_study.networks(of), stop)
    _check(frame, target, first, second)
    a, b = paired(frame, target, first, second)
    allowed(column, a.point)
    return a, b


def q_of_zero(of: str | Networks, column: str = "tau_b", stop: str | None = None, target: str = "gap.loss") -> Numbers:
    """Benjamini-Hochberg's q of no correlation of each measure, as trained, that has an interval, over all of those."""
    every = _each(of, stop, target)
    q = benjamini_hochberg([found.p_of_zero(allowed(column, found.point)) for found in every.values()])
    return Numbers({measure: Number(float(x)) for measure, x in zip(every, q, strict=True) if x == x})


def _each(of: str | Networks, stop: str | None, target: str) -> dict[str, Coefficients]:
    """Every measure's coefficients as trained, those with a NaN p among them."""
    frame, _ = of_study.kept(of_study.networks(of), stop)
    allowed(target, targets(frame), "target")
    return correlate_each(frame, target, trained(frame))


def within_setting(
    of: str | Networks, measure: str, within: str, stop: str | None = None, target: str = "gap.loss"
) -> Number:
    """Pearson's r of any measure and layer of the records among networks that share a setting: its mean removed."""
    some = of_study.networks(of)
    frame, _ = of_study.kept(some, stop)
    _check(frame, target, measure)
    blocks = settings(frame)[allowed(within, settings(frame), "within")]
    row = permutation(frame, target, [measure], blocks, 0, 0 if some.cuts else RESAMPLES).iloc[0]
    return Number(float(row["pearson"]), float(row["pearson.low"]), float(row["pearson.high"]))


def stops_of(of: str | Networks, kind: str = "every") -> list[str]:
    """The stops: training losses from high to low, then epochs."""
    return _chosen(stops(of_study.records(of_study.networks(of))), kind)


def row_of(measure: str | None, where: Mapping[str, object]) -> dict[str, object]:
    """What names a row of a table: the measure, where one is given, and further columns."""
    return dict(where) if measure is None else {"measure": measure, **where}


def _chosen(known: list[str], at: str | Sequence[str]) -> list[str]:
    if isinstance(at, str):
        kind = allowed(at, ("every", "loss", "epoch"), "at")
        return known if kind == "every" else [key for key in known if key.startswith(f"{kind}_")]
    return list(at)


def _check(frame: pd.DataFrame, target: str, *labels: str) -> None:
    known = [c.removeprefix("measure.") for c in frame.columns if c.startswith("measure.")]
    for label in labels:
        allowed(label, known, "measure")
    allowed(target, possible_targets(frame), "target")
