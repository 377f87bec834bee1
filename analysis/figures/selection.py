"""What picking by a measure costs: normalized regret and hits of each measure and of the baselines, with intervals."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.columns import at_stop
from analysis.drawing import style
from analysis.drawing.looks import Look, Looks, looks
from analysis.drawing.pages import Place, figure_of_rows
from analysis.exclude import exclude
from analysis.figures import Lacking
from analysis.selection import drawn, of_half
from analysis.statistics.association.coefficients import RESAMPLES
from analysis.statistics.grid.settings import LIMIT
from analysis.statistics.selection import regretted, selection
from analysis.vocabulary import measure_words, target_words
from study.names import Label

TITLE = (
    "Picking the network with the smallest value of each measure, and baselines: its regret over that of a random "
    "choice, and the share of the measure's best fifth of networks that is in the target's; 95% intervals for new "
    "levels, dashed what a random choice has"
)
_BASELINE = Look(style.GREY, "o")


def build(frame: pd.DataFrame, resamples: int = RESAMPLES) -> Figure:
    """A panel of regret and one of hits, a row a measure that half of the networks have; main stop, networks, test
    error or what else there is first.

    Raises Lacking without two networks with such a value.
    """
    kept, _ = exclude(at_stop(frame))
    available = regretted(kept)
    if not available:
        raise Lacking("two networks with a test error, a test loss or a gap at the main stop")
    count = resamples if len(kept) <= LIMIT else 0
    shown, without = of_half(kept, drawn(kept), available[0])
    rows = selection(kept, available[0], shown, resamples=count)
    with style.paper_style():
        figure, parts = figure_of_rows(rows["measure"].tolist(), style.PAGE)
        for place, some in parts:
            _two(place, rows, some, looks(frame))
            place.axes[0].set_xlabel(f"normalized regret, {target_words(available[0])}")
    figure.set_label(without)
    return figure


def _two(place: Place, rows: pd.DataFrame, some: list[int], every: Looks) -> None:
    """A panel of regret and one of hits, side by side, of some of the rows."""
    left, right = place.subplots(1, 2, sharey=True)
    chance, part = rows[rows["measure"] == "random_choice"].iloc[0], rows.iloc[some]
    for axes, column in ((left, "normalized_regret"), (right, "hits")):
        axes.axvline(chance[column], linestyle="--", **style.ZERO)
        _panel(axes, part, column, every)
        axes.tick_params(axis="y", length=0)
    left.set_yticks(range(len(part)), [measure_words(m) for m in part["measure"]])
    left.set(ylim=(len(part) - 0.4, -0.6))
    right.set(xlim=(-0.03, 1.03), xlabel="hits of the best fifth")


def _panel(axes: Axes, rows: pd.DataFrame, column: str, every: Looks) -> None:
    """A point and an interval a row; nothing where there is no value."""
    for at, row in enumerate(rows.to_dict("records")):
        name = str(row["measure"])
        one = every.of(name) if Label.parse(name).name in every.by_name else _BASELINE
        if not np.isnan(row[f"{column}.low"]):
            axes.plot([row[f"{column}.low"], row[f"{column}.high"]], [at, at], color=one.colour, linewidth=1.2)
        axes.plot(row[column], at, marker=one.point, color=one.colour, markersize=4)
