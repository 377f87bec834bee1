"""What paper/main.tex includes, made from the committed records alone: tables, figures, appendix.tex; and the PDF.

The text itself, with its numbers, is filled in by prose.py.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pandas as pd

from analysis import verify
from analysis.columns import main_stop
from analysis.drawing import render
from analysis.items import part
from analysis.load import InputError, Source, load_study
from analysis.make import Made, Progress, make
from analysis.stopwise import first_target
from study.names import Label
from study.storage.paths import published_studies

PAPER = Path("paper")
_ROWS = 44  # of a table on one page
_CLAIMED = ("relative_flatness", "relative_flatness_normalized", "kappa_2019", "hessian_trace", "weight_norm_squared")


def generate(folder: Path = PAPER, progress: Progress = lambda done, total, name: None) -> list[Path]:
    """Write folder/tables, folder/figures and appendix.tex for every committed study; return the paths."""
    for old in (*(folder / "tables").glob("*.tex"), *(folder / "figures").glob("*.pdf")):
        old.unlink()
    appendix: list[str] = []
    written: list[Path] = []
    for name in published_studies():
        source = load_study(name, committed=True)
        made = make(source, progress)
        written += _write_study(source, made, folder)
        appendix += _appendix(source, made)
    written.append(_put(folder / "tables" / "published.tex", render.to_latex(_of_our_rules(verify.verify()))))
    written.append(_put(folder / "appendix.tex", "\n".join(appendix) + "\n"))
    return written


def build_pdf(folder: Path = PAPER) -> Path:
    """Run latexmk on main.tex; return the PDF. Raises InputError where LaTeX is missing, fails, or complains.

    A complaint is an overfull box, or an undefined reference or citation.
    """
    if shutil.which("latexmk") is None or shutil.which("pdflatex") is None:
        packages = "latexmk texlive-latex-recommended texlive-fonts-recommended"
        raise InputError(f"paper: latexmk: not installed: needed are Debian's {packages} (or use --no-pdf)")
    command = ["latexmk", "-pdf", "-interaction=nonstopmode", "-halt-on-error", "-silent", "main.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", check=False)
    log = (folder / "main.log").read_text(encoding="utf-8", errors="replace") if (folder / "main.log").exists() else ""
    problems = complaints(log)
    if done.returncode != 0 or problems:
        first = problems[0] if problems else (done.stdout + done.stderr).strip().splitlines()[-1]
        raise InputError(f"{folder / 'main.tex'}: latexmk: {first}: see {folder / 'main.log'}")
    return folder / "main.pdf"


def complaints(log: str) -> list[str]:
    """Lines of a LaTeX log that the paper may not have."""
    bad = ("Overfull \\hbox", "Overfull \\vbox", "undefined on input line", "There were undefined", "! ")
    return [line for line in log.splitlines() if line.startswith(bad) or "undefined on input line" in line]


def _write_study(source: Source, made: Made, folder: Path) -> list[Path]:
    written = []
    headline = made.table("headline").drop(columns=["note"], errors="ignore")
    short = {"headline": headline, "last_layer_short": _last_layer(made.table("last_layer"))}
    printed = {name: excerpt(table, source) for name, table in made.tables.items()}
    for name, table in {**printed, **short}.items():
        for number, piece in enumerate(pieces(table)):
            path = folder / "tables" / f"{source.name}-{name}{_suffix(number)}.tex"
            written.append(_put(path, render.to_latex(piece)))
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    for name, figure in made.figures.items():
        path = folder / "figures" / f"{source.name}-{name}.pdf"
        path.write_bytes(render.pdf(figure))
        written.append(path)
    return written


def _last_layer(table: pd.DataFrame) -> pd.DataFrame:
    """What a page of the text has room for: the measures that the source papers are about, without tau-b's."""
    if table.attrs.get("lacks"):
        return table
    rows = first_target(table)
    rows = rows[rows["measure"].map(lambda m: Label.parse(m).name).isin(_CLAIMED)]
    short = rows[[c for c in rows.columns if not c.startswith(("tau_b", "partial", "target"))]].reset_index(drop=True)
    short.attrs = dict(table.attrs)
    return short


def excerpt(table: pd.DataFrame, source: Source, most: int = 2 * _ROWS) -> pd.DataFrame:
    """What the appendix prints of a table with more than `most` rows: the main stop and first target, cut at `most`."""
    if len(table) <= most:
        return table
    rows = table[table["stop"] == main_stop(source.records)] if "stop" in table.columns else table
    if len(rows) > most and "target" in rows.columns:
        rows = rows[rows["target"] == rows["target"].iloc[0]]
    short = rows.iloc[:most].reset_index(drop=True)
    command = f"python -m analysis make {source.name} --committed"
    cut = f"{len(short)} of {len(table)} rows; all are in the CSV that {command} writes."
    note = table.attrs.get("note_at", {}).get(main_stop(source.records), table.attrs.get("note", ""))
    short.attrs = dict(table.attrs) | {"note": f"{note} {cut}".strip()}
    return short


def pieces(table: pd.DataFrame, rows: int = _ROWS) -> list[pd.DataFrame]:
    """Cut a long table into parts that fit a page each; the note stands under the last."""
    if len(table) <= rows:
        return [table]
    found = [table.iloc[at : at + rows].reset_index(drop=True) for at in range(0, len(table), rows)]
    for piece in found:
        piece.attrs = {k: v for k, v in table.attrs.items() if k != "note" or piece is found[-1]}
    return found


def _appendix(source: Source, made: Made) -> list[str]:
    def caption(title: str) -> str:
        return rf"\caption{{{render.escape(f'{source.title}: {title}.')}}}"

    lines = [rf"\subsection{{{render.escape(source.title)}}}"]
    for name, table in made.tables.items():
        for number in range(len(pieces(excerpt(table, source)))):
            path = f"tables/{source.name}-{name}{_suffix(number)}"
            shown = caption(table.attrs["title"] + (" (continued)" if number else ""))
            lines.append(rf"\begin{{table}}[htbp]{shown}\centering\input{{{path}}}\end{{table}}")
    for name in made.figures:
        graphic = rf"\includegraphics{{figures/{source.name}-{name}}}"
        lines.append(rf"\begin{{figure}}[htbp]\centering{graphic}{caption(part('figure', name).title)}\end{{figure}}")
    return [*lines, r"\clearpage"]


def _suffix(number: int) -> str:
    return f"-{number + 1}" if number else ""


def _of_our_rules(table: pd.DataFrame) -> pd.DataFrame:
    """What the text prints of `verify`: the claims under the default rules (or without records), item by item."""
    rows = table[table["rules"].isin(["default", "n/a"])].reset_index(drop=True)
    short = rows.drop(columns=["source", "measure", "rules"])
    short.attrs = dict(table.attrs)
    return short


def _put(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return path
