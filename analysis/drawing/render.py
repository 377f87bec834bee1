"""One frame as CSV, Markdown, LaTeX and terminal text; one figure as PDF and PNG.

A table is a DataFrame whose `attrs` may hold `title`, `note` and `lacks` (what an empty table would have needed). CSV
keeps every number in full; the others print `x [x.low, x.high]` in one column, rounded, but never to a zero.
"""

from __future__ import annotations

import io
import math
import re
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table as RichTable

from analysis.columns import LEDGER
from analysis.drawing import pages, style
from analysis.vocabulary import column_words, measure_words, target_words

_LEAST, _WORDS = 12, 24  # letters to which a terminal breaks a column of words, and where the table is too wide anyway
_GAP = 2  # spaces between columns
TABLE_FILES, FIGURE_FILES = (".csv", ".md", ".tex"), (".pdf", ".png")
_DECIMALS = {"networks_needed": 0, "se": 3, "p_permutation": 3, "p_least": 3, "q_bh": 3, "q_bh_after": 3}
_LATEX = {"&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "$": r"\$", "{": r"\{", "}": r"\}",
          "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}",
          "<": r"\textless{}", ">": r"\textgreater{}",
          "τ": r"$\tau$", "Ψ": r"$\Psi$", "ψ": r"$\psi$", "ρ": r"$\rho$", "κ": r"$\kappa$", "Δ": r"$\Delta$",
          "≤": r"$\le$", "≥": r"$\ge$", "−": r"$-$", "×": r"$\times$", "∞": r"$\infty$"}  # fmt: skip


_SYMBOL = {f"{g}_{i}": rf"${name}_{i}$" for g, name in (("τ", r"\tau"), ("ψ", r"\psi"), ("Ψ", r"\Psi")) for i in "ab"}


def number(value: object, decimals: int = 2) -> str:
    """A value as a cell: `decimals` after the point, `n/a` for a missing one.

    Two significant digits for what is large, and for what would round to zero: whether an interval holds zero shows.
    """
    if value is None:
        return "n/a"
    if isinstance(value, (bool, str)):
        return str(value)
    if isinstance(value, int) or (hasattr(value, "dtype") and value.dtype.kind in "iu"):
        return str(value)
    real = float(value)  # type: ignore[arg-type]
    if math.isnan(real):
        return "n/a"
    if math.isinf(real):
        return "∞" if real > 0 else "−∞"
    text = f"{abs(real) if real == 0 else real:.{decimals}f}"
    if real != 0 and float(text) == 0:
        text = f"{real:#.2g}"
    elif abs(real) >= 1e5:
        text = f"{real:.2g}"
    return text.replace("-", "−")


def cells(table: pd.DataFrame, latex: bool = False) -> tuple[list[str], list[list[str]]]:
    """Head and rows as printed: intervals joined to their value, measures and columns under their names."""
    decimals = int(table.attrs.get("decimals", 2))
    shown = [c for c in table.columns if not c.endswith((".low", ".high"))]
    if "stop" in shown and len(shown) > 1 and (table["stop"] == LEDGER).all():
        shown.remove("stop")  # a ledger has none
    if "note" in shown and (not table["note"].astype(bool).any() or _shared(table)):
        shown.remove("note")
    head = [column_words(c, latex) for c in shown]
    body = [[_cell(row, c, decimals) for c in shown] for row in table.to_dict("records")]
    if latex:
        head = [h if "$" in h else escape(h) for h in head]
        body = [[escape(c) for c in row] for row in body]
    return head, body


def footnote(table: pd.DataFrame) -> str:
    """What stands below a table: its note, and the note that its rows have in common, which is no column then."""
    shared = _shared(table)
    return " ".join(filter(None, (table.attrs.get("note", ""), f"Every row: {shared}." if shared else "")))


def to_csv(table: pd.DataFrame) -> str:
    """Every number in full (17 digits where needed), so that reading it back gives the frame again."""
    return table.to_csv(index=False, lineterminator="\n")


def to_markdown(table: pd.DataFrame) -> str:
    """GitHub's table, with the title above and the note below."""
    head, body = cells(table)
    lines = [f"**{table.attrs['title']}**", ""] if table.attrs.get("title") else []
    if table.attrs.get("lacks"):
        return "\n".join([*lines, f"Not available: {table.attrs['lacks']}.", ""])
    aligned = ["---:" if _is_numeric(table, i, body) else ":---" for i in range(len(head))]
    rows = [head, aligned, *[[c.replace("|", r"\|") for c in row] for row in body]]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    if note := footnote(table):
        lines += ["", note]
    return "\n".join([*lines, ""])


