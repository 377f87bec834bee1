"""The loss along a direction, for one network before and after reparameterization, raw and normalized per layer.

Raw, the same network looks sharper or flatter when its weights are rescaled; with the direction scaled to each layer's
norm (Li et al. 2018) the two slices agree. It is the picture that shows why a flatness measure must be invariant.
"""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from analysis.drawing import style
from analysis.figures import Lacking

TITLE = "Loss along one random direction, before and after reparameterization: raw, and normalized per layer"
FRAME = "slices"
USE = "diagnostic"
_COLUMNS = {"key", "transform", "normalization", "alpha", "loss"}


def build(frame: pd.DataFrame) -> Figure:
    """From the slices frame (key, transform, normalization, alpha, loss): panel a normalization, line a transform."""
    if len(frame) == 0 or not _COLUMNS.issubset(frame.columns):
        raise Lacking("slices.csv beside the records (key, transform, normalization, alpha, loss)")
    one = frame[frame["key"] == sorted(frame["key"].unique())[0]]
    kinds = sorted(one["normalization"].unique(), reverse=True)
    with style.paper_style():
        figure = Figure(figsize=(style.COLUMN, 1.75))
        grid = figure.subplots(1, len(kinds), squeeze=False, sharey=True)[0]
        for axes, kind in zip(grid, kinds, strict=True):
            part = one[one["normalization"] == kind]
            names = sorted(part["transform"].unique(), key=lambda t: (t != "none", t))
            for k, transform in enumerate(names):
                ordered = part[part["transform"] == transform].sort_values("alpha")
                dashes = ("-", "--", ":", "-.")[k % 4]
                axes.plot(
                    ordered["alpha"],
                    ordered["loss"],
                    color=style.CYCLE[k],
                    linestyle=dashes,
                    label="as trained" if transform == "none" else f"reparameterized ({transform})",
                )
            axes.set(title=kind, xlabel=r"step $\alpha$")
        grid[0].set(ylabel="training loss (nats)", yscale="log")
        handles, names = grid[0].get_legend_handles_labels()
        style.legend(figure, handles, names)
    return figure
