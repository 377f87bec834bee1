"""Forest plot: each measure's tau-b with the first target, with its 95% interval for new levels."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.columns import at_stop, targets
from analysis.drawing import style
from analysis.drawing.looks import Looks, looks
from analysis.drawing.pages import figure_of_rows
from analysis.exclude import exclude
from analysis.figures import Lacking
from analysis.selection import drawn, of_half
from analysis.statistics.association.correlation import correlate
from analysis.vocabulary import measure_words, target_words

TITLE = "Kendall rank correlation of each measure with the generalization gap, 95% intervals for new levels"


def build(frame: pd.DataFrame) -> Figure:
    """One row a measure that half of the networks have, main stop, first target; n in the right margin.

    Raises Lacking without two networks.
    """
    kept, _ = exclude(at_stop(frame))
    available = targets(kept)
    if len(kept) < 2 or not available:
        raise Lacking("two networks with a gap at the main stop")
    shown, without = of_half(kept, drawn(kept), available[0])
    figure = draw(correlate(kept, available[0], shown), available[0], looks(frame))
    figure.set_label(without)
    return figure


def draw(table: pd.DataFrame, target: str, every: Looks) -> Figure:
    """The plot of a correlation table's rows, top to bottom; a NaN coefficient is written as such."""
    with style.paper_style():
        figure, parts = figure_of_rows(table["measure"].tolist())
        for place, rows in parts:
            _panel(place.subplots(), table.iloc[rows], target, every)
    return figure


def _panel(axes: Axes, table: pd.DataFrame, target: str, every: Looks) -> None:
    axes.axvline(0, **style.ZERO)
    for at, row in enumerate(table.to_dict("records")):
        look = every.of(str(row["measure"]))
        if np.isnan(row["tau_b"]):
            axes.text(0, at, "undefined", va="center", ha="center", fontsize=style.SMALL, color=style.GREY)
            continue
        if not np.isnan(row["tau_b.low"]):
            axes.plot([row["tau_b.low"], row["tau_b.high"]], [at, at], color=look.colour, linewidth=1.2)
        axes.plot(row["tau_b"], at, marker=look.point, color=look.colour, markersize=4)
    axes.set_yticks(range(len(table)), [measure_words(m) for m in table["measure"]])
    axes.set(ylim=(len(table) - 0.4, -0.6), xlim=(-1.02, 1.02), xticks=[-1, -0.5, 0, 0.5, 1])
    axes.set_xlabel(rf"Kendall $\tau_b$ with the {target_words(target)}")
    axes.tick_params(axis="y", length=0)
    right = axes.secondary_yaxis("right")
    right.set_yticks(range(len(table)), [f"n={n}" for n in table["n"]])
    right.tick_params(length=0, colors=style.GREY)
    right.spines["right"].set_visible(False)
