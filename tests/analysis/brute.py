"""Slow twins of the statistics: plain loops over pairs, written from the definitions alone."""

from __future__ import annotations

import math
from collections.abc import Sequence


def sign(a: float, b: float) -> int:
    """Sign of a - b by comparison, so that two equal infinities tie."""
    return int(a > b) - int(a < b)


def tau(x: Sequence[float], y: Sequence[float], variant: str) -> float:
    """Kendall's tau-a or tau-b over ordered pairs; NaN where it is undefined."""
    pairs = [(i, j) for i in range(len(x)) for j in range(len(x)) if i != j]
    if not pairs:
        return math.nan
    signs = [(sign(x[i], x[j]), sign(y[i], y[j])) for i, j in pairs]
    total = sum(a * b for a, b in signs)
    if variant == "a":
        return total / len(pairs)
    untied = sum(a * a for a, _ in signs) * sum(b * b for _, b in signs)
    return total / math.sqrt(untied) if untied else math.nan


def pearson(x: Sequence[float], y: Sequence[float]) -> float:
    """Pearson's r; NaN for a constant or an infinity."""
    n = len(x)
    if n < 2 or not all(map(math.isfinite, [*x, *y])):
        return math.nan
    mean_x, mean_y = sum(x) / n, sum(y) / n
    xx, yy = sum((a - mean_x) ** 2 for a in x), sum((b - mean_y) ** 2 for b in y)
    if len(set(x)) == 1 or len(set(y)) == 1:
        return math.nan
    return sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / math.sqrt(xx * yy)


def complete(x: Sequence[float], y: Sequence[float], *more: Sequence[object]) -> tuple[list, ...]:
    """Drop the positions at which x or y is NaN, from all."""
    there = [i for i in range(len(x)) if not (math.isnan(x[i]) or math.isnan(y[i]))]
    return tuple([v[i] for i in there] for v in (x, y, *more))


def repeat(values: Sequence[float], groups: Sequence[int], counts: dict[int, int]) -> list[float]:
    """The sample in which every run of configuration c stands counts[c] times."""
    return [v for v, g in zip(values, groups, strict=True) for _ in range(counts[g])]
