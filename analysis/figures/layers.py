"""Per-layer profile: tau-b of each layerwise measure with the gap, layer by layer in network order."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.columns import at_stop, layers, targets
from analysis.drawing import style
from analysis.drawing.looks import looks
from analysis.exclude import exclude
from analysis.figures import Lacking
from analysis.selection import trained
from analysis.statistics.association.correlation import correlate
from analysis.vocabulary import measure_words, target_words
from study.names import Label

TITLE = "Rank correlation with the gap, layer by layer; bars are 95% intervals for new levels"
_ROOM = 24  # bars that one column has room for; ours


def build(frame: pd.DataFrame) -> Figure:
    """One line a measure (no transformed ones) over the layers; at the main stop, first target."""
    kept, _ = exclude(at_stop(frame))
    names = [m for m in trained(kept) if layers(kept, m)]
    available = targets(kept)
    if len(kept) < 2 or not available or not names:
        raise Lacking("a measure with a column a layer (measure.<label>.<layer>) and two networks with a gap")
    every = looks(frame)
    order = list(dict.fromkeys(layer for m in names for layer in layers(kept, m)))
    with style.paper_style():
        is_wide = len(order) * len(names) > _ROOM
        figure = Figure(figsize=(style.PAGE if is_wide else style.COLUMN, 1.95))
        axes = figure.subplots()
        axes.axhline(0, **style.ZERO)
        for k, name in enumerate(names):
            own = layers(kept, name)
            table = correlate(kept, available[0], [str(Label.parse(name).at(layer=layer)) for layer in own])
            look = every.of(name)
            at = np.array([order.index(layer) for layer in own]) + 0.08 * (k - (len(names) - 1) / 2)
            low, high = table["tau_b"] - table["tau_b.low"], table["tau_b.high"] - table["tau_b"]
            bars = np.nan_to_num(np.stack([low, high]), nan=0.0)
            axes.errorbar(
                at, table["tau_b"], bars, color=look.colour, marker=look.marker, markersize=3.5, linewidth=0.8,
                elinewidth=0.8, label=measure_words(name),
            )  # fmt: skip
        axes.set_xticks(range(len(order)), order)
        axes.set(xlabel="layer", ylabel=rf"$\tau_b$ with the {target_words(available[0])}")
        style.coefficients(axes)
        style.legend(figure, *axes.get_legend_handles_labels())
    return figure
