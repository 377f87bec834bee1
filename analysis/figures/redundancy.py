"""Heat map of tau-b among measures, clustered: which of them say the same of the same networks."""

from __future__ import annotations

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from analysis.columns import at_stop
from analysis.drawing import style
from analysis.exclude import exclude
from analysis.figures import Lacking
from analysis.selection import trained
from analysis.statistics.redundancy import agreement
from analysis.vocabulary import measure_words

TITLE = "Which measures say the same: rank correlation (τ_b) of every two, those that agree side by side"

_ANNOTATED = 14  # measures with room for a number in each cell; ours


def build(frame: pd.DataFrame) -> Figure:
    """Measures down and across in the order of average linkage on 1 - |tau-b|; at the main stop. Missing is grey."""
    kept, _ = exclude(at_stop(frame))
    names = trained(kept)
    table = agreement(kept, names)
    off = table.to_numpy()[~np.eye(len(table), dtype=bool)]
    if len(names) < 2 or np.isnan(off).all():
        raise Lacking("two measures that vary among the networks kept")
    width = style.COLUMN if len(names) <= 6 else style.PAGE
    with style.paper_style():
        figure = Figure(figsize=(width, min(width, 1.6 + 0.22 * len(names))))
        panel = figure.subplots()
        panel.set_facecolor("#dddddd")
        sns.heatmap(
            table, ax=panel, vmin=-1, vmax=1, cmap="RdBu_r", fmt="", linewidths=0.3, mask=np.isnan(table),
            annot=table.map(style.two) if len(names) <= _ANNOTATED else None, annot_kws={"fontsize": style.SMALL},
            cbar_kws={"label": r"$\tau_b$", "aspect": 30, "ticks": [-1, -0.5, 0, 0.5, 1]},
        )  # fmt: skip
        words = [measure_words(name) for name in table.index]
        panel.set_yticks(np.arange(len(words)) + 0.5, words, rotation=0)
        panel.set_xticks(np.arange(len(words)) + 0.5, words, rotation=45, ha="right", rotation_mode="anchor")
        panel.set(xlabel="", ylabel="")
        panel.tick_params(length=0)
    return figure
