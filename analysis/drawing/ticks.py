"""Axes whose labels fit: some over any range, none in another's place."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import pairwise

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, Locator, LogLocator, MaxNLocator, NullFormatter

_DIGIT = 0.64  # of the font's size is a digit wide, in the style's font
_Ticks = tuple[bool, list[float]]  # whether plain numbers are short enough for them, and where they stand


def logarithmic(axes: Axes, whole: bool = False) -> None:
    """A logarithmic x axis with a label a decade; where that is one label at most, plain numbers at finer steps.

    `whole`: of what is counted, labels at whole numbers alone.

    Of those as many as stand side by side in the width that the axes have when they are drawn: four at most, or one.
    """
    axes.set_xscale("log")
    _label(axes, _whole if whole else _decades, math.log)
    low, high = axes.get_xlim()
    axes.xaxis.set_minor_locator(LogLocator(subs=range(1, 10) if high / low < 1e4 else (1,), numticks=30))
    axes.xaxis.set_minor_formatter(NullFormatter())


def counts(axes: Axes) -> None:
    """A linear x axis of what is counted: there is no half a network."""
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))


def linear(axes: Axes) -> None:
    """A linear x axis; where numbers are long, which matplotlib sets too close, as many as stand side by side."""
    if max(len(f"{abs(end):.0f}") for end in axes.get_xlim()) > 4:
        _label(axes, _rounds, float)


def _label(axes: Axes, ticks: Callable[[float, float], Iterator[_Ticks]], scale: Callable[[float], float]) -> None:
    spaced = _Spaced(axes, ticks, scale)
    axes.xaxis.set_major_locator(spaced)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: spaced.texts.get(x, "")))


class _Spaced(Locator):
    """Asked at each drawing, when the layout has settled how wide the axes are: the first ticks whose labels fit."""

    def __init__(
        self, axes: Axes, ticks: Callable[[float, float], Iterator[_Ticks]], scale: Callable[[float], float]
    ) -> None:
        self.axes, self.ticks, self.scale = axes, ticks, scale
        self.size = float(axes.xaxis.get_major_ticks()[0].label1.get_fontsize())
        self.texts: dict[float, str] = {}

    def __call__(self) -> list[float]:
        low, high = self.axes.get_xlim()
        letter = _DIGIT * self.size / 72 * self.axes.figure.dpi / self.axes.bbox.width  # as a part of the axis
        span = self.scale(high) - self.scale(low)
        self.texts = {}
        for plain, ticks in self.ticks(low, high):
            texts = {at: _text(at, plain) for at in ticks if low <= at <= high}
            ends = [(self.scale(at) / span, _width(text) * letter / 2) for at, text in texts.items()]
            if len(texts) > 1 and all(b - a >= left + right + letter for (a, left), (b, right) in pairwise(ends)):
                self.texts = texts
                break
            if not self.texts:  # the coarsest one that there is, should no two of any stand side by side
                self.texts = dict(list(texts.items())[len(texts) // 2 :][:1])
        return list(self.texts)


def _decades(low: float, high: float) -> Iterator[_Ticks]:
    """Powers of ten, then finer steps, of each all or every second, third, ..., four at most."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    plain = low > 1e-3 and high < 1e5
    for steps in ((1,), (1, 3), (1, 2, 5)):
        every = [float(f"{step}e{decade}") for decade in decades for step in steps]
        every = [at for at in every if low <= at <= high]
        for stride in range(max(1, -(-len(every) // 4)), max(2, len(every))):
            yield plain and len(steps) > 1, every[::stride]
    yield plain, [float(at) for at in MaxNLocator(3).tick_values(low, high)]


def _whole(low: float, high: float) -> Iterator[_Ticks]:
    """Those of `_decades` that are whole numbers."""
    for plain, ticks in _decades(low, high):
        yield plain, [at for at in ticks if at == round(at)]


def _rounds(low: float, high: float) -> Iterator[_Ticks]:
    """Round numbers at even steps, fewer and fewer."""
    for n in range(5, 0, -1):
        yield max(-low, high) < 1e6, [float(at) + 0.0 for at in MaxNLocator(n).tick_values(low, high)]


def _text(at: float, plain: bool) -> str:
    """A plain number, or a power of ten with what stands before it."""
    if plain or at == 0:
        return f"{at:.10g}".replace("-", "−")
    digits, power = f"{at:.6e}".split("e")
    before = "" if float(digits) == 1 else rf"{float(digits):g} \times "
    return f"${before}10^{{{int(power)}}}$"


def _width(text: str) -> float:
    """In digits; an exponent is set smaller."""
    before, power, exponent = text.replace(r" \times ", "xx").strip("$}").partition("^{")
    return len(before) + (0.75 * (len(exponent) + 0.3) if power else 0)
