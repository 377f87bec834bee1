"""A study's networks, all or some of them, and the cells of analysis' tables about them; each table is built once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TypeVar

import pandas as pd

from analysis.columns import at_stop, main_stop, stops
from analysis.exclude import Exclusions, exclude
from analysis.items import names
from analysis.load import InputError, Source, load_study
from analysis.make import build
from analysis.manuscript.number import Number, Numbers, Words
from study.storage.paths import published_studies

T = TypeVar("T")
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Networks:
    """The networks of a study's committed records that are left by `cuts`: (column, values, whether these stay)."""

    study: str
    cuts: tuple[tuple[str, tuple[object, ...], bool], ...] = ()


def networks(of: str | Networks) -> Networks:
    """The networks of a study by name. Raises InputError for one whose records are not committed."""
    if isinstance(of, Networks):
        return of
    if of not in published_studies():
        raise InputError(f"study: {of}: allowed are {', '.join(published_studies())}")
    return Networks(of)


def cut(of: str | Networks, column: str, values: tuple[object, ...], stay: bool) -> Networks:
    """Some of the networks: those with one of `values` in a column, or those without."""
    whole = networks(of)
    there = records(whole)
    known = list(there[allowed(column, there.columns)].unique())
    for value in values:
        allowed(value, known, column)
    return Networks(whole.study, (*whole.cuts, (column, values, stay)))


@cache
def source(study: str) -> Source:
    """The committed records of a study, and what stands beside them."""
    return load_study(study, committed=True)


@cache
def records(some: Networks) -> pd.DataFrame:
    """The rows of all stops, before any exclusion."""
    frame = source(some.study).records
    for column, values, stay in some.cuts:
        frame = frame[frame[column].isin(values) == stay]
    return frame.reset_index(drop=True)


@cache
def kept(some: Networks, stop: str | None = None) -> tuple[pd.DataFrame, Exclusions]:
    """The rows of one stop (default: `main_stop`) under the default rules, and the counts of what they left out."""
    frame = records(some)
    return exclude(at_stop(frame, allowed(stop or main_stop(frame), stops(frame), "stop")))


def stop_of(some: Networks) -> str:
    """The stop that is meant where none is named: the lowest training loss, else the last epoch."""
    return main_stop(records(some))


@cache
def built(some: Networks, name: str) -> pd.DataFrame:
    """A table of analysis/tables by its file's name, about these networks.

    Of all networks of a study with intervals, as everywhere; of some of them without: how much a coefficient moves from
    part to part is what is asked there.
    """
    allowed(name, names("table"), "table")
    networks = replace(source(some.study), records=records(some))
    table = build("table", name, networks, draws=0 if some.cuts else None)
    if not isinstance(table, pd.DataFrame):
        raise InputError(f"table: {name}: not available for {some.study}: it needs {table}")
    return table


def rows(of: str | Networks, name: str, where: Mapping[str, object]) -> pd.DataFrame:
    """The rows of a table that `where` names; unless it says otherwise at the main stop, with the loss gap, under the
    default rules. A list of values names several."""
    some = networks(of)
    table = built(some, name)
    usual = {"stop": main_stop(records(some)), "target": "gap.loss", "rules": "default"}
    chosen = table
    for column, value in (usual | dict(where)).items():
        if column in usual and column not in table.columns and column not in where:
            continue
        known = list(chosen[allowed(column, table.columns, "column")].unique())
        wanted = list(value) if isinstance(value, (list, tuple)) else [value]
        if value != "every":
            chosen = chosen[chosen[column].isin([allowed(one, known, column) for one in wanted])]
    chosen = chosen.reset_index(drop=True)
    chosen.attrs |= table.attrs
    return chosen


def cell(of: str | Networks, name: str, column: str, where: Mapping[str, object]) -> Number | Words:
    """One cell, with the interval that the table gives. Raises InputError where no row or several rows are named."""
    found = rows(of, name, where)
    allowed(column, found.columns, "column")
    if len(found) != 1:
        raise InputError(f"{name}: {_several(found, where)}")
    return _cell(found.iloc[0], column)


def cells(of: str | Networks, name: str, column: str, by: str, where: Mapping[str, object]) -> Numbers:
    """A column's cells by another column, such as the stop; each must be one row."""
    found = rows(of, name, {by: "every"} | dict(where))
    allowed(column, found.columns, "column")
    if not found[by].is_unique or not len(found):
        raise InputError(f"{name}: {_several(found, {by: '', **where})}")
    numbers = {str(row[by]): _cell(row, column) for _, row in found.iterrows()}
    return Numbers({at: x for at, x in numbers.items() if isinstance(x, Number)})


def allowed(value: T, known: Iterable[object], what: str = "column") -> T:
    """The value itself. Raises InputError where it is none of those known."""
    there = list(known)
    if value not in there:
        raise InputError(f"{what}: {value}: allowed are {', '.join(map(str, there))}")
    return value


def _several(found: pd.DataFrame, where: Mapping[str, object]) -> str:
    """Which column must be given, too, that a row be one."""
    for column in found.columns:
        if found[column].dtype.kind not in "fiub" and column not in where and len(found[column].unique()) > 1:
            return f"{column}: not given: allowed are {', '.join(map(str, found[column].unique()))}"
    return f"{len(found)} rows: one is allowed"


def _cell(row: pd.Series, column: str) -> Number | Words:
    value = row[column]
    if isinstance(value, str):
        return Words(value)
    low, high = (float(row.get(f"{column}.{end}", float("nan"))) for end in ("low", "high"))
    return Number(value.item() if hasattr(value, "item") else value, low, high)
