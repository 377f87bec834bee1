"""The paper's appendix: of each study the tables and figures that say most, one below the other, cut to a page each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from analysis.drawing import render, style
from analysis.figures import Lacking
from analysis.load import InputError
from analysis.make import Part, parts
from analysis.manuscript import networks as of_study

ROWS = 44  # of a table on one page
# Figures that the text itself shows, by study; their captions stand there.
IN_TEXT = {"lenet5_cifar10": ("sweep", "last_layer_stops", "layers_stops", "permutation")}
_SHOWN = {
    "lenet5_cifar10": (
        "figure last_layer", "table stops", "figure forest", "figure stability", "table layers", "table published",
        "table sign_error", "table exclusions", "table cost",
    ),
    "lenet5_fashion": (
        "figure last_layer_stops", "figure layers_stops", "figure permutation", "figure sweep", "table stops",
        "table exclusions",
    ),
    "mnist_mlp_layers": (
        "figure scatter_layers", "figure layers", "figure forest", "table layers", "table published",
        "table exclusions",
    ),
    "digits_mlp": (
        "figure reparameterization", "figure scatter_layers", "figure forest", "figure layers", "figure granulated",
        "figure stability", "figure sweep", "figure slices", "table correlation", "table differences",
        "table reparameterization", "table partial", "table granulated", "table sign_error", "table exclusions",
        "table cost",
    ),
}  # fmt: skip


def studies() -> tuple[str, ...]:
    """The studies of the appendix, in order."""
    return tuple(_SHOWN)


def items(study: str) -> tuple[str, ...]:
    """What the appendix shows of a study, "table <name>" or "figure <name>", in order; nothing of one not listed."""
    return _SHOWN.get(study, ())


def write(study: str, folder: Path) -> list[str]:
    """Write folder/tables/<study>-<name>.tex and folder/figures/<study>-<name>.pdf of `items`; the LaTeX around them.

    Cost: seconds a study, for its tables' resamples.
    """
    shown = items(study)
    title = of_study.source(study).title
    figures = [name for kind, _, name in (item.partition(" ") for item in shown) if kind == "figure"]
    tables = [name for kind, _, name in (item.partition(" ") for item in shown) if kind == "table"]
    lines = [rf"\subsection{{{render.escape(title)}}}"]
    lines += _side_by_side([(name, *draw(study, name, folder)) for name in figures], study, title)
    for name in tables:
        lines += _table(study, name, folder, title)
    return lines


def draw(study: str, name: str, folder: Path) -> tuple[Figure, str]:
    """Write a figure of the committed records as PDF; the figure and its title. InputError says what a study lacks."""
    part = _part("figures", name)
    try:
        figure = render.settle(part.build(of_study.source(study).frame(part.frame)))  # type: ignore[arg-type]
    except Lacking as reason:
        raise InputError(f"figure: {name}: not available for {study}: it needs {reason}") from None
    path = folder / "figures" / f"{study}-{name}.pdf"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(render.pdf(figure))
    return figure, part.title


def excerpt(table: pd.DataFrame, stop: str, most: int = ROWS) -> pd.DataFrame:
    """What a page has room for of a table with more than `most` rows: one stop and the first target, cut at `most`."""
    if len(table) <= most or "stop" not in table.columns:
        return table
    rows = table[table["stop"] == stop]
    if len(rows) > most and "target" in rows.columns:
        rows = rows[rows["target"] == rows["target"].iloc[0]]
    short = rows.iloc[:most].reset_index(drop=True)
    cut = f"{len(short)} of {len(table)} rows; the CSV has all."
    note = table.attrs.get("note_at", {}).get(stop, table.attrs.get("note", ""))
    short.attrs = dict(table.attrs) | {"note": f"{note} {cut}".strip()}
    return short


def pieces(table: pd.DataFrame, rows: int = ROWS) -> list[pd.DataFrame]:
    """Cut a long table into parts that fit a page each; the note stands under the last."""
    if len(table) <= rows:
        return [table]
    found = [table.iloc[at : at + rows].reset_index(drop=True) for at in range(0, len(table), rows)]
    for part in found:
        part.attrs = {k: v for k, v in table.attrs.items() if k != "note" or part is found[-1]}
    return found


def _table(study: str, name: str, folder: Path, title: str) -> Iterator[str]:
    some = of_study.networks(study)
    table = of_study.built(some, name)
    for number, part in enumerate(pieces(excerpt(table, of_study.stop_of(some)))):
        path = folder / "tables" / f"{study}-{name}{f'-{number + 1}' if number else ''}.tex"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(render.to_latex(part), encoding="utf-8")
        words = f"{title}: {table.attrs['title']}{' (continued)' if number else ''}."
        yield _block(rf"{_caption('table', words)}\input{{tables/{path.stem}}}")


def _side_by_side(figures: list[tuple[str, Figure, str]], study: str, title: str) -> Iterator[str]:
    """Wide figures alone; narrow ones in pairs."""
    shown = {name: _caption("figure", f"{title}: {words}.") for name, _, words in figures}
    narrow = [name for name, figure, _ in figures if figure.get_size_inches()[0] <= style.COLUMN]
    for name in shown:
        if name not in narrow:
            yield _block(rf"\includegraphics{{figures/{study}-{name}}}{shown[name]}")
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


def _part(package: str, name: str) -> Part:
    known = {part.name: part for part in parts(package)}
    return known[of_study.allowed(name, known, package.removesuffix("s"))]
