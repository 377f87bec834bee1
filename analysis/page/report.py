"""The report page of one or several studies: one HTML file with everything inside, opened from disk, no network."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from analysis.columns import LEDGER, main_stop, stops
from analysis.drawing.figure_file import caption
from analysis.items import USES, Part
from analysis.load import Source
from analysis.make import Made
from analysis.page.definitions import definitions, transforms_defined
from analysis.page.element import figure_html, table_html
from analysis.page.explorer import explorer_data
from analysis.studies.reader import read_shown
from study.names import Stop

_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class _Links:
    """What parts of a page lead to: what stands before a study's files, and the measures defined on it."""

    folder: str
    defined: Collection[str]


def write_report(studies: list[tuple[Source, Made]], path: Path, folders: dict[str, Path] | None = None) -> Path:
    """Write the page of one or several studies to `path`; the same studies give the same bytes.

    `folders`: where the tables and figures of each study, which the page links to, were written (default: in the
    page's own folder).
    """
    places = folders or {source.name: path.parent for source, _ in studies}
    path.parent.mkdir(parents=True, exist_ok=True)
    links = {name: _seen_from(path.parent, folder) for name, folder in places.items()}
    path.write_text(page(studies, links), encoding="utf-8")
    return path


def page(studies: list[tuple[Source, Made]], folders: dict[str, str]) -> str:
    """The page's HTML for studies in the order given; `folders`, by name: what stands before their files."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=select_autoescape(("html", "j2")),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    frames = [source.records for source, _ in studies]
    defined = definitions(frames)
    labels = [entry["label"] for entry in defined]
    return environment.get_template("report.html.j2").render(
        title=" and ".join(source.title for source, _ in studies),
        studies=[_study(source, made, _Links(folders[source.name], labels)) for source, made in studies],
        definitions=defined,
        transforms=transforms_defined(frames),
        css=_file("report.css"),
        javascript=_file("statistics.js") + _file("report.js"),
        data=explorer_data([source for source, _ in studies]),
    )


def _seen_from(here: Path, folder: Path) -> str:
    """What stands in a link before a file of `folder`; nothing where that is `here`."""
    relative = Path(os.path.relpath(folder, here)).as_posix()
    return "" if relative == "." else f"{relative}/"


def _file(name: str) -> Markup:
    return Markup((_TEMPLATES / name).read_text(encoding="utf-8"))


def provenance(source: Source) -> pd.DataFrame:
    """Which commit, versions, device and mode made the records: field, value, runs."""
    rows: list[dict[str, Any]] = [{"field": "records", "value": source.path.name, "rows": len(source.records)}]
    for column in [c for c in source.records.columns if c.startswith("prov.")]:
        for value, count in source.records[column].astype("str").value_counts(sort=False).sort_index().items():
            rows.append({"field": column.removeprefix("prov."), "value": value, "rows": int(count)})
    table = pd.DataFrame(rows)
    read = "the committed records" if source.committed else "this machine's results"
    table.attrs |= {"title": "Provenance", "note": f"Read from {read}; a commit ending in + had uncommitted changes."}
    return table


def _study(source: Source, made: Made, links: _Links) -> dict[str, Any]:
    shown = read_shown(source.name)
    n = source.records["key"].nunique()
    chapters: dict[str, list[dict[str, Any]]] = {use: [] for use in USES}
    for item in shown.items:
        sections = [s for part in item.parts() if (s := _section(part, made, links))]
        use = "headline" if item == shown.items[0] else item.use  # what a study's file names first is what it is about
        if sections:
            chapters[use].append({"words": item.name.replace("_", " "), "sections": sections})
    return {
        "name": source.name,
        "title": source.title,
        "question": shown.question,
        "counted": f"{n} network{'s' * (n != 1)}, {_stops(source.records)}.",
        "missing": made.missing,
        "chapters": [{"use": u, "words": USES[u], "items": found} for u, found in chapters.items() if found],
        "provenance": table_html(provenance(source)),
        "lacking": _lacking(made),
    }


def _section(part: Part, made: Made, links: _Links) -> dict[str, Any] | None:
    """A table or figure that was made, and its file; None of what was not: a page has no empty sections."""
    head = {"id": f"{part.kind}-{part.name}", "title": part.title, "kind": part.kind}
    if part.kind == "figure" and part.name in made.figures:
        title, file = caption(made.figures[part.name], part.title), f"{links.folder}figures/{part.name}.pdf"
        return head | {
            "title": title, "content": figure_html(made.png(part.name), title), "file": file, "format": "PDF",
        }  # fmt: skip
    if part.kind == "table" and part.name in made.tables:
        table, file = made.tables[part.name], f"{links.folder}tables/{part.name}.csv"
        content = table_html(table, links.defined)
        return head | {"title": table.attrs["title"], "content": content, "file": file, "format": "CSV"}
    return None


def _lacking(made: Made) -> list[str]:
    """A line an item, where its figure and its table lack the same: what is not shown, and why."""
    kinds: dict[tuple[str, str], list[str]] = {}
    for part, reason in made.lacking.items():
        kind, _, name = part.partition(" ")
        kinds.setdefault((name, reason), []).append(kind)
    return [f"{' and '.join(those)} {name}: needs {reason}" for (name, reason), those in kinds.items()]


def _stops(frame: pd.DataFrame) -> str:
    """At which stops, in words; the one that items of one stop show last."""
    every = stops(frame)
    if every == [LEDGER]:
        return "a row each"
    if len(every) == 1:
        return f"measured at {Stop.read(every[0]).words}"
    words = ", ".join(Stop.read(stop).words for stop in every)
    main = Stop.read(main_stop(frame)).words
    return f"measured at {len(every)} stops ({words}); a figure or table of one stop is of {main}"
