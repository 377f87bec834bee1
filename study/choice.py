"""A choice: a name, or a name with options, as a study's yaml gives it; and the registry of what may be chosen.

    objective: plain                                       a name
    objective: {flatness_penalty: {strength: 0.1}}         a name with options
    objective.flatness_penalty.strength: [0, 0.1]          the same by a dotted path, as an axis of a grid

No torch here, so that a study is checked in milliseconds.
"""

from __future__ import annotations

import importlib
import inspect
import math
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Generic, TypeVar

Value = str | int | float
Check = Callable[[Mapping[str, Value], Mapping[str, Any]], None]
T = TypeVar("T")


class ConfigError(ValueError):
    """A config that cannot be run: names the field, the value and what is allowed, in one line."""

    def __init__(self, field: str, value: object, allowed: str) -> None:
        super().__init__(f"{field}: {value!r}: {allowed}")


def kind_of(value: object) -> str:
    """ "a list", "an int", "nothing" for None: what a refusal says of a value of another type."""
    if value is None:
        return "nothing"
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


@dataclass(frozen=True)
class Choice:
    """A name and the options that differ from their defaults, sorted: equal choices are equal and hash alike.

    Made by `Registry.choose`, which knows the defaults; `str` is what a person reads, e.g. `sam(rho=0.1)`.
    """

    name: str
    options: tuple[tuple[str, Value], ...] = ()

    def __repr__(self) -> str:
        inner = ", ".join(f"{name}={value}" for name, value in self.options)
        return f"{self.name}({inner})" if inner else self.name


@dataclass(frozen=True)
class Option:
    """What an option may be. `stacked`: it may differ between the networks of one stack, as a vector over them."""

    default: Value
    allowed: str
    test: Callable[[Any], bool]
    stacked: bool


def number(default: float, *, least: float = -math.inf, below: float = math.inf, stacked: bool = True) -> Option:
    """A finite number with least <= number < below; a vector over the population unless `stacked` is False."""
    bounds = f"{'' if least == -math.inf else f'{least} <= '}number{'' if below == math.inf else f' < {below}'}"
    return Option(float(default), f"allowed: {bounds}", lambda v: least <= v < below, stacked)


def integer(default: int, *, least: int = 0, stacked: bool = False) -> Option:
    """A whole number from `least` on; one for a whole stack unless `stacked`."""
    return Option(default, f"allowed: an integer >= {least}", lambda v: v >= least, stacked)


def word(default: str, *others: str) -> Option:
    """One of some words; one for a whole stack."""
    words = (default, *others)
    return Option(default, "allowed: " + ", ".join(words), lambda v: v in words, stacked=False)


def words(default: str, test: Callable[[str], bool], allowed: str) -> Option:
    """Text that a test accepts, e.g. a list of epochs; one for a whole stack. `allowed` says what is."""
    return Option(default, f"allowed: {allowed}", test, stacked=False)


@dataclass(frozen=True)
class Entry(Generic[T]):
    """What stands behind a name, its options, what it is in words, and what of a run it cannot go with.

    `check(options, run)` raises ConfigError; `run` holds the fields of the config, and `shape` of its inputs.
    """

    content: T
    options: Mapping[str, Option]
    meaning: str
    check: Check | None = None


