"""One measure of the last layer against both gaps at every stop: does the relation hold within the settings, too?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.columns import ABOUT, at_stop, stops, targets, values
from analysis.drawing import style
from analysis.drawing.groups import groups, legend
from analysis.drawing.ticks import logarithmic
from analysis.exclude import exclude
from analysis.figures import Lacking
from analysis.selection import few, last_layer, trained
from analysis.statistics.association.coefficients import coefficients
from analysis.vocabulary import target_axis, target_words

TITLE = (
    "One measure of the last layer against the loss gap (top) and the error gap (bottom) at every stop, networks of "
    "one setting in one colour; r is of the values"
)
_TARGETS = ("gap.loss", "gap.error")
NEEDS = "a measure of several layers, a gap, and a grid of two axes at several stops"


def build(frame: pd.DataFrame, measures: Sequence[str] = ()) -> Figure:
    """A row a gap, a column a stop; the first of the measures. Raises Lacking where the study has not what it NEEDS."""
    every = [kept for kept, _ in (exclude(at_stop(frame, stop)) for stop in stops(frame)) if len(kept) > 1]
    shown = few(measures, [m for m in trained(frame) if last_layer(frame, m)], 1)
    label = last_layer(frame, shown[0]) if shown else ""
    settings = groups(frame)
    found = targets(frame)
    shown_targets = found if ABOUT in frame.attrs else [target for target in _TARGETS if target in found]
    if not label or len(every) < 2 or settings is None or not shown_targets:
        raise Lacking(NEEDS)
    with style.paper_style():
        figure = Figure(figsize=(style.PAGE, len(shown_targets) * style.PAGE / max(len(every), 5) + 0.35))
        grid = figure.subplots(len(shown_targets), len(every), squeeze=False, sharex="col")
        for column, kept in enumerate(every):
            for row, target in enumerate(shown_targets):
                axes = grid[row, column]
                x, y = values(kept, f"measure.{label}"), values(kept, target)
                settings.scatter(axes, kept, x, y)
                there = np.isfinite(x) & np.isfinite(y)
                if there.any() and x[there].min() > 0:
                    logarithmic(axes)
                r = coefficients(x, y, resamples=0).point["pearson"]
                words = kept["stop"].iloc[0].replace("_", " ")  # short, as in the table
                axes.yaxis.set_major_locator(MaxNLocator(4))
                axes.set_title(f"{words}\n$r$ {style.two(r)}" if row == 0 else f"$r$ {style.two(r)}")
        for row, target in enumerate(shown_targets):
            words = target_axis(target).replace("generalization ", "") if target in _TARGETS else target_words(target)
            grid[row, 0].set_ylabel(words)  # of any other gap its short name: a row is no higher
        for axes in grid[-1]:
            axes.set_xlabel(style.panel_words(label, 0.75 * style.PAGE / len(every)))
        legend(figure, settings)
    return figure
