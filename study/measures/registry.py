"""The registry of measures: a label, and the function of a MeasureContext that takes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar


@dataclass(frozen=True)
class Sampled:
    """A value that was estimated from random draws, with its standard error."""

    value: float
    standard_error: float


Value = float | Sampled | dict[str, float]
F = TypeVar("F", bound=Callable[[Any], Value])


@dataclass(frozen=True)
class Measure:
    """A registered measure; `check` raises ValueError for a network, trained or not, that has no such value."""

    label: str
    layerwise: bool
    function: Callable[[Any], Value]
    check: Callable[[Any], None] | None = None


MEASURES: dict[str, Measure] = {}


def measure(label: str, *, layerwise: bool = False, check: Callable[[Any], None] | None = None) -> Callable[[F], F]:
    """Register a measure under its label: the name in configs, records, tables and figures."""

    def register(function: F) -> F:
        if label in MEASURES:
            raise ValueError(f"measure: {label!r}: is registered twice")
        MEASURES[label] = Measure(label, layerwise, function, check)
        return function

    return register
