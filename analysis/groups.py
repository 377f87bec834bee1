"""Which networks share a setting, as a figure shows it: by colour of one axis, by marker of another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from analysis import style
from analysis.load import axes, axis_columns, codes


@dataclass(frozen=True)
class Groups:
    """Of each network (n,): its colour and marker; and what a legend says of them."""

    colour: NDArray[np.str_]
    marker: NDArray[np.str_]
    legend: tuple[Artist, ...]

    def scatter(self, where: Axes, x: NDArray[np.float64], y: NDArray[np.float64], size: float = 7) -> None:
        """Draw the networks at which both are finite."""
        there = np.isfinite(x) & np.isfinite(y)
        for marker in np.unique(self.marker[there]):
            at = there & (self.marker == marker)
            where.scatter(x[at], y[at], s=size, marker=marker, color=list(self.colour[at]), alpha=0.65, linewidths=0)


def groups(frame: pd.DataFrame) -> Groups | None:
    """Groups of a grid of two axes with no more settings than there are colours; None of any other grid.

    The first axis is told by marker, the second by colour.
    """
    grid = axes(frame)
    if len(grid) != 2:
        return None
    columns = [axis_columns([axis]) for axis in grid]
    marker, colour = (codes(frame, c) for c in columns)
    if marker.max() >= len(style.MARKERS) or colour.max() >= len(style.CYCLE):
        return None
    legend: list[Artist] = []
    for axis, names, level in zip(grid, columns, (marker, colour), strict=True):
        legend.append(Line2D([], [], linestyle="", label=f"{style.hyperparameter(axis)}:"))
        for value in range(int(level.max()) + 1):
            words = ", ".join(str(frame.loc[level == value, name].iloc[0]) for name in names)
            look = (style.MARKERS[value], style.GREY) if level is marker else ("o", style.CYCLE[value])
            legend.append(Line2D([], [], linestyle="", marker=look[0], color=look[1], markersize=4, label=words))
    return Groups(np.array(style.CYCLE)[colour], np.array(style.MARKERS)[marker], tuple(legend))


def legend(figure: FigureBase, of: Groups | None) -> None:
    """Say below a figure what its colours and markers are, an axis a line; nothing without groups."""
    if of is None:
        return
    heads = [i for i, a in enumerate(of.legend) if str(a.get_label()).endswith(":")]
    longest = max(np.diff([*heads, len(of.legend)]))
    # matplotlib fills columns first: padded to equal length, each axis is a line.
    lines = [list(part) for part in np.split(np.array(of.legend, dtype=object), heads[1:])]
    padded = [line + [Line2D([], [], linestyle="", label=" ")] * (longest - len(line)) for line in lines]
    handles = [line[i] for i in range(longest) for line in padded]
    figure.legend(handles=handles, loc="outside lower center", ncols=int(longest), fontsize=6.5, handletextpad=0.2)
