"""How stable the measures' order is: tau-b against the number of networks, for nested random sets of configurations."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from analysis.columns import at_stop, configurations, targets
from analysis.drawing import style
from analysis.drawing.looks import looks
from analysis.drawing.ticks import counts
from analysis.exclude import exclude
from analysis.figures import Lacking
from analysis.selection import trained
from analysis.statistics.stability import LEAST, stability
from analysis.vocabulary import measure_words, target_words

TITLE = (
    "Rank stability: τ_b against the number of networks (median and central 80% of 40 random sets of configurations)"
)
USE = "diagnostic"
_MEASURES = 6  # lines that one panel can carry


def build(frame: pd.DataFrame) -> Figure:
    """Lines for the first measures; at the main stop, first target; seeded, so the same frame gives the same figure."""
    kept, _ = exclude(at_stop(frame))
    available = targets(kept)
    if not available or len(set(configurations(kept).tolist())) < LEAST:
        raise Lacking("a gap and eight configurations")
    table = stability(kept, available[0], trained(kept)[:_MEASURES])
    every = looks(frame)
    with style.paper_style():
        figure = Figure(figsize=(style.COLUMN, 1.95))
        axes = figure.subplots()
        axes.axhline(0, **style.ZERO)
        for name, line in table.groupby("measure", sort=False):
            look = every.of(str(name))
            axes.fill_between(line["networks"], line["low"], line["high"], color=look.colour, alpha=0.12, linewidth=0)
            axes.plot(
                line["networks"], line["median"], color=look.colour, marker=look.marker, markersize=3,
                label=measure_words(str(name)),
            )  # fmt: skip
        counts(axes)
        axes.set(xlabel="networks", ylabel=rf"$\tau_b$ with the {target_words(available[0])}")
        style.coefficients(axes)
        style.legend(figure, *axes.get_legend_handles_labels())
    return figure
