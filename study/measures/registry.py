"""The registry of measures: a label, and the function of a MeasureContext that takes it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from study.choice import ConfigError, Option, converted_to
from study.choice import Value as OptionValue
from study.names import Label


@dataclass(frozen=True)
class Sampled:
    """A value that was estimated from random draws, with its standard error."""

    value: float
    standard_error: float


@dataclass(frozen=True)
class Whole:
    """A value of the whole network that is not the sum over its layers, with theirs beside it."""

    value: float
    layers: dict[str, float]


Value = float | Sampled | Whole | dict[str, float]
F = TypeVar("F", bound=Callable[..., Value])


@dataclass(frozen=True)
class Measure:
    """A registered measure; `check` raises ValueError for a network, trained or not, that has no such value.

    One `of_history` is read off the curve of training, and says nothing of weights: no audit has it. One `of_test`
    reads test data, and predicts no gap: no table of predictors has it.
    """

    label: str
    layerwise: bool
    function: Callable[..., Value]
    check: Callable[[Any], None] | None = None
    options: Mapping[str, Option] = field(default_factory=dict)
    of_history: bool = False
    of_test: bool = False


MEASURES: dict[str, Measure] = {}


def measure(
    label: str,
    *,
    layerwise: bool = False,
    check: Callable[[Any], None] | None = None,
    of_history: bool = False,
    of_test: bool = False,
    **options: Option,
) -> Callable[[F], F]:
    """Register a measure under its label: the name in configs, records, tables and figures.

    Its function takes the context, and each of `options` by keyword.
    """

    def register(function: F) -> F:
        if label in MEASURES:
            raise ValueError(f"measure: {label!r}: is registered twice")
        MEASURES[label] = Measure(label, layerwise, function, check, options, of_history, of_test)
        return function

    return register


def taking(name: str) -> Callable[[Any], Value]:
    """The function that takes a measure with options from a context. Raises ConfigError as `given_options` does."""
    label = Label.parse(name)
    known = MEASURES[label.measure]
    defaults = {option: had.default for option, had in known.options.items()}
    return functools.partial(known.function, **defaults | given_options(name, label.options, known.options))


def checks_of(label: str) -> list[Callable[[Any], None]]:
    """What raises ValueError, one line, for a network that has no such value, or that an option makes no difference of.

    None for a measure that is not in the registry.
    """
    parsed = Label.parse(label)
    known = MEASURES.get(parsed.measure)
    if known is None:
        return []
    folds = "folded" in given_options(label, parsed.options, known.options)
    return [check for check in (known.check, _check_folding if folds else None) if check]


def _check_folding(model: Any) -> None:
    from study.transforms.equivalent import has_batch_norm

    if not has_batch_norm(model):
        raise ConfigError("folded", type(model).__name__, "has no batch-norm to fold, allowed: the measure without it")


def is_of_history(label: str) -> bool:
    """Whether a measure is read off the curve of training, which no change of weights moves and no checkpoint has."""
    known = MEASURES.get(Label.parse(label).measure)
    return known is not None and known.of_history


def is_of_test(label: str) -> bool:
    """Whether a measure reads test data, which nothing may that is to predict a gap."""
    known = MEASURES.get(Label.parse(label).measure)
    return known is not None and known.of_test


def is_search(label: str) -> bool:
    """Whether a measure is found by a search, which takes many passes over few samples: it has an option `steps`."""
    known = MEASURES.get(Label.parse(label).measure)
    return known is not None and "steps" in known.options


def given_options(text: str, options: str, known: Mapping[str, Option]) -> dict[str, OptionValue]:
    """Options of a label as their types. Raises ConfigError, naming the label `text`, for one that is not allowed."""
    given: dict[str, OptionValue] = {}
    for piece in filter(None, options.split(",")):
        name, _, value = (part.strip() for part in piece.partition("="))
        if name not in known or name in given:
            allowed = f"allowed, each once: {', '.join(known) or 'none'}"
            raise ConfigError("measures", text, f"option {name}: {allowed}")
        kind = type(known[name].default)
        converted = converted_to(kind, int(value) if kind is int and value.isdecimal() else value)
        if converted is None or not known[name].test(converted):
            raise ConfigError("measures", text, f"option {name}: {value!r}: {known[name].allowed}")
        given[name] = converted
    return given
