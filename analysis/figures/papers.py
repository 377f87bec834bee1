"""The large grids' papers beside ours: a panel a statistic, a point a measure, their number across and ours up."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.columns import at_stop
from analysis.drawing import style
from analysis.drawing.looks import Look, looks
from analysis.exclude import exclude
from analysis.figures import Lacking
from analysis.statistics.beside.order import LEAST
from analysis.statistics.beside.papers import Beside, Paper, beside, order_beside
from analysis.vocabulary import column_words, measure_words

TITLE = (
    "Numbers of the large grids' papers (across) and ours (up), a measure each, grey the baselines; on the line both "
    "are the same; with τ_b of the measures' order and its 95% interval for other families of measures"
)
_ACROSS = 4  # panels
_BASELINE = Look(style.GREY, "x")


def build(frame: pd.DataFrame, papers: Sequence[Paper] = ()) -> Figure:
    """A panel a statistic that LEAST measures have in both, at the main stop. Raises Lacking where there is none."""
    kept, _ = exclude(at_stop(frame))
    every = [(two, order_beside(two)) for two in (beside(kept, paper) for paper in papers)]
    shown = [(two, row) for two, rows in every for row in rows.to_dict("records")]
    if not shown:
        raise Lacking(f"{LEAST} measures that a paper of analysis/studies/papers has, and a gap")
    labels = [row.label for two, rows in every if len(rows) for row in two.paper.rows if f"measure.{row.label}" in kept]
    names, own = list(dict.fromkeys(labels)), looks(frame)
    numbered = {name: Look(own.of(name).colour, f"${at}$") for at, name in enumerate(names, 1)}
    with style.paper_style():
        down = math.ceil(len(shown) / _ACROSS)
        figure = Figure(figsize=(style.PAGE, 2.1 * down))
        grid = figure.subplots(down, _ACROSS, squeeze=False).ravel().tolist()
        for at, (axes, (two, row)) in enumerate(zip(grid, shown, strict=False)):
            _panel(axes, two, row, numbered)
            axes.set_ylabel("" if at % _ACROSS else "ours")
        for axes in grid[len(shown) :]:
            axes.set_axis_off()
        handles = [Line2D([], [], **_drawn(numbered[name])) for name in names]
        style.legend(figure, handles, list(map(measure_words, names)))
    figure.set_label("; ".join(f"[{two.paper.tag}] {two.paper.meaning}" for two, rows in every if len(rows)))
    return figure


def _panel(axes: Axes, two: Beside, row: dict[Any, Any], numbered: Mapping[str, Look]) -> None:
    """One statistic: the line on which both are the same, the baselines below the measures."""
    name = str(row["statistic"])
    low = -1.0 if two.paper.statistic == "granulated" else 0.0
    axes.plot([low, 1], [low, 1], **style.ZERO)
    for one, theirs, ours in zip(two.paper.rows, two.published[name], two.ours[name], strict=True):
        if not np.isnan(ours):
            axes.plot(theirs, ours, **_drawn(numbered.get(one.label, _BASELINE)))
    words = rf"$\psi$, {name}" if name in two.paper.axes else column_words(name, latex=True)
    known = not np.isnan(row["tau_b.low"])
    interval = f" [{style.two(row['tau_b.low'])}, {style.two(row['tau_b.high'])}]" if known else ""
    axes.set_title(f"{words}\n" rf"$\tau_b$ {style.two(row['tau_b'])}{interval}")
    axes.set(xlim=(low - 0.05, 1.05), ylim=(low - 0.05, 1.05), xlabel=f"{two.paper.title} [{two.paper.tag}]")
    axes.set(xticks=np.linspace(low, 1, 3), yticks=np.linspace(low, 1, 3))


def _drawn(look: Look) -> dict[str, Any]:
    wide = len(look.marker) > 3  # two digits
    size = 6 if wide else 4
    return {"marker": look.marker, "color": look.colour, "markersize": size, "markeredgewidth": 0.3, "linestyle": ""}
