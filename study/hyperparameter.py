"""A run's hyperparameters as others see them: columns of the records, the shape of a shard, a grid's exclusions."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from study.choice import ConfigError, converted_to
from study.config import FIELDS, FIRST, SEAMS, STACKED, RunConfig, checked_value

SIZES = ("depth", "width")  # of `hidden` where its layers are of one width; a yaml may give them in its place


def changed_seams(configs: Iterable[RunConfig]) -> set[str]:
    """The fields that some of these runs show as changed: later ones, and first ones by an option.

    SIZES among them where depth or width is an axis: `hidden` differs, and all layers of a run are of one width.
    """
    configs = list(configs)
    hidden = {config.hidden for config in configs}
    sizes = set(SIZES) if len(hidden) > 1 and all(len(set(widths)) == 1 for widths in hidden) else set()
    return sizes | {name for config in configs for name in FIELDS if _changed(config, name)}


def _changed(config: RunConfig, name: str) -> bool:
    value = getattr(config, name)
    if name in FIRST:  # its name, or number, is shown in any case
        return name in SEAMS and bool(value.options)
    return bool(value != FIELDS[name].default)


def size(hidden: tuple[int, ...]) -> dict[str, int]:
    """How many hidden layers, and how wide the first is: what the names of SIZES stand for."""
    return dict(zip(SIZES, (len(hidden), hidden[0]), strict=True))


def hyperparameters(config: RunConfig, seams: Collection[str] = ()) -> dict[str, Any]:
    """The fields as flat columns for a row: later ones only where they are changed, or in `seams`.

    A choice has all its options beside it where it is changed; one of the first fields is by an option of it. Depth and
    width stand beside `hidden` if they are in `seams`.
    """
    columns: dict[str, Any] = {}
    for name in FIELDS:
        value, shown = getattr(config, name), name in seams or _changed(config, name)
        if shown or name in FIRST:
            columns[name] = value.name if name in SEAMS else value
        if name == "hidden":
            columns |= {part: n for part, n in size(value).items() if part in seams}
        if shown and name in SEAMS:
            columns |= {f"{name}.{option}": v for option, v in SEAMS[name].options(value).items()}
    return columns


def shard_shape(config: RunConfig) -> tuple[Any, ...]:
    """What runs must agree in to be trained as one stack: names, sizes, and the options that cannot be vectors."""
    plain = [getattr(config, name) for name in FIELDS if name not in STACKED and name not in SEAMS]
    return (*plain, *(shape_of(config, name) for name in SEAMS))


def shape_of(config: RunConfig, seam: str) -> tuple[Any, ...]:
    """What runs must agree in of one choice: its name and the options that cannot be vectors."""
    choice, registry = getattr(config, seam), SEAMS[seam]
    stacked = registry.stacked(choice)
    return (choice.name, *((k, v) for k, v in registry.options(choice).items() if k not in stacked))


def checked(name: str, value: Any) -> Any:
    """What a rule or an axis may hold: a field's value or one of SIZES. Raises ConfigError, one line."""
    if name not in SIZES:
        return checked_value(name, value)
    n = converted_to(int, value)
    if n is None or int(n) < 1:
        raise ConfigError(name, value, "allowed: an integer > 0")
    return n


def matches(config: RunConfig, rule: Mapping[str, Any]) -> bool:
    """Whether a run has these values; of a choice, that name and the options that are named.

    A depth or width is that of a run whose hidden layers are of one width.
    """
    return all(_matches(name, config, wanted) for name, wanted in rule.items())


def _matches(name: str, config: RunConfig, wanted: Any) -> bool:
    if name in SIZES:
        return len(set(config.hidden)) == 1 and size(config.hidden)[name] == checked(name, wanted)
    value = getattr(config, name)
    if name not in SEAMS:
        return bool(value == checked_value(name, wanted))
    chosen = SEAMS[name].choose(wanted)
    named = wanted[chosen.name] or {} if isinstance(wanted, dict) else dict(chosen.options)
    return value.name == chosen.name and all(
        SEAMS[name].options(value)[option] == SEAMS[name].options(chosen)[option] for option in named
    )


def is_whole(column: str) -> bool:
    """Whether a column of `hyperparameters` holds integers: of an option that several entries have, in all of them."""
    name = column.partition(".")[0]
    if name in SEAMS:
        return _all_are(int, column)
    return name in SIZES or (name in FIELDS and FIELDS[name].type == "int")


def is_text(column: str) -> bool:
    """Whether a column of `hyperparameters` holds text whatever it looks like: one width, the epoch of one drop."""
    name = column.partition(".")[0]
    return _all_are(str, column) if name in SEAMS else name in FIELDS and "tuple" in str(FIELDS[name].type)


def _all_are(kind: type, column: str) -> bool:
    name, _, option = column.partition(".")
    known = [e.options[option] for e in SEAMS[name].entries().values() if option in e.options]
    return bool(known) and all(isinstance(o.default, kind) for o in known)


def differing(configs: Sequence[RunConfig]) -> list[str]:
    """The columns in which these runs differ, the seed last."""
    seams = changed_seams(configs)
    columns = [hyperparameters(config, seams) for config in configs]
    names = dict.fromkeys(name for one in columns for name in one)
    found = [name for name in names if len({one.get(name) for one in columns}) > 1]
    if "depth" in names:  # and width, which say it all
        found.remove("hidden")
    return sorted(found, key=lambda name: name == "seed")


def described(config: RunConfig, names: Collection[str]) -> str:
    """These columns of a run in words: `lr=0.1 hidden=64-64 seed=0`."""
    columns = hyperparameters(config, names)
    return " ".join(f"{name}={word(columns[name])}" for name in names if name in columns)


def word(value: Any) -> str:
    """A value as a plan or a log says it."""
    return "-".join(map(str, value)) if isinstance(value, tuple) else str(value)
