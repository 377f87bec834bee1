"""A table and a figure as the HTML that stands on the page."""

from __future__ import annotations

import base64
import html
from collections.abc import Collection

import pandas as pd
from markupsafe import Markup

from analysis.drawing import render
from analysis.vocabulary import column_words
from study.names import Label


def table_html(table: pd.DataFrame, defined: Collection[str] = ()) -> Markup:
    """A table as HTML, escaped, with its note; the first mention of a `defined` measure leads to its definition."""
    head, body = render.cells(table)
    texts = [[html.escape(cell) for cell in row] for row in body]
    if "measure" in table.columns and (name := column_words("measure")) in head:
        left, at = set(defined), head.index(name)
        for row, label in zip(texts, table["measure"].astype(str), strict=True):
            if (measure := _measure(label)) in left:
                left.remove(measure)
                row[at] = f"<a href='#measure-{html.escape(measure)}'>{row[at]}</a>"
    columns = "".join(f"<th scope='col'>{html.escape(h)}</th>" for h in head)
    rows = "".join("<tr>" + "".join(f"<td>{text}</td>" for text in row) + "</tr>" for row in texts)
    below = render.footnote(table)
    note = f"<p class='note'>{html.escape(below)}</p>" if below else ""
    inner = f"<thead><tr>{columns}</tr></thead><tbody>{rows}</tbody>"
    return Markup(f"<div class='scroll' tabindex='0'><table>{inner}</table></div>{note}")


def figure_html(picture: bytes, title: str) -> Markup:
    """A PNG as HTML, the picture inside; every figure is shown at one scale, so that their type is of one size."""
    data = "data:image/png;base64," + base64.b64encode(picture).decode("ascii")
    width = int.from_bytes(picture[16:20], "big")  # pixels, as a PNG's first chunk says
    image = "<figure tabindex='0'><img src='{}' alt='{}' style='--pixels:{}'></figure>"
    return Markup(image).format(data, title, width)


def _measure(label: str) -> str:
    try:
        return Label.parse(label).measure
    except ValueError:  # a row of something else than a measure
        return ""
