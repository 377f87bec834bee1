"""A figure of a row a measure: in their order where one page holds them all, else page by page, a family together.

On a screen the pages stand below one another; `figure_file.pdf` makes each a page of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from matplotlib.figure import Figure, SubFigure

from analysis.drawing import style
from analysis.vocabulary import family

Place = Figure | SubFigure


def figure_of_rows(
    labels: Sequence[str], few: float = style.COLUMN, below: float = 0
) -> tuple[Figure, list[tuple[Place, list[int]]]]:
    """A figure, `few` inches wide while the rows are few, and its parts: where to draw, and which of the rows.

    `below` is what each part has below its rows, in inches, more than an axis takes. A figure of several pages says in
    each part's heading which families are there: they share a colour.
    """
    pages = split(labels, below)
    if len(pages) == 1:
        width, height = style.of_rows(len(labels), few)
        figure = Figure(figsize=(width, height + below))
        return figure, [(figure, pages[0])]
    heights = [_height(len(page)) + below for page in pages]
    figure = Figure(figsize=(style.PAGE, sum(heights)))
    places: list[SubFigure] = figure.subfigures(len(pages), 1, squeeze=False, height_ratios=heights)[:, 0].tolist()
    for place, page in zip(places, pages, strict=True):
        words = ", ".join(dict.fromkeys(family(labels[at]) or "others" for at in page))
        place.suptitle(words, fontsize=style.SMALL, x=0.01, ha="left")
    return figure, list(zip(places, pages, strict=True))


def printed(figure: Figure) -> list[Place]:
    """The parts of a figure that are pages in print; itself where it is one."""
    is_long = figure.get_figheight() > style.HEIGHT and len(figure.subfigs) > 1
    return list(figure.subfigs) if is_long else [figure]


def split(labels: Sequence[str], below: float = 0) -> list[list[int]]:
    """The places of the labels that each page shows: whole families, as long as a page holds one."""
    room = next(n for n in range(len(labels), 0, -1) if n <= style.MANY or _height(n) + below <= style.HEIGHT)
    if len(labels) <= room:
        return [list(range(len(labels)))]
    pages: list[list[int]] = []
    for part in _families(labels, room):
        if pages and len(pages[-1]) + len(part) <= room:
            pages[-1] += part
        else:
            pages.append(part)
    return pages


def _families(labels: Sequence[str], most: int) -> Iterator[list[int]]:
    """The places of each family's labels, in the order of its first; of more than `most` in pieces."""
    found: dict[str, list[int]] = {}
    for at, label in enumerate(labels):
        found.setdefault(family(label), []).append(at)
    for every in found.values():
        yield from (every[at : at + most] for at in range(0, len(every), most))


def _height(n: int) -> float:
    """Inches of n rows below a heading."""
    return style.of_rows(n)[1] + style.LINE
