"""Before and after reparameterization, side by side, as in the source papers: the same networks, the same function."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase

from analysis.columns import at_stop, targets, values
from analysis.drawing import style
from analysis.drawing.groups import Groups
from analysis.drawing.ticks import linear, logarithmic
from analysis.exclude import exclude
from analysis.figures import Lacking
from analysis.selection import few, transforms
from analysis.statistics.coefficients import coefficients
from analysis.statistics.reparameterization import NEEDS
from analysis.vocabulary import target_axis
from study.names import Label

TITLE = "Each measure against the gap before (top) and after (bottom) a function-preserving reparameterization"
_MEASURES = 5  # panels across


def build(frame: pd.DataFrame, measures: Sequence[str] = ()) -> Figure:
    """Two rows of scatters, a column a measure, its first transform; at the main stop, first target."""
    kept, _ = exclude(at_stop(frame))
    found, available = transforms(kept), targets(kept)
    if not few(measures, found, 1) or not available:
        raise Lacking(NEEDS)
    names = few(measures, found, _MEASURES)
    return draw(kept, {m: str(Label.parse(m).at(transform=found[m][0])) for m in names}, available[0])


def draw(frame: pd.DataFrame, pairs: Mapping[str, str], target: str) -> Figure:
    """A column a pair of labels: the measure as trained above, the same reparameterized below."""
    with style.paper_style():
        figure = Figure(figsize=(style.PAGE if len(pairs) > 2 else style.COLUMN, 2 * row_height(len(pairs))))
        fill(figure, frame, pairs, target)
    return figure


def row_height(n_columns: int) -> float:
    """The height in inches of a row of so many scatters."""
    return min((style.PAGE if n_columns > 2 else style.COLUMN) / max(n_columns, 3), 1.5)


def fill(
    figure: FigureBase, frame: pd.DataFrame, pairs: Mapping[str, str], target: str, settings: Groups | None = None
) -> None:
    """`draw` into a figure or a part of one; with `settings`, coloured by them instead of by measure."""
    grid = figure.subplots(2, len(pairs), squeeze=False, sharey=True)
    for column, (before, after) in enumerate(pairs.items()):
        for row, label in enumerate((before, after)):
            _panel(grid[row, column], frame, label, target, settings)
        grid[1, column].set_xlabel(style.panel_words(before))
    grid[0, 0].set_ylabel("as trained")
    grid[1, 0].set_ylabel("reparameterized")
    figure.supylabel(target_axis(target), fontsize=8)


def _panel(axes: Axes, frame: pd.DataFrame, label: str, target: str, settings: Groups | None) -> None:
    colour, marker = style.colour(label), style.marker(label)
    x, y = values(frame, f"measure.{label}"), values(frame, target)
    there = np.isfinite(x) & np.isfinite(y)
    if there.sum() < 2:
        axes.set_title("no values", fontsize=7)
        return
    if settings:
        settings.scatter(axes, frame, x, y)
    x, y = x[there], y[there]
    if not settings:
        axes.scatter(x, y, s=6, marker=marker, color=colour, alpha=0.65, linewidths=0)
    if x.min() > 0 and x.max() / x.min() > 30:
        logarithmic(axes)
    else:
        linear(axes)
    c = coefficients(x, y, resamples=0).point
    axes.set_title(rf"$\tau_b$ {c['tau_b']:.2f}   $r$ {c['pearson']:.2f}", fontsize=7)
