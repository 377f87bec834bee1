"""Find tables and figures by file name, build each for a study, write them; say what a study lacks."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from analysis import figures, tables, verify
from analysis.drawing import render
from analysis.load import Source

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Part:
    """A table's or a figure's module: its file name, its title, which frame it is built from, and its builder."""

    name: str
    title: str
    frame: str
    build: Callable[[pd.DataFrame], pd.DataFrame | Figure]


@dataclass
class Made:
    """What was built for one study: name -> table or figure, and name -> what was lacking."""

    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    figures: dict[str, Figure] = field(default_factory=dict)
    lacking: dict[str, str] = field(default_factory=dict)
    pictures: dict[str, bytes] = field(default_factory=dict)

    def png(self, name: str) -> bytes:
        """A figure as a PNG, drawn at the first time of asking."""
        if name not in self.pictures:
            self.pictures[name] = render.png(self.figures[name])
        return self.pictures[name]


def parts(package: str) -> Iterator[Part]:
    """Yield the modules of `tables` or `figures` in the order of their names."""
    home = {"tables": tables, "figures": figures}[package]
    for found in sorted(pkgutil.iter_modules(home.__path__), key=lambda m: m.name):
        module = import_module(f"{home.__name__}.{found.name}")
        yield Part(found.name, module.TITLE, getattr(module, "FRAME", "records"), module.build)


def make(source: Source, progress: Progress = lambda done, total, name: None) -> Made:
    """Build every table and figure of one study. A part that lacks something says what; any other error is a fault.

    `progress(done, total, name)` is called before each part, and once at the end.
    """
    made = Made()
    tables_, figures_ = list(parts("tables")), list(parts("figures"))
    total = len(tables_) + len(figures_)
    for done, part in enumerate(tables_):
        progress(done, total, part.name)
        table = part.build(source.frame(part.frame))
        if not isinstance(table, pd.DataFrame):
            raise TypeError(f"tables/{part.name}.py: build gave {type(table).__name__}: a DataFrame is allowed")
        if table.attrs.get("lacks"):
            made.lacking[f"table {part.name}"] = table.attrs["lacks"]
        made.tables[part.name] = table
    published = verify.published(source.name, source.records)
    if published is not None:
        made.tables["published"] = published
    for done, part in enumerate(figures_, len(tables_)):
        progress(done, total, part.name)
        try:
            figure = part.build(source.frame(part.frame))
        except figures.Lacking as reason:
            made.lacking[f"figure {part.name}"] = str(reason)
            continue
        if not isinstance(figure, Figure):
            raise TypeError(f"figures/{part.name}.py: build gave {type(figure).__name__}: a Figure is allowed")
        made.figures[part.name] = render.settle(figure)
    progress(total, total, "")
    return made


def write(made: Made, folder: Path) -> list[Path]:
    """Write tables to folder/tables (CSV, Markdown, LaTeX) and figures to folder/figures (PDF, PNG)."""
    written: list[Path] = []
    for name, table in made.tables.items():
        written += render.write_table(table, folder / "tables" / name)
    for name, figure in made.figures.items():
        written += render.write_figure(figure, folder / "figures" / name, made.png(name))
    return written
