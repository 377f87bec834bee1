"""Build what a study shows, in its order, and write it; say in words what it lacks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from analysis import figures
from analysis.drawing import figure_file, render
from analysis.items import COUNTS, OF_STUDY, Part, every, part
from analysis.load import Source
from analysis.stopwise import TWO, has_two, lacking
from analysis.studies.coverage import missing
from analysis.studies.reader import Shown, read_shown

Progress = Callable[[int, int, str], None]


@dataclass
class Made:
    """What was built for one study, in its order: name -> table or figure, and name -> what was lacking.

    `missing` says what of the study's plan its records do not hold yet.
    """

    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    figures: dict[str, Figure] = field(default_factory=dict)
    lacking: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    pictures: dict[str, bytes] = field(default_factory=dict)

    def png(self, name: str) -> bytes:
        """A figure as a PNG, drawn at the first time of asking."""
        if name not in self.pictures:
            self.pictures[name] = figure_file.png(self.figures[name])
        return self.pictures[name]

    def needs(self) -> dict[str, list[str]]:
        """What is needed -> the names of what was not built for want of it."""
        names: dict[str, list[str]] = {}
        for name, reason in self.lacking.items():
            names.setdefault(reason, []).append(name)
        return names

    def table(self, name: str) -> pd.DataFrame:
        """A table; where it was not made, an empty one that says why."""
        reason = self.lacking.get(f"table {name}", "a place among the study's items")
        return self.tables.get(name, lacking(part("table", name).title, reason))


def make(source: Source, progress: Progress = lambda done, total, name: None, shown: Shown | None = None) -> Made:
    """Build every item of one study. A part that lacks something says what; any other error is a fault.

    `shown` is what the study shows (default: what its file says). `progress(done, total, name)` is called before each
    part, and once at the end.
    """
    shown = shown or read_shown(source.name)
    wanted = [one for item in shown.items for one in item.parts()]
    made = Made(missing=missing(source))
    for done, one in enumerate(wanted):
        progress(done, len(wanted), one.name)
        built = build(one.kind, one.name, source, shown)
        if isinstance(built, str):
            made.lacking[f"{one.kind} {one.name}"] = built
        elif isinstance(built, Figure):
            made.figures[one.name] = figure_file.settle(built)
        else:
            made.tables[one.name] = built
    progress(len(wanted), len(wanted), "")
    return made


def build(
    kind: str, name: str, source: Source, shown: Shown | None = None, draws: int | None = None
) -> pd.DataFrame | Figure | str:
    """One table or figure of a study with what its file says of it, or, as text, what the study would have to have.

    `draws`: how many resamples and permutations, where there are any (default: the part's own number). Raises
    InputError for an unknown name, naming those that there are.
    """
    one, shown = part(kind, name), shown or read_shown(source.name)
    given = {what: getattr(shown, what) for what in OF_STUDY if what in one.parameters}
    given |= {count: draws for count in COUNTS if count in one.parameters and draws is not None}
    asked = next((item.options for item in shown.items if item.name == name), {})
    given |= {option: value for option, value in asked.items() if option in one.options}
    try:
        built = one.build(source.frame(one.frame), **given)
    except figures.Lacking as reason:
        return _reason(str(reason), one, source)
    if not isinstance(built, Figure if kind == "figure" else pd.DataFrame):
        raise TypeError(f"{kind}s/{name}.py: build gave {type(built).__name__}: not a {kind}")
    lacks = built.attrs.get("lacks") if isinstance(built, pd.DataFrame) else None
    return _reason(str(lacks), one, source) if lacks else built


def _reason(lacks: str, one: Part, source: Source) -> str:
    """What an item lacks: where no stop has two networks, that, since what else it needs may well be there."""
    few = one.frame == "records" and "published" not in one.parameters and not has_two(source.records)
    return TWO if few else lacks


def write(made: Made, folder: Path) -> list[Path]:
    """Write tables to folder/tables (CSV, Markdown, LaTeX) and figures to folder/figures (PDF, PNG).

    What was not made, and stands there from an earlier time, is removed: it would be taken for this study's.
    """
    written: list[Path] = []
    for name, table in made.tables.items():
        written += render.write_table(table, folder / "tables" / name)
    for name, figure in made.figures.items():
        written += figure_file.write_figure(figure, folder / "figures" / name, made.png(name))
    for name in every():
        old = [folder / "tables" / f"{name}{end}" for end in render.TABLE_FILES]
        old += [folder / "figures" / f"{name}{end}" for end in figure_file.FIGURE_FILES]
        for path in set(old) - set(written):
            path.unlink(missing_ok=True)
    return written
