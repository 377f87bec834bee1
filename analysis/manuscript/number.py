"""A number or words of a text, apart from how Markdown or LaTeX prints them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from analysis.drawing import render


class Words(str):
    """Words that were not typed in a template: LaTeX's own characters in them are escaped."""


def _alone(self: object) -> str:
    raise ValueError("a number joined to words, by ~, |join or |string: print it as an expression alone, {{ x }}")


@dataclass(frozen=True)
class Number:
    """One number of the records, with its interval where it has one. `{{ x }}` prints the number alone, two decimals
    (two digits where those are zeros).

    `{{ x.interval }}` prints "[low, high]", `{{ x.full }}` both, `{{ x.digits(3) }}` three decimals.
    """

    point: float
    low: float = float("nan")
    high: float = float("nan")
    decimals: int = 2
    shown: str = "point"  # or interval, full, range

    @property
    def interval(self) -> Number:
        """The interval alone."""
        return replace(self, shown="interval")

    @property
    def full(self) -> Number:
        """The number and its interval."""
        return replace(self, shown="full")

    def digits(self, decimals: int) -> Number:
        """With so many decimals."""
        return replace(self, decimals=decimals)

    __str__ = _alone  # how it is printed depends on the text that it stands in

    def __float__(self) -> float:
        return float(self.point)

    def __lt__(self, other: Any) -> bool:
        return float(self) < float(other)

    def __gt__(self, other: Any) -> bool:
        return float(self) > float(other)

    def __abs__(self) -> Number:
        return Number(abs(self.point), decimals=self.decimals)

    def __sub__(self, other: Any) -> Number:
        return Number(self.point - getattr(other, "point", other), decimals=self.decimals)

    def __add__(self, other: Any) -> Number:
        return Number(self.point + getattr(other, "point", other), decimals=self.decimals)

    def __truediv__(self, other: Any) -> Number:
        return Number(self.point / getattr(other, "point", other), decimals=self.decimals)


class Numbers(dict[str, Number]):
    """Numbers by what they are at: stops, layers, draws, settings. `{{ xs }}` prints them in a row."""

    __str__ = _alone

    @property
    def lowest(self) -> Number:
        """The smallest of them."""
        return min(self.values(), key=float)

    @property
    def highest(self) -> Number:
        """The largest of them."""
        return max(self.values(), key=float)

    def digits(self, decimals: int) -> Numbers:
        """With so many decimals."""
        return Numbers({at: x.digits(decimals) for at, x in self.items()})

    @property
    def range(self) -> Number:
        """From the smallest to the largest: "0.35 to 0.77"."""
        return Number(float("nan"), float(self.lowest), float(self.highest), self.lowest.decimals, "range")

    @property
    def furthest(self) -> Number:
        """The largest of them in size, without its sign."""
        return max(map(abs, self.values()), key=float)

    @property
    def full(self) -> list[Number]:
        """Each with its interval: the cells of a table's row."""
        return [x.full for x in self.values()]

    @property
    def points(self) -> list[Number]:
        """Each alone: the cells of a table's row."""
        return list(self.values())

    def below(self, other: Mapping[str, Number]) -> bool:
        """Whether each is smaller than the other's at the same place."""
        return list(self) == list(other) and all(float(x) < float(other[at]) for at, x in self.items())

    def differences(self, other: Mapping[str, Number]) -> Numbers:
        """Each less the other's at the same place."""
        return Numbers({at: x - other[at] for at, x in self.items()})


def printed(value: object, latex: bool = False) -> str:
    """What a template's expression prints: numbers as math in LaTeX, tables as tables, a list with commas."""
    if isinstance(value, Number):
        return _number(value, latex)
    if isinstance(value, Numbers):
        return " ".join(_number(x, latex) for x in value.values())
    if isinstance(value, pd.DataFrame):
        return (render.to_latex(value) if latex else render.to_markdown(value)).rstrip("\n")
    if isinstance(value, (bool, int, float, np.generic)):
        return _number(Number(value), latex)  # type: ignore[arg-type]
    if isinstance(value, (list, tuple)):
        return ", ".join(printed(x, latex) for x in value)
    return render.escape(value) if latex and isinstance(value, Words) else str(value)


def grid(head: Sequence[object], rows: Sequence[Sequence[object]], title: str = "", note: str = "") -> pd.DataFrame:
    """A small table of a text: names of the columns, and rows of numbers and words."""
    for row in rows:
        if len(row) != len(head):
            raise ValueError(f"grid: a row of {len(row)} cells ({row[0]}): allowed are {len(head)}, as in its head")
    names = [str(name) for name in head]
    table = pd.DataFrame([[printed(cell) for cell in row] for row in rows], columns=pd.Index(names))
    table.attrs |= {key: words for key, words in (("title", title), ("note", note)) if words}
    return table


def _number(x: Number, latex: bool) -> str:
    if x.shown == "point":
        return _digits(x.point, x.decimals, latex)
    ends = [_digits(end, x.decimals, latex) for end in (x.low, x.high)]
    if x.shown == "range":
        return " to ".join(ends)
    interval = f"[{', '.join(ends)}]"
    if np.isnan(x.low) or np.isnan(x.high):
        interval = "[no interval]"
    return interval if x.shown == "interval" else f"{_digits(x.point, x.decimals, latex)} {interval}"


def _digits(value: float, decimals: int, latex: bool) -> str:
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    text = f"{value:,}" if whole else render.number(value, 0 if abs(value) >= 20 else decimals)
    if not latex or text == "n/a":
        return text
    power = re.fullmatch(r"(.*)e([−+])0*(\d+)", text)
    text = f"{power[1]} \\cdot 10^{{{power[2].strip('+')}{power[3]}}}" if power else text.replace(",", "{,}")
    return f"${text.replace('−', '-').replace('∞', chr(92) + 'infty')}$"
