"""The report page of one or several studies: one HTML file with everything inside, opened from disk, no network."""

from __future__ import annotations

import base64
import html
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from analysis.columns import main_stop, stops
from analysis.drawing import render
from analysis.items import Part
from analysis.load import Source
from analysis.make import Made
from analysis.page.explorer import explorer_data
from analysis.studies.reader import read_shown
from study.names import Stop

_TEMPLATES = Path(__file__).parent / "templates"


def write_report(studies: list[tuple[Source, Made]], path: Path) -> Path:
    """Write the page of one or several studies to `path`; the same studies give the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page(studies), encoding="utf-8")
    return path


def page(studies: list[tuple[Source, Made]]) -> str:
    """The page's HTML for studies in the order given."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=select_autoescape(("html", "j2")),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    content = [_study(source, made) for source, made in studies]
    return environment.get_template("report.html.j2").render(
        title=" and ".join(source.title for source, _ in studies),
        studies=content,
        css=_file("report.css"),
        javascript=_file("statistics.js") + _file("report.js"),
        data=explorer_data([source for source, _ in studies]),
    )


def _file(name: str) -> Markup:
    return Markup((_TEMPLATES / name).read_text(encoding="utf-8"))


def table_html(table: pd.DataFrame) -> Markup:
    """A table as HTML, escaped, with its note; numeric cells marked for alignment."""
    head, body = render.cells(table)
    rows = ["<tr>" + "".join(f"<th scope='col'>{html.escape(h)}</th>" for h in head) + "</tr>"]
    rows += ["<tr>" + "".join(f"<td>{html.escape(c)}</td>" for c in row) + "</tr>" for row in body]
    below = render.footnote(table)
    note = f"<p class='note'>{html.escape(below)}</p>" if below else ""
    inner = f"<thead>{rows[0]}</thead><tbody>{''.join(rows[1:])}</tbody>"
    return Markup(f"<div class='scroll' tabindex='0'><table>{inner}</table></div>{note}")


def figure_html(picture: bytes, title: str) -> Markup:
    """A PNG as HTML, the picture inside."""
    data = "data:image/png;base64," + base64.b64encode(picture).decode("ascii")
    return Markup("<figure><img src='{}' alt='{}'></figure>").format(data, title)


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


def _study(source: Source, made: Made) -> dict[str, Any]:
    shown = read_shown(source.name)
    found = [(item.name, [s for part in item.parts() if (s := _section(part, made))]) for item in shown.items]
    n = source.records["key"].nunique()
    return {
        "name": source.name,
        "title": source.title,
        "question": shown.question,
        "counted": f"{n} networks, {_stops(source.records)}.",
        "missing": made.missing,
        "content": [{"words": name.replace("_", " "), "sections": sections} for name, sections in found if sections],
        "provenance": table_html(provenance(source)),
        "lacking": made.needs(),
    }


def _section(part: Part, made: Made) -> dict[str, Any] | None:
    """A table or figure that was made; None of what was not: a page has no empty sections."""
    head = {"id": f"{part.kind}-{part.name}", "title": part.title, "kind": part.kind}
    if part.kind == "figure" and part.name in made.figures:
        return head | {"content": figure_html(made.png(part.name), part.title)}
    if part.kind == "table" and part.name in made.tables:
        table = made.tables[part.name]
        return head | {"title": table.attrs["title"], "content": table_html(table)}
    return None


def _stops(frame: pd.DataFrame) -> str:
    """At which stops, in words; the one that items of one stop show last."""
    every = stops(frame)
    if len(every) == 1:
        return f"measured at {Stop.read(every[0]).words}"
    words = ", ".join(Stop.read(stop).words for stop in every)
    main = Stop.read(main_stop(frame)).words
    return f"measured at {len(every)} stops ({words}); a figure or table of one stop is of {main}"
