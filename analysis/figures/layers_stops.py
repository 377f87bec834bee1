"""Which layer decides: r of flatness and of the Hessian trace, layer by layer and summed, stop beside stop."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.columns import at_stop, layers, stops, targets
from analysis.drawing import style
from analysis.drawing.looks import Looks, looks
from analysis.exclude import exclude
from analysis.figures import Lacking
from analysis.selection import few, trained
from analysis.statistics.association.correlation import correlate
from analysis.vocabulary import measure_words, target_words
from study.names import Label

TITLE = "Pearson's r with the gap in each layer and summed over layers, at every stop; bars are 95% intervals"
_MEASURES = 4  # that one panel can carry
NEEDS = "a measure with a column a layer, a gap, and several stops"


def build(frame: pd.DataFrame, measures: Sequence[str] = ()) -> Figure:
    """A panel a stop, a line a measure over the layers, the sum apart on the right; the first target."""
    every = [kept for kept, _ in (exclude(at_stop(frame, stop)) for stop in stops(frame)) if len(kept) > 1]
    names = few(measures, [m for m in trained(frame) if layers(frame, m)], _MEASURES)
    available = targets(frame)
    if len(every) < 2 or not names or not available:
        raise Lacking(NEEDS)
    with style.paper_style():
        figure = Figure(figsize=(style.PAGE, 1.95))
        for axes, kept in zip(figure.subplots(1, len(every), sharey=True), every, strict=True):
            _panel(axes, kept, names, available[0], looks(frame))
            axes.set_title(kept["stop"].iloc[0].replace("_", " "))
        style.coefficients(figure.axes[0])
        figure.axes[0].set(ylabel=f"$r$ with the {target_words(available[0])}")
        style.legend(figure, *figure.axes[0].get_legend_handles_labels())
    return figure


def _panel(axes: Axes, kept: pd.DataFrame, names: Sequence[str], target: str, every: Looks) -> None:
    order = list(dict.fromkeys(layer for m in names for layer in layers(kept, m)))
    places = np.array([*range(len(order)), len(order) + 0.6])  # the sum stands apart
    axes.axhline(0, **style.ZERO)
    axes.axvline(len(order) - 0.2, color="#cccccc", linewidth=0.6)
    for k, name in enumerate(names):
        own, look = layers(kept, name), every.of(name)
        table = correlate(kept, target, [*(str(Label.parse(name).at(layer=layer)) for layer in own), name])
        at = places[[*(order.index(layer) for layer in own), len(order)]] + 0.2 * (k - (len(names) - 1) / 2)
        low, high = table["pearson"] - table["pearson.low"], table["pearson.high"] - table["pearson"]
        bars = np.nan_to_num(np.stack([low, high]), nan=0.0)
        axes.errorbar(
            at, table["pearson"], bars, color=look.colour, marker=look.marker, markersize=2.5,
            linestyle="", elinewidth=0.8, label=measure_words(name),
        )  # fmt: skip
        axes.plot(at[:-1], table["pearson"].iloc[:-1], color=look.colour, linewidth=0.6)
    axes.set_xticks(places, [*order, "sum"], rotation=90)
