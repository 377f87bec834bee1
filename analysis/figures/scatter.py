"""Each measure against the generalization gap, with marginal rugs and a least-squares line, as in the source papers."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.columns import at_stop, targets, values
from analysis.drawing import style
from analysis.drawing.groups import Groups, alike, by_main_axis, legend
from analysis.drawing.looks import looks
from analysis.drawing.ticks import linear, logarithmic
from analysis.exclude import exclude
from analysis.figures import Lacking
from analysis.selection import trained
from analysis.statistics.association.coefficients import coefficients, scaled
from analysis.vocabulary import target_axis

TITLE = (
    "Each measure against the generalization gap; rugs show the margins, the line is least squares on the axes shown"
)
_PANELS = 4  # across both columns
_VECTOR = 1000  # points of a panel that are drawn as vectors; ours


def build(frame: pd.DataFrame) -> Figure:
    """One panel a measure (no transformed ones) at the main stop, first target. Raises Lacking without two networks."""
    kept, _ = exclude(at_stop(frame))
    available = targets(kept)
    labels = trained(kept)
    if len(kept) < 2 or not available or not labels:
        raise Lacking("two networks with a gap and a measure at the main stop")
    return panels(kept, labels[:20], available[0])


def panels(frame: pd.DataFrame, labels: list[str], target: str, across: int = _PANELS) -> Figure:
    """A grid, `across` panels wide, of the named measures (a layer as `label.layer`) against one target."""
    across = min(across, len(labels))
    down = math.ceil(len(labels) / across)
    settings, every = by_main_axis(frame, target), looks(frame)
    with style.paper_style():
        width = style.PAGE if across > 2 else style.COLUMN
        figure = Figure(figsize=(width, down * width / across * 0.95))
        grid = figure.subplots(down, across, squeeze=False, sharey=True).ravel()
        for axes, label in zip(grid, labels, strict=False):
            _panel(axes, frame, label, target, settings or alike(frame, every.of(label)))
            axes.set_xlabel(style.panel_words(label, width / across))
        for axes in grid[len(labels) :]:
            axes.set_visible(False)
        figure.supylabel(target_axis(target))
        legend(figure, settings)
    figure.set_label(settings.caption if settings else "")
    return figure


def _panel(axes: Axes, frame: pd.DataFrame, label: str, target: str, shown: Groups) -> None:
    x, y = values(frame, f"measure.{label}"), values(frame, target)
    there = np.isfinite(x) & np.isfinite(y)
    if there.sum() < 2:
        axes.set_title("no values")
        return
    # Thousands of vector markers make a file that no viewer opens quickly: those become a picture inside the PDF.
    many = bool(there.sum() > _VECTOR)
    shown.scatter(axes, frame, x, y, rasterized=many)
    x, y = x[there], y[there]
    spread = x.max() / x.min() > 30 if x.min() > 0 else False
    if spread:
        logarithmic(axes)
    else:
        linear(axes)
    for mark, a, b, where in (
        ("|", x, np.zeros_like(x), axes.get_xaxis_transform()),
        ("_", np.zeros_like(y), y, axes.get_yaxis_transform()),
    ):
        axes.plot(a, b, mark, color=style.GREY, alpha=0.5, markersize=4, transform=where, rasterized=many)
    at = np.log(x) if spread else x
    place = scaled(at)
    if np.ptp(place) > 1e-12 * np.abs(place).max():
        slope, offset = np.polyfit((place - place.mean()) / place.std(), y, 1)
        ends = np.array([at.min(), at.max()])
        line = slope * (np.array([place.min(), place.max()]) - place.mean()) / place.std() + offset
        axes.plot(np.exp(ends) if spread else ends, line, color="black", linewidth=0.8)
    c = coefficients(x, y, resamples=0).point
    axes.set_title(rf"$\tau_b$ {style.two(c['tau_b'])}   $r$ {style.two(c['pearson'])}   n={len(x)}")
