"""Within what is it a correlation: r among all networks, among those that share a setting, and among seeds alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.columns import ABOUT, stops, targets
from analysis.drawing import style
from analysis.figures import Lacking
from analysis.selection import few, last_layer, trained
from analysis.statistics.association.permutation import WHOLE, settings, within_settings
from analysis.stopwise import stopwise
from analysis.vocabulary import measure_words, target_words

TITLE = (
    "Pearson's r of one measure of the last layer with each gap at every stop: of all networks, and of what is left "
    "when the mean of the networks that share a setting is removed; bars are 95% intervals"
)
NEEDS = "a measure of several layers, a gap, and a grid of two axes at several stops"
_TARGETS = ("gap.loss", "gap.error")


def build(frame: pd.DataFrame, measures: Sequence[str] = ()) -> Figure:
    """A panel a gap, a group of points a stop, one a setting; the first of the measures. Raises Lacking without several
    stops and two axes."""
    shown = few(measures, [m for m in trained(frame) if last_layer(frame, m)], 1)
    label = last_layer(frame, shown[0]) if shown else ""
    found = targets(frame)
    available = found if ABOUT in frame.attrs else [target for target in _TARGETS if target in found]
    if not label or not available or len(stops(frame)) < 2 or len(settings(frame)) < 3:
        raise Lacking(NEEDS)
    rows = stopwise(frame, lambda kept, target: within_settings(kept, target, [label], 0), TITLE, "", every_target=True)
    with style.paper_style():
        figure = Figure(figsize=(style.COLUMN, 1.55 * len(available) + 0.28))
        grid = figure.subplots(len(available), 1, sharex=True, squeeze=False)[:, 0]
        for axes, target in zip(grid, available, strict=True):
            _panel(axes, rows[rows["target"] == target], stops(frame))
            axes.set_ylabel(f"$r$, {target_words(target)}")
        grid[0].set_title(measure_words(label))
        style.legend(figure, *grid[0].get_legend_handles_labels())
    return figure


def _panel(axes: Axes, rows: pd.DataFrame, order: list[str]) -> None:
    within = list(dict.fromkeys(rows["within"]))
    axes.axhline(0, **style.ZERO)
    for k, setting in enumerate(within):
        part = rows[rows["within"] == setting].set_index("stop").reindex(order)
        at = np.arange(len(order)) + 0.17 * (k - (len(within) - 1) / 2)
        ends = np.stack([part["pearson"] - part["pearson.low"], part["pearson.high"] - part["pearson"]])
        words = "all networks" if setting == WHOLE else f"within {setting}"
        axes.errorbar(
            at, part["pearson"], np.nan_to_num(ends, nan=0.0), color=style.CYCLE[k], marker=style.MARKERS[k],
            markersize=3, linestyle="", elinewidth=0.8, label=words,
        )  # fmt: skip
    axes.set(ylim=(-1.05, 1.05), yticks=[-1, -0.5, 0, 0.5, 1])
    axes.set_xticks(range(len(order)), [stop.replace("_", "\n") for stop in order])
