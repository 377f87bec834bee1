"""The paper's appendix: of each study what its file lists under `appendix`, one below the other, cut to a page each."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from analysis.drawing import figure_file, render, style
from analysis.drawing.pages import printed
from analysis.items import part
from analysis.load import InputError
from analysis.make import build
from analysis.manuscript import networks as of_study
from analysis.studies.reader import read_shown
from analysis.vocabulary import target_words
from study.names import Label

TALL = 9.0  # inches of a figure on one page, below a heading and above its caption; ours
ROWS = 54  # of a table that a page has room for; with headings between them a few more
# Of a table that is longer than a page, the rows about these.
_ASKED = (
    "relative_flatness", "relative_flatness_normalized", "kappa_2019", "hessian_trace", "weight_norm_squared",
    "distance_from_init", "train_loss",
)  # fmt: skip


def write(study: str, folder: Path, in_text: Collection[str] = ()) -> list[str]:
    """Write folder/tables/<study>-<name>.tex and folder/figures/<study>-<name>.pdf; the LaTeX around them.

    `in_text`: figures that the text shows. Cost: seconds a study, for its tables' resamples.
    """
    shown = read_shown(study).appendix
    title = of_study.source(study).title
    figures = [one.name for one in shown if one.kind == "figure" and one.name not in in_text]
    lines = [rf"\subsection{{{render.escape(title)}}}"] if shown else []
    lines += _side_by_side([(name, draw(study, name, folder)) for name in figures], study, title)
    for one in shown:
        if one.kind == "table":
            lines += _table(study, one.name, folder, title)
    return lines


def draw(study: str, name: str, folder: Path) -> Figure:
    """Write a figure of the committed records as PDF; the figure. InputError says what a study lacks."""
    figure = build("figure", name, of_study.source(study))
    if not isinstance(figure, Figure):
        raise InputError(f"figure: {name}: not available for {study}: it needs {figure}")
    path = folder / "figures" / f"{study}-{name}.pdf"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(figure_file.pdf(figure_file.settle(figure)))
    return figure


def excerpt(table: pd.DataFrame, stop: str, most: int = ROWS) -> pd.DataFrame:
    """What there is room for of a table with more than `most` rows.

    One stop, then the first target, then the measures that the text is about, then their sums over layers alone, as far
    as it takes; one without a column `stop`, which has stops side by side, may go on over a second page.
    """
    rows, note = table, table.attrs.get("note", "")
    room = most if "stop" in table.columns else 2 * most
    if len(rows) > room and "stop" in rows.columns:
        note = table.attrs.get("note_at", {}).get(stop, note)
        rows = rows[rows["stop"] == stop]
    if len(rows) > room and "target" in rows.columns and "stop" in rows.columns:
        rows = rows[rows["target"] == rows["target"].iloc[0]]
    for fits in (lambda label: label.measure in _ASKED, lambda label: not label.layer):
        if len(rows) > room and "measure" in rows.columns:
            rows = rows[rows["measure"].map(lambda text, fits=fits: fits(Label.parse(text)))]
    if len(rows) == len(table):
        return table
    short = rows.iloc[:room].reset_index(drop=True)
    short.attrs = dict(table.attrs) | {"note": f"{note} {len(short)} of {len(table)} rows; the CSV has all.".strip()}
    return short


def grouped(table: pd.DataFrame) -> pd.DataFrame:
    """A table as it is printed, rows of one target and measure below a heading that names them.

    As it is where headings would be as many as half of its rows.
    """
    names = [c for c in ("target", "measure") if c in table.columns]
    changes = table[names].ne(table[names].shift()).any(axis=1).tolist()
    if "measure" not in names or 2 * sum(changes) > len(table):
        return table
    head, body = render.cells(table)
    shown = [c for c in table.columns if not c.endswith((".low", ".high"))][: len(head)]
    at = [shown.index(c) for c in names]
    less = " less" if "than" in shown else f" less {table.attrs['less']}" if table.attrs.get("less") else ""
    rest = [i for i in range(len(head)) if i not in at]
    rows: list[list[str]] = []
    for row, is_new in zip(body, changes, strict=True):
        if is_new:
            # A row of differences is about two measures: a heading that names one alone would be the other's, too.
            rows.append([", ".join(row[i] for i in at) + less, *[""] * (len(rest) - 1)])
        rows.append([row[i] for i in rest])
    printed = pd.DataFrame(rows, columns=pd.Index([head[i] if shown[i] == "than" else shown[i] for i in rest]))
    printed.attrs = dict(table.attrs) | {"note": render.footnote(table)}
    return printed


def heading(table: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The table without a stop or a target that is the same in every row, and its title, which says it instead."""
    same = {c: str(table[c].iloc[0]) for c in ("stop", "target") if c in table.columns and len(set(table[c])) == 1}
    told = [target_words(value) if c == "target" else value.replace("_", " ") for c, value in same.items()]
    short = table.drop(columns=list(same))
    short.attrs = dict(table.attrs)
    return short, table.attrs["title"] + (f" ({', '.join(told)})" if told else "")


