"""Rows of text cells as CSV files: the same rows give the same bytes, and a reader never sees half a file."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path

from study.storage.atomic import write_bytes

Row = dict[str, str]


def write_rows(path: Path, rows: list[Row]) -> None:
    """A CSV of rows as they come, see `rows_bytes`. Atomic."""
    write_bytes(path, rows_bytes(rows))


def rows_bytes(rows: list[Row]) -> bytes:
    """What `write_rows` writes: columns in the order that the rows have them in, prov.* last."""
    names = merged(rows)
    names.sort(key=lambda name: name.startswith("prov."))
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue().encode()


def merged(orders: Iterable[Iterable[str]]) -> list[str]:
    """The names of several lists, each once: a new one stands behind the one that it follows in its own list.

    So layers of a deeper network stand before the last one, which all have: conv1, conv2, fc of conv1, fc and conv1,
    conv2, fc.
    """
    names: list[str] = []
    known: set[str] = set()
    for order in orders:
        if known.issuperset(own := list(order)):
            continue
        at = 0
        for name in own:
            if name not in known:
                names.insert(at, name)
                known.add(name)
                at += 1
            else:
                at = names.index(name) + 1
    return names


def read_table(path: Path) -> list[Row]:
    """The rows of a CSV of `write_rows`; none where there is no file."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
