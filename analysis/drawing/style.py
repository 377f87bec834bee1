"""The one style of all figures: widths, type sizes, colours, markers. What a measure looks like: looks.py.

Colours are Okabe and Ito's, which readers with any common colour blindness tell apart, without their yellow, which
white paper does not carry. Every figure is one column wide or both, and has type of two sizes.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath
from matplotlib.ticker import MultipleLocator

from analysis.vocabulary import measure_words

COLUMN, PAGE = 3.3, 6.9  # inches: one column, and both
HEIGHT = 9.7  # inches that a figure has on a page of A4, above its caption; ours
TEXT, SMALL = 8, 7  # points: names of axes; ticks, panels, legends, numbers inside
LINE = 0.16  # inches that a line of a legend takes
MANY = 40  # rows, above which a figure of rows is a page: both columns wide, its lines close
LEGEND: dict[str, Any] = {"handlelength": 1.6, "handletextpad": 0.4, "columnspacing": 0.8}
BLUE, ORANGE, GREEN, RED, PURPLE, SKY, BLACK, GREY = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000", "#666666",
)  # fmt: skip
CYCLE = (BLUE, RED, GREEN, ORANGE, PURPLE, SKY, BLACK)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
ZERO: dict[str, Any] = {"color": "#999999", "linewidth": 0.6}  # the line that says where nothing is

_FONT = "DejaVu Sans"
_BESIDE = 0.28  # inches that a legend's column takes beside its words
_PANEL = 0.8  # of a panel's place are its axes


def panel_words(label: str, width: float) -> str:
    """A measure's words, broken into lines that fit below a panel of so many inches."""
    words = measure_words(label)
    return textwrap.fill(words, max(10, int(len(words) * _PANEL * width / inches(words, TEXT))))


def of_rows(n: int, few: float = COLUMN) -> tuple[float, float]:
    """Inches of a figure of n rows with words beside them: `few` wide while they are few, with its axis below."""
    return (few, 0.5 + 0.17 * n) if n <= MANY else (PAGE, 0.5 + 0.115 * n)


@cache
def inches(text: str, size: float = SMALL) -> float:
    """How wide a text is, without spaces at its ends."""
    return float(TextPath((0, 0), text, size=size, prop=FontProperties(family=_FONT)).get_extents().width) / 72


def coefficients(axes: Axes) -> None:
    """A y axis of correlations: as much of [-1, 1] as is drawn, zero among it."""
    low, high = axes.get_ylim()
    axes.set_ylim(max(-1.02, min(low, -0.05)), min(1.02, max(high, 0.05)))
    axes.yaxis.set_major_locator(MultipleLocator(0.5 if high - low > 1 else 0.25))


def legend(figure: Figure, handles: Sequence[Artist], words: Sequence[str]) -> None:
    """A legend below a figure, as many entries side by side as there is room for; the figure grows by its lines."""
    rows = math.ceil(len(words) / beside(words, figure.get_figwidth()))
    columns = math.ceil(len(words) / rows)
    figure.set_figheight(figure.get_figheight() + LINE * rows)
    figure.legend(handles, words, loc="outside lower center", ncols=columns, **LEGEND)


def beside(words: Sequence[str], width: float) -> int:
    """How many columns of a legend with these words fit in so many inches."""
    for columns in range(len(words), 1, -1):
        split = np.array_split(np.array(words, dtype=object), columns)  # as matplotlib does
        if sum(max(map(inches, column)) + _BESIDE for column in split) < width:
            return columns
    return 1


def two(value: float) -> str:
    """A coefficient in a figure: two decimals, a minus sign, no negative zero."""
    return "n/a" if math.isnan(value) else f"{value:.2f}".replace("-0.00", "0.00").replace("-", "−")


@contextmanager
def paper_style() -> Iterator[None]:
    """Draw in the project's one style: serif-free, thin axes, embedded TrueType fonts, no display needed."""
    settings: dict[Any, Any] = {  # matplotlib names every key in its type
        "font.family": _FONT, "font.size": TEXT, "axes.titlesize": SMALL, "axes.labelsize": TEXT,
        "figure.titlesize": TEXT, "figure.labelsize": TEXT, "legend.title_fontsize": SMALL,
        "xtick.labelsize": SMALL, "ytick.labelsize": SMALL, "legend.fontsize": SMALL, "legend.frameon": False,
        "axes.linewidth": 0.6, "xtick.major.width": 0.6, "ytick.major.width": 0.6, "lines.linewidth": 1.0,
        "axes.spines.top": False, "axes.spines.right": False, "axes.grid": False,
        "pdf.fonttype": 42, "ps.fonttype": 42, "savefig.dpi": 200, "figure.dpi": 100,
        "figure.constrained_layout.use": True, "axes.unicode_minus": True, "svg.hashsalt": "study",
    }  # fmt: skip
    with mpl.rc_context(settings):
        yield
