"""Before and after reparameterization, side by side, as in the source papers: the same networks, the same function."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase

from analysis.columns import at_stop, targets, values
from analysis.drawing import style
from analysis.drawing.groups import Groups, alike, by_main_axis, legend
from analysis.drawing.looks import looks
from analysis.drawing.ticks import linear, logarithmic
from analysis.exclude import exclude
from analysis.figures import Lacking
from analysis.selection import few, transforms
from analysis.statistics.association.coefficients import coefficients
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
    settings, width = by_main_axis(frame, target), style.PAGE if len(pairs) > 2 else style.COLUMN
    with style.paper_style():
        figure = Figure(figsize=(width, 2 * row_height(len(pairs))))
        fill(figure, frame, pairs, target, settings, width)
        legend(figure, settings)
    figure.set_label(settings.caption if settings else "")
    return figure


def row_height(n_columns: int) -> float:
    """The height in inches of a row of so many scatters."""
    return min((style.PAGE if n_columns > 2 else style.COLUMN) / (max(n_columns, 3) + 0.3), 1.5)


def fill(
    figure: FigureBase, frame: pd.DataFrame, pairs: Mapping[str, str], target: str, settings: Groups | None,
    width: float,
) -> None:  # fmt: skip
    """`draw` into a figure or a part of one, so many inches wide; coloured by measure where there are no settings."""
    every = looks(frame)
    grid = figure.subplots(2, len(pairs), squeeze=False, sharey=True)
    for column, (before, after) in enumerate(pairs.items()):
        for row, label in enumerate((before, after)):
            _panel(grid[row, column], frame, label, target, settings or alike(frame, every.of(before)))
        grid[1, column].set_xlabel(style.panel_words(before, width / len(pairs)))
    grid[0, 0].set_ylabel("as trained")
    grid[1, 0].set_ylabel("reparameterized")
    figure.supylabel(target_axis(target))


def _panel(axes: Axes, frame: pd.DataFrame, label: str, target: str, shown: Groups) -> None:
    x, y = values(frame, f"measure.{label}"), values(frame, target)
    there = np.isfinite(x) & np.isfinite(y)
    if there.sum() < 2:
        axes.set_title("no values")
        return
    shown.scatter(axes, frame, x, y)
    x, y = x[there], y[there]
    if x.min() > 0 and x.max() / x.min() > 30:
        logarithmic(axes)
    else:
        linear(axes)
    c = coefficients(x, y, resamples=0).point
    axes.set_title(rf"$\tau_b$ {style.two(c['tau_b'])}   $r$ {style.two(c['pearson'])}")
