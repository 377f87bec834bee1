"""Logarithmic axes whose labels fit: some over any range, none in another's place."""

from __future__ import annotations

import math
from itertools import pairwise

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, Locator, LogLocator, MaxNLocator, NullFormatter

_DIGIT = 0.64  # of the font's size is a digit wide, in the style's font


def logarithmic(axes: Axes) -> None:
    """A logarithmic x axis with a label a decade; where that is one label at most, plain numbers at finer steps.

    Of those as many as stand side by side in the width that the axes have when they are drawn, four at most.
    """
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(_Spaced(axes))
    if _candidates(*axes.get_xlim())[1]:
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
        axes.xaxis.set_minor_locator(LogLocator(subs=range(1, 10)))  # a decade without a label keeps its tick
    axes.xaxis.set_minor_formatter(NullFormatter())


class _Spaced(Locator):
    """Asked at each drawing, when the layout has settled how wide the axes are."""

    def __init__(self, axes: Axes) -> None:
        self.axes = axes
        self.size = float(axes.xaxis.get_major_ticks()[0].label1.get_fontsize())

    def __call__(self) -> list[float]:
        low, high = self.axes.get_xlim()
        ticks, plain = _candidates(low, high)
        if len(ticks) < 2:
            return list(MaxNLocator(2).tick_values(low, high))
        letter = _DIGIT * self.size / 72 * self.axes.figure.dpi / self.axes.bbox.width  # as a part of the axis

        def crowded(ticks: list[float]) -> bool:
            labels = [(math.log(at / low, high / low), len(f"{at:g}") if plain else 3) for at in ticks]
            return any(b - a < letter * ((m + n) / 2 + 1) for (a, m), (b, n) in pairwise(labels))

        strides = range(-(-len(ticks) // 4), len(ticks))
        return next((ticks[::k] for k in strides if not crowded(ticks[::k])), [ticks[0], ticks[-1]])


def _candidates(low: float, high: float) -> tuple[list[float], bool]:
    """Powers of ten between the two, or finer steps where they are few; whether plain numbers are short enough."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1,), (1, 3), (1, 2, 5)):
        ticks = [at for decade in decades for step in steps if low <= (at := step * 10.0**decade) <= high]
        if len(ticks) > 1:
            break
    return ticks, len(steps) > 1 and low > 1e-3 and high < 1e5