class Registry(Mapping[str, T]):
    """What one field may choose from: a mapping from name to what stands behind it; see `add` and `choose`.

    `vectors`: its numbers may differ between the networks of one stack.
    """

    def __init__(self, field: str, *, vectors: bool = True) -> None:
        self.field, self.vectors = field, vectors
        self._entries: dict[str, Entry[T]] = {}

    def __getitem__(self, name: str) -> T:
        return self._entries[name].content

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def add(
        self, name: str, content: T, options: Mapping[str, Option] | None = None, *, described_by: object = None,
        check: Check | None = None,
    ) -> None:  # fmt: skip
        """Register an entry; words, or a docstring's first line, say what it is. Raises ValueError: a name is taken."""
        if name in self._entries:
            raise ValueError(f"{self.field}: {name!r}: is registered twice")
        text = described_by if isinstance(described_by, str) else inspect.getdoc(described_by) or ""
        meaning = text.partition("\n")[0]
        self._entries[name] = Entry(content, dict(options or {}), meaning, check)

    def entries(self) -> Mapping[str, Entry[T]]:
        """Every entry with its options and its meaning."""
        return dict(self._entries)

    def remove(self, name: str) -> None:
        """Take an entry out, for a test that added it."""
        del self._entries[name]

    def choose(self, value: Any) -> Choice:
        """A checked choice from a name, a Choice, or {name: {option: value}}. Raises ConfigError, one line."""
        if isinstance(value, Choice):
            value = {value.name: dict(value.options)}
        name, given = next(iter(value.items())) if isinstance(value, dict) and len(value) == 1 else (value, {})
        given = {} if given is None else given
        if not isinstance(name, str) or not isinstance(given, dict):
            raise ConfigError(self.field, value, "allowed: a name, or name: {option: value}")
        if name not in self._entries:
            raise ConfigError(self.field, name, "allowed: " + ", ".join(sorted(self._entries)))
        known = self._entries[name].options
        options = {option: self._checked(name, option, v) for option, v in given.items()}
        return Choice(name, tuple((k, v) for k, v in sorted(options.items()) if v != known[k].default))

    def _checked(self, name: str, option: Any, value: Any) -> Value:
        path, known = f"{self.field}.{name}.{option}", self._entries[name].options
        if option not in known:
            raise ConfigError(path, value, "unknown option, allowed: " + (", ".join(known) or "none"))
        converted = converted_to(type(known[option].default), value)
        if converted is None or not known[option].test(converted):
            raise ConfigError(path, value, known[option].allowed)
        return converted

    def options(self, choice: Choice) -> dict[str, Value]:
        """All options of a choice, with the defaults of those that it does not name."""
        defaults = {name: option.default for name, option in self._entries[choice.name].options.items()}
        return defaults | dict(choice.options)

    def check(self, choice: Choice, run: Mapping[str, Any]) -> None:
        """Raise ConfigError where a choice cannot go with the rest of a run; see `Entry`."""
        check = self._entries[choice.name].check
        if check:
            check(self.options(choice), run)

    def stacked(self, choice: Choice) -> set[str]:
        """The options that may differ between the networks of one stack."""
        options = self._entries[choice.name].options if self.vectors else {}
        return {name for name, option in options.items() if option.stacked}


def converted_to(kind: type, value: Any) -> Value | None:
    """A value as str, int or float; None where it is none (PyYAML reads 1e-3 as a string; 2.0 is an integer)."""
    if isinstance(value, bool):  # YAML's yes and no, where they are words
        return ("no", "yes")[value] if kind is str else None
    if not isinstance(value, str | int | float):
        return None
    if kind is str:
        return value if isinstance(value, str) else None
    try:
        converted = float(value) + 0.0  # -0.0 equals 0.0 and would have another key
    except (ValueError, OverflowError):
        return None
    if kind is int:
        return int(value) if not isinstance(value, str) and converted.is_integer() else None
    return converted if math.isfinite(converted) else None


def nested(values: Mapping[str, Any], fields: Mapping[str, Registry[Any]]) -> dict[str, Any]:
    """Dotted paths `<field>.<name>.<option>` gathered into the choices that they reach into; all else as it is.

    Raises ConfigError for a path into no choice, or into another name than the one that the field has.
    """
    result = {name: value for name, value in values.items() if "." not in str(name)}
    for path, value in values.items():
        if path in result:
            continue
        field, name, option = split(path, fields)
        choice = result.get(field, name)
        given, options = next(iter(choice.items())) if isinstance(choice, dict) and len(choice) == 1 else (choice, {})
        if given != name:
            raise ConfigError(path, value, f"{field} is {given}, allowed: options of {given}")
        if option in (options or {}):
            raise ConfigError(path, value, f"is given by {field} too, allowed: once")
        result[field] = {name: {**(options or {}), option: value}}
    return result


def split(path: str, fields: Mapping[str, Registry[Any]]) -> tuple[str, str, str]:
    """The three parts of a dotted path. Raises ConfigError where it leads into no choice."""
    parts = str(path).split(".")
    if len(parts) != 3 or parts[0] not in fields:
        raise ConfigError(path, "a dotted path", "allowed: <field>.<name>.<option> with field " + ", ".join(fields))
    return parts[0], parts[1], parts[2]


def import_entries(package: ModuleType, skip: tuple[str, ...]) -> None:
    """Import every module of a package but `skip`: each registers what it has, so a new file is found by itself."""
    for module in sorted(m.name for m in pkgutil.iter_modules(package.__path__)):
        if module not in skip:
            importlib.import_module(f"{package.__name__}.{module}")
