"""Before and after reparameterization, side by side, as in the source papers: the same networks, the same function."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import style
from analysis.correlation import coefficients
from analysis.exclude import exclude
from analysis.figures import Lacking
from analysis.load import at_stop, values
from analysis.stopwise import targets
from analysis.tables.reparameterization import NEEDS, transformed

TITLE = "Each measure against the gap before (top) and after (bottom) a function-preserving reparameterization"
_PANELS = 5


def build(frame: pd.DataFrame) -> Figure:
    """Two rows of scatters, a column a measure, its first transform; at the main stop, first target."""
    kept, _ = exclude(at_stop(frame))
    found, available = transformed(kept), targets(kept)
    if not found or not available:
        raise Lacking(NEEDS)
    names = list(found)[:_PANELS]
    with style.paper_style():
        width = style.PAGE if len(names) > 2 else style.COLUMN
        figure = Figure(figsize=(width, 2 * width / max(len(names), 3)))
        grid = figure.subplots(2, len(names), squeeze=False, sharey=True)
        for column, name in enumerate(names):
            for row, label in enumerate((name, f"{name}@{found[name][0]}")):
                _panel(grid[row, column], kept, label, available[0])
            grid[1, column].set_xlabel(style.look(name).words)
        grid[0, 0].set_ylabel("before")
        grid[1, 0].set_ylabel("after")
        figure.supylabel(style.target_axis(available[0]), fontsize=8)
    return figure


def _panel(axes: Axes, frame: pd.DataFrame, label: str, target: str) -> None:
    look = style.look(label)
    x, y = values(frame, f"measure.{label}"), values(frame, target)
    there = np.isfinite(x) & np.isfinite(y)
    if there.sum() < 2:
        axes.set_title("no values", fontsize=7)
        return
    x, y = x[there], y[there]
    if x.min() > 0 and x.max() / x.min() > 30:
        axes.set_xscale("log")
    axes.scatter(x, y, s=6, marker=look.marker, color=look.colour, alpha=0.65, linewidths=0)
    c = coefficients(x, y, resamples=0).point
    axes.set_title(rf"$\tau_b$ {c['tau_b']:.2f}   $r$ {c['pearson']:.2f}", fontsize=7)
