"""Logarithmic axes whose labels fit: some over any range, none in another's place."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, Locator, LogLocator, MaxNLocator, NullFormatter

_DIGIT = 0.64  # of the font's size is a digit wide, in the style's font


def logarithmic(axes: Axes) -> None:
    """A logarithmic x axis with a label a decade; where that is one label at most, plain numbers at finer steps.

    Of those as many as stand side by side in the width that the axes have when they are drawn: four at most, or one.
    """
    axes.set_xscale("log")
    spaced = _Spaced(axes)
    axes.xaxis.set_major_locator(spaced)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: spaced.texts.get(x, "")))
    low, high = axes.get_xlim()
    axes.xaxis.set_minor_locator(LogLocator(subs=range(1, 10) if high / low < 1e4 else (1,), numticks=30))
    axes.xaxis.set_minor_formatter(NullFormatter())


class _Spaced(Locator):
    """Asked at each drawing, when the layout has settled how wide the axes are."""

    def __init__(self, axes: Axes) -> None:
        self.axes = axes
        self.size = float(axes.xaxis.get_major_ticks()[0].label1.get_fontsize())
        self.texts: dict[float, str] = {}

    def __call__(self) -> list[float]:
        low, high = self.axes.get_xlim()
        letter = _DIGIT * self.size / 72 * self.axes.figure.dpi / self.axes.bbox.width  # as a part of the axis
        self.texts = _labels(low, high, letter)
        return list(self.texts)


def _labels(low: float, high: float, letter: float) -> dict[float, str]:
    """Where labels stand between the two, and what they read; a letter's width is given as a part of the axis."""
    few: list[float] = []  # the coarsest that there are, should no two of any stand side by side
    for plain, ticks in _candidates(low, high):
        few = few or ticks[len(ticks) // 2 :][:1]
        for stride in range(-(-len(ticks) // 4), len(ticks)):
            texts = {at: _text(at, plain) for at in ticks[::stride]}
            ends = [(math.log(at / low, high / low), _width(text) * letter / 2) for at, text in texts.items()]
            if all(b - a >= left + right + letter for (a, left), (b, right) in pairwise(ends)):
                return texts
    return {at: _text(at, low > 1e-3 and high < 1e5) for at in few}


def _candidates(low: float, high: float) -> Iterator[tuple[bool, list[float]]]:
    """Powers of ten between the two, then finer steps; whether plain numbers are short enough for them."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    plain = low > 1e-3 and high < 1e5
    for steps in ((1,), (1, 3), (1, 2, 5)):
        ticks = [float(f"{step}e{decade}") for decade in decades for step in steps]
        yield plain and len(steps) > 1, [at for at in ticks if low <= at <= high]
    yield plain, [float(at) for at in MaxNLocator(3).tick_values(low, high) if low <= at <= high]


def _text(at: float, plain: bool) -> str:
    """A plain number, or a power of ten with what stands before it."""
    if plain:
        return f"{at:.10g}"
    digits, power = f"{at:.6e}".split("e")
    before = "" if float(digits) == 1 else rf"{float(digits):g} \times "
    return f"${before}10^{{{int(power)}}}$"


def _width(text: str) -> float:
    """In digits; an exponent is set smaller."""
    before, power, exponent = text.replace(r" \times ", "xx").strip("$}").partition("^{")
    return len(before) + (0.75 * (len(exponent) + 0.3) if power else 0)
