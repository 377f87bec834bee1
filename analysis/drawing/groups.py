"""Which networks share a setting, as a figure shows it: by colour and marker of one axis, or of two axes apart."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, repeat

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from analysis.columns import axes, axis_columns, codes
from analysis.drawing import style
from analysis.drawing.looks import Look, distinct
from analysis.statistics.grid.explained import explained
from analysis.vocabulary import hyperparameter_words, level_words, target_words

Floats = NDArray[np.float64]
_LISTED = 5  # numbers of an axis of many that a legend names
_NAMES = 24  # that a legend has room for
_PART = 1000  # points that are drawn one marker after another
_LIGHTEST = 0.85  # of the scale from dark to light: beyond, white paper does not carry it


@dataclass(frozen=True)
class Groups:
    """Of each run, by its key: its colour and marker; what a legend says of them, by axis; and what a caption says."""

    look: Mapping[str, Look]
    legend: Mapping[str, Sequence[Artist]]
    caption: str = ""

    def scatter(
        self, where: Axes, frame: pd.DataFrame, x: Floats, y: Floats, size: float = 7, rasterized: bool = False
    ) -> None:
        """Draw the rows of `frame` at which x and y (n,) are finite."""
        there = np.isfinite(x) & np.isfinite(y)
        looks = [self.look[key] for key in frame["key"]]
        # In an order by chance, one part after another, so that no level of many points lies on all others.
        order = np.random.default_rng(0).permutation(np.flatnonzero(there))
        for part in np.array_split(order, max(1, len(order) // _PART)):
            for sign in sorted({looks[i].marker for i in part}):
                at = [i for i in part if looks[i].marker == sign]
                where.scatter(x[at], y[at], s=size, marker=sign, color=[looks[i].colour for i in at], alpha=0.65,
                              linewidths=0, rasterized=rasterized)  # fmt: skip


def groups(frame: pd.DataFrame) -> Groups | None:
    """Groups of a grid of two axes with no more settings than there are colours; None of any other grid.

    The first axis is told by marker, the second by colour. `frame` holds all runs that a figure shows, so that a
    setting looks the same in each of its panels, whatever runs a panel leaves out.
    """
    grid = axes(frame)
    if len(grid) != 2:
        return None
    marker, colour = (codes(frame, axis_columns([axis])) for axis in grid)
    if marker.max() >= len(style.MARKERS) or colour.max() >= len(style.CYCLE):
        return None
    looks = [Look(style.CYCLE[c], style.MARKERS[m]) for c, m in zip(colour.tolist(), marker.tolist(), strict=True)]
    by_marker = [_point(words, style.GREY, style.MARKERS[k]) for k, words in enumerate(_settings(frame, grid[0]))]
    by_colour = [_point(words, style.CYCLE[k], "o") for k, words in enumerate(_settings(frame, grid[1]))]
    legend = {hyperparameter_words(grid[0]): by_marker, hyperparameter_words(grid[1]): by_colour}
    return Groups(dict(zip(frame["key"], looks, strict=True)), legend)


def by_main_axis(kept: pd.DataFrame, target: str, shown: pd.DataFrame | None = None) -> Groups | None:
    """Groups of the axis whose levels explain most of the variance of the target's ranks; None without an axis.

    Judged by the rows kept at one stop; `shown` are all that a figure shows, of any stop (default: those). Levels that
    are numbers go from dark to light; an axis of more names than a legend has room for gives way to the next.
    """
    frame = kept if shown is None else shown
    shares = explained(kept, target)
    fit = [axis for axis in shares if _is_number(frame, axis) or codes(frame, axis_columns([axis])).max() < _NAMES]
    if not fit:
        return None
    axis, names = fit[0], _settings(frame, fit[0])
    of_level = _levels(len(names), _is_number(frame, axis))
    listed = range(len(names))
    if _is_number(frame, axis) and len(names) > len(style.MARKERS):
        listed = np.linspace(0, len(names) - 1, _LISTED).round().astype(int).tolist()
    words = hyperparameter_words(axis)
    among = "axis" if axis == next(iter(shares)) else f"axis of at most {_NAMES} names"
    caption = (
        f"a colour is a level of {words}, the {among} whose levels explain the largest part of the variance of the "
        f"{target_words(target)}'s ranks ({max(shares[axis], 0):.0%}, R² adjusted for how many levels there are)"
    )
    level = codes(frame, axis_columns([axis])).tolist()
    looks = {key: of_level[k] for key, k in zip(frame["key"], level, strict=True)}
    return Groups(looks, {words: [_point(names[k], *of_level[k]) for k in listed]}, caption)


def shades(frame: pd.DataFrame) -> dict[str, dict[object, str]]:
    """Of each hyperparameter that varies, the colour of each of its values: what the figures of the frame give them.

    Not of one with more names than there are colours, which figures tell apart by markers.
    """
    grid = axes(frame)
    of_two = groups(frame) is not None
    found: dict[str, dict[object, str]] = {}
    for axis in grid:
        columns = axis_columns([axis])
        level = codes(frame, columns)
        every = _levels(int(level.max()) + 1, not of_two and _is_number(frame, axis))
        if len({look.colour for look in every}) < len(every):
            continue
        for column in columns:
            values = frame[column].astype(object).where(frame[column].notna(), None)
            found[column] = {value: every[k].colour for value, k in zip(values.tolist(), level.tolist(), strict=True)}
    return found


def _is_number(frame: pd.DataFrame, axis: str) -> bool:
    """Of hyperparameters that were changed together, the first decides."""
    return pd.api.types.is_numeric_dtype(frame[axis_columns([axis])[0]])


def _levels(n: int, is_number: bool) -> list[Look]:
    """What levels look like: colour and marker each, but for a scale of more numbers than there are markers."""
    if not is_number:
        return list(map(Look, style.CYCLE, style.MARKERS))[:n] if n <= len(style.CYCLE) else list(islice(distinct(), n))
    shades = [to_hex(shade) for shade in mpl.colormaps["viridis"](np.linspace(0, _LIGHTEST, n))]
    return list(map(Look, shades, style.MARKERS if n <= len(style.MARKERS) else repeat("o")))


def alike(frame: pd.DataFrame, look: Look) -> Groups:
    """No groups: every run looks the same, and no legend says so."""
    return Groups(dict.fromkeys(frame["key"], look), {})


def legend(figure: Figure, of: Groups | None) -> None:
    """Say below a figure what its colours and markers are, an axis a line; nothing without groups."""
    if of is None or not of.legend:
        return
    longest = max(map(len, of.legend.values()))
    # matplotlib fills columns first: padded to equal length, each axis is a line.
    lines = [
        [_point(f"{axis}:", "none", ""), *points, *[_point(" ", "none", "")] * (longest - len(points))]
        for axis, points in of.legend.items()
    ]
    handles, title = [line[i] for i in range(longest + 1) for line in lines], ""
    columns = style.beside([str(handle.get_label()) for handle in handles], figure.get_figwidth())
    if columns <= longest and len(lines) == 1:  # the axis above, its levels in several lines
        title, handles = f"{next(iter(of.legend))}:", lines[0][1:]
    else:
        columns = longest + 1
    figure.set_figheight(figure.get_figheight() + style.LINE * (math.ceil(len(handles) / columns) + bool(title)))
    figure.legend(handles=handles, ncols=columns, title=title, loc="outside lower center", **style.LEGEND)


def _point(words: str, colour: str, marker: str) -> Line2D:
    return Line2D([], [], linestyle="", marker=marker, color=colour, markersize=4, label=words)


def _settings(frame: pd.DataFrame, axis: str) -> list[str]:
    """The settings of an axis in words, in the order of their codes."""
    columns = axis_columns([axis])
    first = np.unique(codes(frame, columns), return_index=True)[1]
    return [", ".join(level_words(frame[c].iloc[at]) for c in columns) for at in first]
