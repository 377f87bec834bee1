"""Heat map of psi: which measure agrees with the gap along which hyperparameter."""

from __future__ import annotations

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.columns import at_stop, axes, targets
from analysis.drawing import style
from analysis.drawing.pages import figure_of_rows
from analysis.exclude import exclude
from analysis.figures import Lacking
from analysis.selection import of_half, trained
from analysis.statistics.grid.granulated import granulated
from analysis.vocabulary import hyperparameter_words, measure_words

TITLE = "Granulated rank correlation: agreement with the gap along each hyperparameter (ψ) and on average (Ψ)"

_NARROW = 3  # hyperparameters that one column has room for; ours
_BELOW = 1.2  # inches that slanted words and the bar of colours take below a part; ours


def build(frame: pd.DataFrame) -> Figure:
    """Measures that half of the networks have down, hyperparameters across, Psi last; main stop, first target.

    A missing psi is left grey.
    """
    kept, _ = exclude(at_stop(frame))
    available, across = targets(kept), axes(kept)
    if not available or not across:
        raise Lacking("a gap and a hyperparameter with two values among the networks kept")
    names, without = of_half(kept, trained(kept), available[0])
    table = granulated(kept, available[0], names).pivot_table(
        index="measure", columns="axis", values="psi", dropna=False
    )
    table = table.loc[names, [*across, "all"]].astype(float)
    if table.isna().all(axis=None):
        raise Lacking("two networks kept that differ in one hyperparameter alone")
    heads = [*(hyperparameter_words(a) for a in across), r"$\Psi$"]
    is_room = len(names) <= 25 and len(across) <= 15
    with style.paper_style():
        figure, parts = figure_of_rows(names, style.COLUMN if len(across) <= _NARROW else style.PAGE, _BELOW)
        for place, rows in parts:
            _panel(place.subplots(), table.iloc[rows], heads, is_room)
    figure.set_label(without)
    return figure


def _panel(panel: Axes, table: pd.DataFrame, heads: list[str], is_room: bool) -> None:
    height = style.of_rows(len(table))[1] + _BELOW
    panel.set_facecolor("#dddddd")
    sns.heatmap(
        table, ax=panel, vmin=-1, vmax=1, cmap="RdBu_r", annot=table.map(style.two) if is_room else None, fmt="",
        annot_kws={"fontsize": style.SMALL}, linewidths=0.5, mask=np.isnan(table),
        cbar_kws={"label": r"$\psi$", "location": "bottom", "aspect": 30, "fraction": 0.4 / height, "pad": 0.1 / height,
                  "ticks": [-1, -0.5, 0, 0.5, 1]},
    )  # fmt: skip
    panel.set_yticks(np.arange(len(table)) + 0.5, [measure_words(m) for m in table.index], rotation=0)
    panel.set_xticks(np.arange(len(heads)) + 0.5, heads, rotation=30, ha="right", rotation_mode="anchor")
    panel.set(xlabel="", ylabel="")
    panel.tick_params(length=0)
