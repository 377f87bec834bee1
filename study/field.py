"""What a plain field of a run may hold, by its name, and a person's spelling of it in its declared type."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from study.choice import ConfigError, kind_of
from study.loss import LOSSES
from study.models.init import INITS
from study.names import STOP_ALLOWED, Stop


def _one_of(names: Any) -> tuple[Callable[[Any], bool], str]:
    return (lambda v: v in names), "allowed: " + ", ".join(sorted(names))


def _number(test: Callable[[Any], bool], text: str) -> tuple[Callable[[Any], bool], str]:
    return (lambda v: abs(v) <= sys.float_info.max and test(v)), text


STOPS = "loss_<number>, error_<number> or epoch_<n>"
RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "n_train": _number(lambda v: v >= 0, "allowed: 0 (all) or a number of training images"),
    "label_noise": _number(lambda v: 0 <= v < 1, "allowed: 0 <= label_noise < 1"),
    "hidden": (lambda v: len(v) > 0 and all(n > 0 for n in v), "allowed: a list of positive widths"),
    "init": _one_of(INITS),
    "init_gain": _number(lambda v: v > 0, "allowed: a number > 0"),
    "lr": _number(lambda v: v > 0, "allowed: a number > 0"),
    "lr_factor": _number(lambda v: v > 0, "allowed: a number > 0"),
    "momentum": _number(lambda v: 0 <= v < 1, "allowed: 0 <= momentum < 1"),
    "weight_decay": _number(lambda v: v >= 0, "allowed: a number >= 0"),
    "batch_size": _number(lambda v: v > 0, "allowed: an integer > 0"),
    "loss": _one_of(LOSSES),
    "n_validation": _number(lambda v: v >= 0, "allowed: 0 (none) or a number of images"),
    "stops": (lambda v: 0 < len(v) == len(set(v)), "allowed: at least one stop, each once: " + STOPS),
    "max_epochs": _number(lambda v: v > 0, "allowed: an integer > 0"),
    "checks_per_epoch": _number(lambda v: v > 0, "allowed: an integer > 0"),
    "seed": _number(lambda v: 0 <= v < 2**31, "allowed: 0 <= seed < 2**31"),
}


def converted(name: str, kind: str, value: Any) -> Any:
    """A value in the declared type `kind` of its field. Raises ConfigError: another type, or out of range."""
    found = _convert(name, kind, value)
    allowed, text = RULES[name]
    if not allowed(found):
        raise ConfigError(name, value, text)
    return found


def _convert(name: str, kind: str, value: Any) -> Any:
    if kind == "str" and isinstance(value, str):
        return value
    if kind == "int" and not isinstance(value, bool) and (isinstance(value, int) or _is_whole(value)):
        return int(value)
    if kind == "float" and not isinstance(value, bool) and isinstance(value, int | float | str):
        try:
            return float(value)  # PyYAML reads 1e-3 as a string
        except (ValueError, OverflowError):
            pass
    if name == "stops" and isinstance(value, list | tuple):
        return tuple(map(_stop, value))
    if kind.startswith("tuple") and isinstance(value, list | tuple):
        for v in value:
            if not isinstance(v, int) or isinstance(v, bool):
                raise ConfigError(name, v, f"is {kind_of(v)}, {RULES[name][1]}")
        return tuple(value)
    wanted = {"str": "a name", "int": "an integer", "float": "a number"}.get(kind, "a list")
    raise ConfigError(name, value, f"is {kind_of(value)}, allowed: {wanted}")


def _stop(value: Any) -> str:
    """A stop as it is written in keys, folders and records, however a person wrote it."""
    try:
        return Stop.parse(value).canonical
    except (TypeError, ValueError):
        raise ConfigError("stops", value, STOP_ALLOWED) from None


def _is_whole(value: Any) -> bool:
    return isinstance(value, float) and value.is_integer()
