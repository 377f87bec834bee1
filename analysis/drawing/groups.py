"""Which networks share a setting, as a figure shows it: by colour of one axis, by marker of another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from analysis.columns import axes, axis_columns, codes
from analysis.drawing import style
from analysis.vocabulary import hyperparameter_words

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Groups:
    """Of each run, by its key: its colour and marker; and what a legend says of them."""

    look: Mapping[str, tuple[str, str]]
    legend: tuple[Artist, ...]

    def scatter(self, where: Axes, frame: pd.DataFrame, x: Floats, y: Floats) -> None:
        """Draw the rows of `frame` at which x and y (n,) are finite."""
        there = np.isfinite(x) & np.isfinite(y)
        colour, marker = np.array([self.look[key] for key in frame["key"]]).reshape(-1, 2).T
        for sign in np.unique(marker[there]):
            at = there & (marker == sign)
            where.scatter(x[at], y[at], s=7, marker=sign, color=list(colour[at]), alpha=0.65, linewidths=0)


def groups(frame: pd.DataFrame) -> Groups | None:
    """Groups of a grid of two axes with no more settings than there are colours; None of any other grid.

    The first axis is told by marker, the second by colour. `frame` holds all runs that a figure shows, so that a
    setting looks the same in each of its panels, whatever runs a panel leaves out.
    """
    grid = axes(frame)
    if len(grid) != 2:
        return None
    columns = [axis_columns([axis]) for axis in grid]
    marker, colour = (codes(frame, c) for c in columns)
    if marker.max() >= len(style.MARKERS) or colour.max() >= len(style.CYCLE):
        return None
    words: list[Artist] = []
    for axis, names, level in zip(grid, columns, (marker, colour), strict=True):
        words.append(Line2D([], [], linestyle="", label=f"{hyperparameter_words(axis)}:"))
        for value in range(int(level.max()) + 1):
            setting = ", ".join(str(frame.loc[level == value, name].iloc[0]) for name in names)
            sign, shade = (style.MARKERS[value], style.GREY) if level is marker else ("o", style.CYCLE[value])
            words.append(Line2D([], [], linestyle="", marker=sign, color=shade, markersize=4, label=setting))
    looks = zip(np.array(style.CYCLE)[colour].tolist(), np.array(style.MARKERS)[marker].tolist(), strict=True)
    return Groups(dict(zip(frame["key"], looks, strict=True)), tuple(words))


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