def pieces(table: pd.DataFrame, rows: int = ROWS + 8) -> list[pd.DataFrame]:
    """Cut a long table into parts that fit a page each, at a heading where there are any; the note is the last's."""
    found, left = [], table
    while len(left) > rows:
        headings = (left.iloc[1 : rows + 1, 1:] == "").all(axis=1).to_numpy().nonzero()[0]
        at = int(headings[-1]) + 1 if len(headings) and left.shape[1] > 1 else rows
        found.append(left.iloc[:at].reset_index(drop=True))
        left = left.iloc[at:].reset_index(drop=True)
    for piece in found:
        piece.attrs = {k: v for k, v in table.attrs.items() if k != "note"}
    left.attrs = dict(table.attrs)
    return [*found, left]


def _table(study: str, name: str, folder: Path, title: str) -> Iterator[str]:
    some = of_study.networks(study)
    short, words = heading(excerpt(of_study.built(some, name), of_study.stop_of(some)))
    for number, piece in enumerate(pieces(grouped(short))):
        path = folder / "tables" / f"{study}-{name}{f'-{number + 1}' if number else ''}.tex"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(render.to_latex(piece), encoding="utf-8")
        caption = _caption("table", f"{title}: {words}{', continued' if number else ''}.")
        yield _block(rf"{caption}\input{{tables/{path.stem}}}")


def _side_by_side(figures: list[tuple[str, Figure]], study: str, title: str) -> Iterator[str]:
    """Wide figures alone, page by page where they are of several; narrow ones in pairs."""
    shown = {
        name: _caption("figure", f"{title}: {figure_file.caption(figure, part('figure', name).title)}.")
        for name, figure in figures
    }
    narrow = [name for name, figure in figures if figure.get_size_inches()[0] <= style.COLUMN]
    for name, figure in figures:
        n_pages = len(printed(figure)) if name not in narrow else 0
        is_tall = n_pages == 1 and figure.get_size_inches()[1] > TALL
        for page in range(n_pages):
            asked, words = (f"[page={page + 1}]", r"\par continued") if page else ("", shown[name])
            asked = rf"[height={TALL}in]" if is_tall else asked
            yield _block(rf"\includegraphics{asked}{{figures/{study}-{name}}}{words}")
    for at in range(0, len(narrow), 2):
        cells = [
            rf"\begin{{minipage}}[t]{{.485\linewidth}}\vspace{{0pt}}\centering"
            rf"\includegraphics[width=\linewidth]{{figures/{study}-{name}}}{shown[name]}\end{{minipage}}"
            for name in narrow[at : at + 2]
        ]
        yield _block(r"\hfill".join(cells))


def _block(content: str) -> str:
    return rf"\begin{{block}}{content}\end{{block}}"


def _caption(kind: str, words: str) -> str:
    return rf"\captionof{{{kind}}}{{{render.escape(words)}}}"
