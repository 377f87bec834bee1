"""How stable the measures' order is: tau-b against the number of networks, for nested random sets of configurations."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from analysis.columns import at_stop, configurations, targets
from analysis.drawing import style
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
    with style.paper_style():
        figure = Figure(figsize=(style.COLUMN, 2.4))
        axes = figure.subplots()
        axes.axhline(0, color="#999999", linewidth=0.6)
        for name, line in table.groupby("measure", sort=False):
            colour, marker = style.colour(str(name)), style.marker(str(name))
            axes.fill_between(line["networks"], line["low"], line["high"], color=colour, alpha=0.12, linewidth=0)
            axes.plot(
                line["networks"], line["median"], color=colour, marker=marker, markersize=3,
                label=measure_words(str(name)),
            )  # fmt: skip
        axes.set(
            xlabel="networks",
            ylabel=rf"$\tau_b$ with the {target_words(available[0])}",
            ylim=(-1.02, 1.02),
        )
        figure.legend(loc="outside lower center", ncols=2, handletextpad=0.4, columnspacing=1.0)
    return figure
