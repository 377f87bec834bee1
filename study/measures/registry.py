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
    """A registered measure."""

    label: str
    layerwise: bool
    function: Callable[[Any], Value]


MEASURES: dict[str, Measure] = {}


def measure(label: str, *, layerwise: bool = False) -> Callable[[F], F]:
    """Register a measure under its label: the name in configs, records, tables and figures."""

    def register(function: F) -> F:
        if label in MEASURES:
            raise ValueError(f"measure: {label!r}: is registered twice")
        MEASURES[label] = Measure(label, layerwise, function)
        return function

    return register
