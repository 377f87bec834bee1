"""A run's hyperparameters as others see them: columns of the records, the shape of a shard, a grid's exclusions."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from study.config import FIELDS, FIRST, SEAMS, STACKED, RunConfig, checked_value


def changed_seams(configs: Iterable[RunConfig]) -> set[str]:
    """The fields that some of these runs show as changed: later ones, and first ones by an option."""
    return {name for config in configs for name in FIELDS if _changed(config, name)}


def _changed(config: RunConfig, name: str) -> bool:
    value = getattr(config, name)
    if name in FIRST:  # its name, or number, is shown in any case
        return name in SEAMS and bool(value.options)
    return bool(value != FIELDS[name].default)


def hyperparameters(config: RunConfig, seams: Collection[str] = ()) -> dict[str, Any]:
    """The fields as flat columns for a row: later ones only where they are changed, or in `seams`.

    A choice has all its options beside it where it is changed; one of the first fields is by an option of it.
    """
    columns: dict[str, Any] = {}
    for name in FIELDS:
        value, shown = getattr(config, name), name in seams or _changed(config, name)
        if shown or name in FIRST:
            columns[name] = value.name if name in SEAMS else value
        if shown and name in SEAMS:
            columns |= {f"{name}.{option}": v for option, v in SEAMS[name].options(value).items()}
    return columns


def shard_shape(config: RunConfig) -> tuple[Any, ...]:
    """What runs must agree in to be trained as one stack: names, sizes, and the options that cannot be vectors."""
    plain = [getattr(config, name) for name in FIELDS if name not in STACKED and name not in SEAMS]
    return (*plain, *(_shape_of(config, name) for name in SEAMS))


def _shape_of(config: RunConfig, seam: str) -> tuple[Any, ...]:
    choice, registry = getattr(config, seam), SEAMS[seam]
    stacked = registry.stacked(choice)
    return (choice.name, *((k, v) for k, v in registry.options(choice).items() if k not in stacked))


def matches(config: RunConfig, rule: Mapping[str, Any]) -> bool:
    """Whether a run has these values; of a choice, that name and the options that are named."""
    return all(_matches(name, getattr(config, name), wanted) for name, wanted in rule.items())


def _matches(name: str, value: Any, wanted: Any) -> bool:
    if name not in SEAMS:
        return bool(value == checked_value(name, wanted))
    chosen = SEAMS[name].choose(wanted)
    named = wanted[chosen.name] or {} if isinstance(wanted, dict) else dict(chosen.options)
    return value.name == chosen.name and all(
        SEAMS[name].options(value)[option] == SEAMS[name].options(chosen)[option] for option in named
    )


def is_whole(column: str) -> bool:
    """Whether a column of `hyperparameters` holds integers: of an option that several entries have, in all of them."""
    name, _, option = column.partition(".")
    if name in SEAMS:
        known = [e.options[option] for e in SEAMS[name].entries().values() if option in e.options]
        return bool(known) and all(isinstance(o.default, int) for o in known)
    return name in FIELDS and FIELDS[name].type == "int"


def differing(configs: Sequence[RunConfig]) -> list[str]:
    """The columns in which these runs differ, the seed last."""
    seams = changed_seams(configs)
    columns = [hyperparameters(config, seams) for config in configs]
    names = dict.fromkeys(name for one in columns for name in one)
    found = [name for name in names if len({one.get(name) for one in columns}) > 1]
    return sorted(found, key=lambda name: name == "seed")


def described(config: RunConfig, names: Collection[str]) -> str:
    """These columns of a run in words: `lr=0.1 hidden=64-64 seed=0`."""
    columns = hyperparameters(config)
    return " ".join(f"{name}={_word(columns[name])}" for name in names if name in columns)


def _word(value: Any) -> str:
    return "-".join(map(str, value)) if isinstance(value, tuple) else str(value)
