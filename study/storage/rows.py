"""Rows of text cells as CSV files: the same rows give the same bytes, and a reader never sees half a file."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from study.storage.atomic import write_bytes

Row = dict[str, str]


def write_rows(path: Path, rows: list[Row]) -> None:
    """A CSV of rows as they come; columns in order of first appearance, prov.* last. Atomic."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    names.sort(key=lambda name: name.startswith("prov."))
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_bytes(path, buffer.getvalue().encode())


def read_table(path: Path) -> list[Row]:
    """The rows of a CSV of `write_table`; none where there is no file."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
