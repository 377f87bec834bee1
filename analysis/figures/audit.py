"""The invariance audit as a heat map: how far each measure moves when weights change and the function does not."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from analysis.drawing import style
from analysis.figures import Lacking
from analysis.statistics.invariance import NEEDS, TRANSFORMS, by_network
from analysis.vocabulary import measure_words, ordered

TITLE = (
    "Largest relative change of each measure over all changes of the weights that keep the network's function: white "
    "the same to rounding or standard errors, an arrow where it grows with the factor without end, grey no value; of "
    "many columns a dot stands for a change below .01"
)
FRAME = "audit"
_LOW, _HIGH = -2.0, 6.0  # decades of a relative change from the lightest colour to the darkest
_ROW = 0.15  # inches, less where a page would not hold them
_MANY = 8  # columns on a page whose cells have no room for more than three characters
_FEW = 3  # columns whose numbers have room in one column of a page


def build(frame: pd.DataFrame) -> Figure:
    """From the audit frame: a row a measure, a column a transformation and network. Raises Lacking without one."""
    if len(frame) == 0:
        raise Lacking(NEEDS)
    found = by_network(frame)
    names, columns = ordered(found["measure"].unique()), _columns(found)
    cells = {(row["measure"], row["transform"], row["network"]): row for row in found.to_dict("records")}
    colours = np.ones((len(names), len(columns), 4))
    with style.paper_style():
        width = style.COLUMN if len(columns) <= _FEW else style.PAGE
        figure = Figure(figsize=(width, min(0.7 + _ROW * len(names), style.HEIGHT)))
        axes = figure.subplots()
        for i, name in enumerate(names):
            for j, column in enumerate(columns):
                cell = cells.get((name, *column), {"kind": "none", "change": np.nan})
                colours[i, j], words, ink = _cell(cell["kind"], cell["change"])
                words = _short(words) if len(columns) > _MANY else words
                axes.text(j, i, words, ha="center", va="center", fontsize=style.SMALL, color=ink)
        axes.imshow(colours, aspect="auto", interpolation="nearest")
        axes.set_yticks(range(len(names)), [measure_words(name) for name in names])
        _name_columns(axes, columns)
        axes.set_yticks(np.arange(len(names) - 1) + 0.5, minor=True)
        axes.grid(which="minor", color="#DDDDDD", linewidth=0.4)
        axes.tick_params(which="both", length=0)
    return figure


def _columns(found: pd.DataFrame) -> list[tuple[str, str]]:
    """Transformation and network, as there are rows of both."""
    there = set(zip(found["transform"], found["network"], strict=True))
    networks = sorted(found["network"].unique())
    return [(t, network) for t in TRANSFORMS for network in networks if (t, network) in there]


def _name_columns(axes: Axes, columns: list[tuple[str, str]]) -> None:
    """By the transformation; of several networks by the network, with the transformation above its columns."""
    transforms = [transform for transform, _ in columns]
    several = len({network for _, network in columns}) > 1
    axes.set_xticks(range(len(columns)), [n if several else t for t, n in columns], rotation=30, ha="right")
    axes.set_xticks(np.arange(len(columns) - 1) + 0.5, minor=True)
    for transform in dict.fromkeys(transforms) if several else ():
        first, n = transforms.index(transform), transforms.count(transform)
        axes.text(first + (n - 1) / 2, -0.7, transform, ha="center", va="bottom", fontsize=style.SMALL)
        if first:
            axes.axvline(first - 0.5, color=style.BLACK, linewidth=0.8)


def _cell(kind: str, change: float) -> tuple[NDArray[np.float64], str, str]:
    """The colour of a cell, what stands in it, and the colour of that."""
    if kind in ("same", "lost", "none"):
        return np.array(mpl.colors.to_rgba("white" if kind == "same" else "#DDDDDD")), "", style.BLACK
    decades = np.log10(change) if np.isfinite(change) and change > 0 else _HIGH
    share = float(np.clip((decades - _LOW) / (_HIGH - _LOW), 0.05, 1.0))
    if 0.01 <= change < 1000:
        words = f"{change:.2g}" if change < 10 else f"{change:.0f}"
    else:
        words = f"1e{round(decades)}" if change >= 1000 else f"{change:.0e}".replace("e-0", "e-")
    return (
        np.array(mpl.colormaps["Blues"](0.85 * share)),
        f"↑{words}" if kind == "arbitrary" else words,
        "white" if share > 0.6 else style.BLACK,
    )


def _short(words: str) -> str:
    """An arrow alone, since how far is the factor's choice; a dot below .01; a digit, or two above a tenth."""
    if not words or words.startswith("↑"):
        return words.partition("↑")[1]
    change = float(words)
    if change < 0.01:
        return "·"
    return f"{change:.1g}"[1:] if change < 0.1 else words.removeprefix("0")
