"""Two tables of a study's records side by side: what came, what went, and how far each number moved."""

from __future__ import annotations

import math
import textwrap
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from study.storage.rows import Row

PLACE = ("key", "stop")
PROVENANCE = {
    "prov.commit": "training's commit",
    "prov.measured": "measures' commit",
    "prov.device": "device",
    "prov.torch": "torch",
}


@dataclass(frozen=True)
class Change:
    """A column whose cells differ: in how many rows, in how many because only one side has a value, and the farthest.

    `largest` is |now - before| / max(|before|, |now|), NaN where no two numbers differ.
    """

    column: str
    n_rows: int
    n_one_side: int
    largest: float
    where: str


@dataclass(frozen=True)
class Comparison:
    """Rows by key and stop; columns without provenance. A row is the same if it is in every column of both tables."""

    n_before: int
    n_now: int
    n_added: int
    n_dropped: int
    n_same: int
    columns: tuple[str, ...]  # those of both tables
    columns_added: tuple[str, ...]
    columns_dropped: tuple[str, ...]
    changes: tuple[Change, ...]
    provenance: tuple[tuple[str, str, str], ...]  # what it says, before, now


def compare(before: list[Row], now: list[Row]) -> Comparison:
    """What replacing one table by the other changes. Cells are compared as text, which holds every bit of a number."""
    old, new = ({(row["key"], row["stop"]): row for row in rows} for rows in (before, now))
    both = [place for place in new if place in old]
    mine, theirs = (_columns(rows) for rows in (before, now))
    columns = tuple(name for name in theirs if name in mine)
    found = (_change(name, [(place, old[place][name], new[place][name]) for place in both]) for name in columns)
    return Comparison(
        n_before=len(old),
        n_now=len(new),
        n_added=len(new) - len(both),
        n_dropped=len(old) - len(both),
        n_same=sum(all(old[place][name] == new[place][name] for name in columns) for place in both),
        columns=columns,
        columns_added=tuple(name for name in theirs if name not in mine),
        columns_dropped=tuple(name for name in mine if name not in theirs),
        changes=tuple(change for change in found if change),
        provenance=tuple((say, _counts(before, name), _counts(now, name)) for name, say in PROVENANCE.items()),
    )


def _columns(rows: list[Row]) -> list[str]:
    return [name for name in (rows[0] if rows else {}) if name not in PLACE and not name.startswith("prov.")]


def _change(column: str, cells: list[tuple[tuple[str, str], str, str]]) -> Change | None:
    differing = [cell for cell in cells if cell[1] != cell[2]]
    if not differing:
        return None
    sizes = [_relative_difference(old, new) for _, old, new in differing]
    at = max(range(len(sizes)), key=lambda i: -1.0 if math.isnan(sizes[i]) else sizes[i])
    (key, stop), old, new = differing[at]
    n_one_side = sum(not old or not new for _, old, new in differing)
    return Change(column, len(differing), n_one_side, sizes[at], f"{key} {stop}: {old or 'none'} -> {new or 'none'}")


def _relative_difference(old: str, new: str) -> float:
    try:
        a, b = float(old), float(new)
    except ValueError:
        return math.nan
    return abs(b - a) / max(abs(a), abs(b), math.ulp(0.0))


def _counts(rows: list[Row], column: str) -> str:
    """How often each value stands in a column, the most frequent first."""
    counted = Counter(row.get(column, "") or "(empty)" for row in rows)
    return ", ".join(f"{value} ({n} rows)" for value, n in counted.most_common()) or "(no rows)"


def text(found: Comparison) -> str:
    """A comparison for a person: rows, provenance before and now, columns that came or went, columns that moved."""
    return "\n".join(_lines(found))


def _lines(found: Comparison) -> Iterator[str]:
    yield from _aligned(
        [
            ("rows published", str(found.n_before)),
            ("rows now", str(found.n_now)),
            ("added", str(found.n_added)),
            ("dropped", str(found.n_dropped)),
            ("same in every number", str(found.n_same)),
            *((f"columns {word}", ", ".join(names)) for word, names in _came_and_went(found) if names),
            *((f"{say}, {when}", value) for say, *both in found.provenance for when, value in _twice(both)),
        ]
    )
    changed = {change.column for change in found.changes}
    same = [name for name in found.columns if name not in changed]
    said = f"{len(changed)} of {len(found.columns)} columns differ; the same in every row: {', '.join(same) or 'none'}"
    yield from ("", textwrap.fill(said, 120, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False))
    if found.changes:
        yield from ("", "  Relative is to the larger of the two numbers.", "")
        head = ("column", "rows", "one side empty", "largest relative difference", "where: published -> now")
        cells = [(c.column, str(c.n_rows), str(c.n_one_side), _size(c.largest), c.where) for c in found.changes]
        yield from _aligned([head, *cells])


def _came_and_went(found: Comparison) -> tuple[tuple[str, tuple[str, ...]], ...]:
    return ("added", found.columns_added), ("dropped", found.columns_dropped)


def _twice(values: list[str]) -> list[tuple[str, str]]:
    """Before and now, or once where nothing changed."""
    return [("as before", values[0])] if values[0] == values[1] else list(zip(("before", "now"), values, strict=True))


def _size(value: float) -> str:
    return "no two numbers" if math.isnan(value) else f"{value:.2g}"


def _aligned(rows: list[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