def to_latex(table: pd.DataFrame) -> str:
    """A booktabs tabular, shrunk to the line where it is wider; the note stands below it, the caption in the paper."""
    if table.attrs.get("lacks"):
        return f"\\emph{{Not available: {escape(table.attrs['lacks'])}.}}\n"
    head, body = cells(table, latex=True)
    columns = "".join("r" if _is_numeric(table, i, body) else "l" for i in range(len(head)))
    rows = [_latex_row(row, first=number == 0) for number, row in enumerate(body)]
    stops = table["stop"].tolist() if "stop" in table.columns else []
    for at in reversed([i for i in range(1, len(stops)) if stops[i] != stops[i - 1]]):
        rows.insert(at, r"\addlinespace")
    tabular = [rf"\begin{{tabular}}{{@{{}}{columns}@{{}}}}", r"\toprule", " & ".join(head) + r" \\", r"\midrule", *rows]
    lines = [r"\begin{fittable}", *tabular, r"\bottomrule", r"\end{tabular}", r"\end{fittable}"]
    if note := footnote(table):
        lines += [rf"\tablenote{{{escape(note)}}}"]
    return "\n".join(lines) + "\n"


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
    numeric = [_is_numeric(table, i, body) for i in range(len(head))]
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


def write_table(table: pd.DataFrame, stem: Path) -> list[Path]:
    """Write `stem`.csv, .md and .tex; return the paths."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    written = []
    for suffix, content in zip(TABLE_FILES, (to_csv(table), to_markdown(table), to_latex(table)), strict=True):
        path = stem.with_name(stem.name + suffix)
        path.write_text(content, encoding="utf-8")
        written.append(path)
    return written


def caption(figure: Figure, title: str) -> str:
    """What stands below or above a figure: its title, and what it says of itself, such as what its colours are."""
    return "; ".join(filter(None, (title, str(figure.get_label()))))


def settle(figure: Figure) -> Figure:
    """Lay the figure out once and for all: otherwise every file written of it would do it again."""
    with style.paper_style():
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
    return figure


def png(figure: Figure) -> bytes:
    """The figure as a PNG, without a date or a version, so that the same frame gives the same bytes."""
    return _saved(figure, "png", {"Software": None})


def write_figure(figure: Figure, stem: Path, picture: bytes | None = None) -> list[Path]:
    """Write `stem`.pdf (fonts embedded, no date) and .png (`picture`, where it is at hand); return the paths."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    paths = [stem.with_name(stem.name + suffix) for suffix in FIGURE_FILES]
    paths[0].write_bytes(pdf(figure))
    paths[1].write_bytes(png(figure) if picture is None else picture)
    return paths


def pdf(figure: Figure) -> bytes:
    """The figure as a PDF with TrueType fonts embedded, without a date; page by page where it is higher than one."""
    metadata: dict[str, str | None] = {"CreationDate": None, "Creator": None, "Producer": None}
    parts = pages.printed(figure)
    if len(parts) == 1:
        return _saved(figure, "pdf", metadata)
    stream = io.BytesIO()
    with style.paper_style(), PdfPages(stream, metadata=metadata) as file:
        for part in parts:
            file.savefig(figure, bbox_inches=part.bbox.transformed(figure.dpi_scale_trans.inverted()))
    return stream.getvalue()


def _saved(figure: Figure, kind: str, metadata: dict[str, str | None]) -> bytes:
    stream = io.BytesIO()
    with style.paper_style():
        figure.savefig(stream, format=kind, metadata=metadata)
    return stream.getvalue()


def escape(text: str) -> str:
    """LaTeX for plain text; math symbols that a table uses become math."""
    # A Greek letter with an index, as in τ_b, is one symbol.
    parts = re.split(r"([τψΨ]_[ab])", text)
    return "".join(_SYMBOL[p] if p in _SYMBOL else "".join(_LATEX.get(c, c) for c in p) for p in parts)


def _cell(row: Mapping[Any, object], column: str, decimals: int) -> str:
    value = row[column]
    if column == "measure" or column == "than":
        return measure_words(str(value))
    if column == "target":
        return target_words(str(value))
    if column == "setting":
        return re.sub(r"(?<![\w.])-(?=\d)|(?<=\de)-(?=\d)", "−", str(value))
    text = number(value, _DECIMALS.get(column, decimals))
    if f"{column}.low" in row and text != "n/a":
        low, high = number(row[f"{column}.low"], decimals), number(row[f"{column}.high"], decimals)
        text += " [n/a]" if "n/a" in (low, high) else f" [{low}, {high}]"
    return text


def _shared(table: pd.DataFrame) -> str:
    """The note that all of several rows have; empty where there is none."""
    notes = set(table["note"]) if "note" in table.columns and len(table) > 1 else set()
    return str(notes.pop()) if len(notes) == 1 else ""


def _latex_row(row: list[str], first: bool) -> str:
    """A row; one with nothing but its first cell is a heading of the rows below it."""
    if len(row) < 2 or any(row[1:]):
        return " & ".join(row) + r" \\"
    space = "" if first else r"\addlinespace "
    return rf"{space}\multicolumn{{{len(row)}}}{{@{{}}l}}{{\emph{{{row[0]}}}}} \\"


def _is_numeric(table: pd.DataFrame, index: int, body: list[list[str]]) -> bool:
    return bool(body) and all(
        row[index] == "n/a" or row[index].replace("$-$", "−")[:1] in "0123456789−∞" for row in body
    )
