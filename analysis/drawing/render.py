"""One frame as CSV, Markdown and LaTeX; terminal.py has it as text, figure_file.py a figure as PDF and PNG.

A table is a DataFrame whose `attrs` may hold `title`, `note` and `lacks` (what an empty table would have needed). CSV
keeps every number in full; the others print `x [x.low, x.high]` in one column, rounded, but never to a zero.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.columns import LEDGER
from analysis.vocabulary import column_words, measure_words, target_words

TABLE_FILES = (".csv", ".md", ".tex")
_DECIMALS = {"networks_needed": 0, "se": 3} | dict.fromkeys(
    ("p_permutation", "p_least", "q_bh", "q_bh_after", "tau_b_q", "pearson_q"), 3
)
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
    aligned = ["---:" if is_numeric(table, i, body) else ":---" for i in range(len(head))]
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
    columns = "".join("r" if is_numeric(table, i, body) else "l" for i in range(len(head)))
    rows = [_latex_row(row, first=number == 0) for number, row in enumerate(body)]
    stops = table["stop"].tolist() if "stop" in table.columns else []
    for at in reversed([i for i in range(1, len(stops)) if stops[i] != stops[i - 1]]):
        rows.insert(at, r"\addlinespace")
    tabular = [rf"\begin{{tabular}}{{@{{}}{columns}@{{}}}}", r"\toprule", " & ".join(head) + r" \\", r"\midrule", *rows]
    lines = [r"\begin{fittable}", *tabular, r"\bottomrule", r"\end{tabular}", r"\end{fittable}"]
    if note := footnote(table):
        lines += [rf"\tablenote{{{escape(note)}}}"]
    return "\n".join(lines) + "\n"


def write_table(table: pd.DataFrame, stem: Path) -> list[Path]:
    """Write `stem`.csv, .md and .tex; return the paths."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    written = []
    for suffix, content in zip(TABLE_FILES, (to_csv(table), to_markdown(table), to_latex(table)), strict=True):
        path = stem.with_name(stem.name + suffix)
        path.write_text(content, encoding="utf-8")
        written.append(path)
    return written


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


def is_numeric(table: pd.DataFrame, index: int, body: list[list[str]]) -> bool:
    """Whether a column of printed rows holds numbers alone, which then stand at its right."""
    return bool(body) and all(
        row[index] == "n/a" or row[index].replace("$-$", "−")[:1] in "0123456789−∞" for row in body
    )
