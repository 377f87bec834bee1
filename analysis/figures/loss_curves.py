"""Training loss of every network against epochs, on logarithmic axes."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.collections import LineCollection
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from analysis.drawing import style
from analysis.drawing.ticks import logarithmic
from analysis.figures import Lacking

TITLE = "Training loss of every network; the colour is its loss at the last epoch"
FRAME = "curves"
_ROUND = [float(f"{step}e{power}") for power in range(-9, 4) for step in (1, 3)]  # ticks of the colourbar
USE = "diagnostic"


def build(frame: pd.DataFrame) -> Figure:
    """From the curves frame (key, epoch, train.loss): one line a network."""
    if not {"key", "epoch", "train.loss"} <= set(frame.columns) or len(frame) == 0:
        raise Lacking("curves.csv beside the records (key, epoch, train.loss)")
    lines = []
    for _, run in frame.sort_values(["key", "epoch"]).groupby("key", sort=True):
        loss = run["train.loss"].to_numpy(dtype=float)
        known = np.isfinite(loss) & (loss > 0)
        if known.sum() > 1:
            lines.append(np.column_stack([run["epoch"].to_numpy(dtype=float)[known], loss[known]]))
    if not lines:
        raise Lacking("a network with two epochs of finite training loss")
    with style.paper_style():
        figure = Figure(figsize=(style.COLUMN, 2.2))
        axes = figure.subplots()
        last = np.array([line[-1, 1] for line in lines])
        scale = LogNorm(last.min(), last.max() * (1 + 1e-9))  # of equal ends it has no middle
        curves = LineCollection(lines, array=last, norm=scale, cmap="viridis", linewidths=0.5)
        curves.set_rasterized(len(lines) > 300)
        axes.add_collection(curves)
        axes.set(yscale="log", xlabel="epoch", ylabel="training loss (nats)")
        axes.autoscale()
        logarithmic(axes, whole=True)
        bar = figure.colorbar(curves, ax=axes, label="at the last epoch", format=lambda at, _: f"{at:.3g}")
        bar.set_ticks([at for at in _ROUND if last.min() <= at <= last.max()] or [float(last.min())])
        bar.minorticks_off()
    return figure
