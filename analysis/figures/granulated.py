"""Heat map of psi: which measure agrees with the gap along which hyperparameter."""

from __future__ import annotations

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from analysis.columns import at_stop, axes, targets
from analysis.drawing import style
from analysis.exclude import exclude
from analysis.figures import Lacking
from analysis.selection import trained
from analysis.statistics.granulated import granulated
from analysis.vocabulary import hyperparameter_words, measure_words

TITLE = "Granulated rank correlation: agreement with the gap along each hyperparameter (ψ) and on average (Ψ)"

_NARROW = 3  # hyperparameters that one column has room for; ours


def build(frame: pd.DataFrame) -> Figure:
    """Measures down, hyperparameters across, Psi last; at the main stop, first target. A missing psi is left grey."""
    kept, _ = exclude(at_stop(frame))
    available, across = targets(kept), axes(kept)
    if not available or not across:
        raise Lacking("a gap and a hyperparameter with two values among the networks kept")
    names = trained(kept)
    table = granulated(kept, available[0], names).pivot_table(
        index="measure", columns="axis", values="psi", dropna=False
    )
    table = table.loc[names, [*across, "all"]]
    if table.isna().all(axis=None):
        raise Lacking("two networks kept that differ in one hyperparameter alone")
    words = table.map(style.two)
    is_room = len(names) <= 25 and len(across) <= 15
    width = style.COLUMN if len(across) <= _NARROW else style.PAGE
    with style.paper_style():
        figure = Figure(figsize=(width, 1.2 + 0.2 * len(names)))
        panel = figure.subplots()
        panel.set_facecolor("#dddddd")
        sns.heatmap(
            table.astype(float), ax=panel, vmin=-1, vmax=1, cmap="RdBu_r", annot=words if is_room else None, fmt="",
            annot_kws={"fontsize": style.SMALL}, linewidths=0.5,
            cbar_kws={"label": r"$\psi$", "location": "bottom", "aspect": 30, "ticks": [-1, -0.5, 0, 0.5, 1]},
            mask=np.isnan(table.astype(float)),
        )  # fmt: skip
        panel.set_yticklabels([measure_words(m) for m in names], rotation=0)
        heads = [hyperparameter_words(a) for a in across]
        panel.set_xticklabels([*heads, r"$\Psi$"], rotation=30, ha="right", rotation_mode="anchor")
        panel.set(xlabel="", ylabel="")
        panel.tick_params(length=0)
    return figure
