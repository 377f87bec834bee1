"""A figure as PDF and PNG, the same bytes for the same figure, and what its caption says."""

from __future__ import annotations

import io
from pathlib import Path

from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure

from analysis.drawing import pages, style

FIGURE_FILES = (".pdf", ".png")


def caption(figure: Figure, title: str) -> str:
    """What stands below or above a figure: its title, and what it says of itself, such as what its colours are."""
    return "; ".join(filter(None, (title, str(figure.get_label()))))


def settle(figure: Figure) -> Figure:
    """Lay the figure out once and for all: otherwise every file written of it would do it again."""
    with style.paper_style():
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
    return figure


def png(figure: Figure) -> bytes:
    """The figure as a PNG, without a date or a version, so that the same frame gives the same bytes."""
    return _saved(figure, "png", {"Software": None})


def write_figure(figure: Figure, stem: Path, picture: bytes | None = None) -> list[Path]:
    """Write `stem`.pdf (fonts embedded, no date) and .png (`picture`, where it is at hand); return the paths."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    paths = [stem.with_name(stem.name + suffix) for suffix in FIGURE_FILES]
    paths[0].write_bytes(pdf(figure))
    paths[1].write_bytes(png(figure) if picture is None else picture)
    return paths


def pdf(figure: Figure) -> bytes:
    """The figure as a PDF with TrueType fonts embedded, without a date; page by page where it is higher than one."""
    metadata: dict[str, str | None] = {"CreationDate": None, "Creator": None, "Producer": None}
    parts = pages.printed(figure)
    if len(parts) == 1:
        return _saved(figure, "pdf", metadata)
    stream = io.BytesIO()
    with style.paper_style(), PdfPages(stream, metadata=metadata) as file:
        for part in parts:
            file.savefig(figure, bbox_inches=part.bbox.transformed(figure.dpi_scale_trans.inverted()))
    return stream.getvalue()


def _saved(figure: Figure, kind: str, metadata: dict[str, str | None]) -> bytes:
    stream = io.BytesIO()
    with style.paper_style():
        figure.savefig(stream, format=kind, metadata=metadata)
    return stream.getvalue()
