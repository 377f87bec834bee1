"""How a measure is drawn: colours, markers, sizes, fonts. What it is called is a matter of vocabulary.py.

Colours are Okabe and Ito's, which readers with any common colour blindness tell apart; measures of one family share a
colour and differ in their marker. Sizes are those of a two-column paper.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl

from analysis.vocabulary import family, measure_words
from study.names import Label

COLUMN, PAGE = 3.3, 6.9  # inches: one column, and both
BLUE, ORANGE, GREEN, RED, PURPLE, SKY, YELLOW, GREY = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#B8A600", "#666666",
)  # fmt: skip
CYCLE = (BLUE, RED, GREEN, ORANGE, PURPLE, SKY, YELLOW, GREY)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")

_FAMILIES = {
    "relative flatness": BLUE,
    "flatness of 2019": SKY,
    "Hessian": RED,
    "perturbation": PURPLE,
    "norm": GREEN,
    "output": ORANGE,
}
_MARKERS = {
    "relative_flatness_normalized": "s",
    "kappa_2019": "^",
    "rho_max": "v",
    "rho_sum": "P",
    "lambda_max": "D",
    "pac_bayes_flatness": "s",
    "distance_from_init": "s",
    "train_loss": "s",
}


def colour(label: str) -> str:
    """The colour of a measure's family; grey for an unknown one."""
    return _FAMILIES.get(family(label), GREY)


def marker(label: str) -> str:
    """The marker of a measure, whatever its layer and transform."""
    return _MARKERS.get(Label.parse(label).measure, "o")


def panel_words(label: str) -> str:
    """A measure's words, broken into lines that fit below a panel of a row of five."""
    return textwrap.fill(measure_words(label), 19)


@contextmanager
def paper_style() -> Iterator[None]:
    """Draw in the project's one style: serif-free 8 pt, thin axes, embedded TrueType fonts, no display needed."""
    settings: dict[Any, Any] = {  # matplotlib names every key in its type
        "font.family": "DejaVu Sans", "font.size": 8, "axes.titlesize": 8, "axes.labelsize": 8,
        "xtick.labelsize": 7, "ytick.labelsize": 7, "legend.fontsize": 7, "legend.frameon": False,
        "axes.linewidth": 0.6, "xtick.major.width": 0.6, "ytick.major.width": 0.6, "lines.linewidth": 1.0,
        "axes.spines.top": False, "axes.spines.right": False, "axes.grid": False,
        "pdf.fonttype": 42, "ps.fonttype": 42, "savefig.dpi": 200, "figure.dpi": 100,
        "figure.constrained_layout.use": True, "axes.unicode_minus": True, "svg.hashsalt": "study",
    }  # fmt: skip
    with mpl.rc_context(settings):
        yield
