"""A table as a terminal shows it: fitted to its width, in sections where it is wider, and never a column less."""

from __future__ import annotations

import io
import textwrap

import pandas as pd
from rich.console import Console
from rich.table import Table as RichTable

from analysis.columns import LEDGER
from analysis.drawing.render import cells, footnote, is_numeric
from analysis.vocabulary import target_words

_LEAST, _WORDS = 12, 24  # letters to which a column of words is broken, and where the table is too wide anyway
_GAP = 2  # spaces between columns


def to_text(table: pd.DataFrame, width: int = 120, colour: bool = False) -> str:
    """The table as the terminal shows it, with its title and note; wider than `width` where its numbers need it."""
    stream = io.StringIO()
    console = Console(file=stream, width=width, force_terminal=colour, no_color=not colour, highlight=False)
    if table.attrs.get("lacks"):
        console.print(f"{table.attrs.get('title', 'Table')}: not available: {table.attrs['lacks']}.", markup=False)
        return stream.getvalue()
    for part, title in _sections(table, width):
        rich, least = _rich(part, title, width)
        console.width = max(width, least)  # rich would leave out columns
        console.print(rich)
    console.width = width
    if note := footnote(table):
        console.print(note, style="dim", markup=False)
    return stream.getvalue()


def _sections(table: pd.DataFrame, width: int) -> list[tuple[pd.DataFrame, str | None]]:
    """The table, or where it is wider than `width` a table a stop and target, which then stand above it."""
    title = table.attrs.get("title")
    by = [column for column in ("stop", "target") if column in table.columns]
    head, body = cells(table)
    if not by or sum(2 + max(map(len, column)) for column in zip(head, *body, strict=True)) <= width:
        return [(table, title)]
    parts: list[tuple[pd.DataFrame, str | None]] = []
    for at, part in table.groupby(by, sort=False):
        words = ", ".join(target_words(str(value)) for value in at if value != LEDGER)
        parts.append((part.drop(columns=by), ": ".join(filter(None, (title, words)))))
    return parts


def _rich(table: pd.DataFrame, title: str | None, width: int) -> tuple[RichTable, int]:
    """The table with columns of words broken to fit into `width`, the widest first, and how wide it is."""
    head, body = cells(table)
    numeric = [is_numeric(table, i, body) for i in range(len(head))]
    widest = [max((len(row[i]) for row in body), default=0) for i in range(len(head))]
    names = [textwrap.fill(name, max(10, w)) if n else name for name, n, w in zip(head, numeric, widest, strict=True)]
    full = [max(w, *map(len, name.splitlines() or [""])) for name, w in zip(names, widest, strict=True)]
    room = width - _GAP * (len(head) - 1) - sum(w for w, n in zip(full, numeric, strict=True) if n)
    words = [w for w, n in zip(full, numeric, strict=True) if not n]
    tried = range(max(words, default=0), _LEAST - 1, -1)
    limit = next((x for x in tried if sum(min(w, x) for w in words) <= room), _WORDS)
    wide = [w if n else min(w, limit) for w, n in zip(full, numeric, strict=True)]
    rich = RichTable(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for name, n, w in zip(names, numeric, wide, strict=True):
        rich.add_column(name, justify="right" if n else "left", no_wrap=n, width=w)
    for row in body:
        rich.add_row(*[c.replace("[", r"\[") for c in row])
    return rich, sum(wide) + _GAP * (len(wide) - 1)
