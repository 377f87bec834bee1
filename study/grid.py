"""A study's yaml -> its runs, each with a key, and its shards. Every mistake is one line before anything runs."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from study.choice import nested, split
from study.config import (
    FIELDS,
    SEAMS,
    ConfigError,
    RunConfig,
    checked_value,
    config_from_dict,
    run_key,
)
from study.hyperparameter import matches, shard_shape
from study.measures import MEASURES
from study.names import Label
from study.transforms.rescaling import ALLOWED, is_transform

SECTIONS = (
    "name",
    "title",
    "fixed",
    "grid",
    "zip",
    "seeds",
    "exclude",
    "measures",
    "reparameterize",
    "shard_size",
    "seconds_per_run",
)


@dataclass(frozen=True)
class Shard:
    """Runs of one shape, trained together; the id is a hash of their keys."""

    id: str
    runs: tuple[RunConfig, ...]


@dataclass(frozen=True)
class Study:
    """What a yaml asks for; a measure of reparameterized networks is labelled `<measure>@<transform>`.

    `seconds_per_run` is the header's measured cost of one run on one core, or None.
    """

    name: str
    title: str
    runs: tuple[RunConfig, ...]
    measures: tuple[str, ...]
    shard_size: int
    seconds_per_run: float | None
    path: Path


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses a key given twice, which YAML would silently let the last one win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise ConfigError(str(key), f"line {node.start_mark.line + 1}", "is given twice, allowed: once")
        return super().construct_mapping(node, deep)


def load_study(path: str | Path) -> Study:
    """Read and check a study. Raises ConfigError, one line: file, field, value, what is allowed."""
    path = Path(path)
    try:
        return _study(_parse(path), path)
    except ConfigError as error:
        raise _At(f"{path}: {error}") from None


class _At(ConfigError):
    def __init__(self, text: str) -> None:
        ValueError.__init__(self, text)


def _parse(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is not UTF-8 text"
        raise ConfigError(
            "study", str(path), f"cannot be read ({reason}), allowed: a yaml file as in configs/"
        ) from None
    try:
        content = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "file"
        problem = getattr(error, "problem", None) or "not YAML"
        raise ConfigError("yaml", where, f"broken YAML ({problem})") from None
    if not isinstance(content, dict):
        raise ConfigError("yaml", type(content).__name__, "allowed: a mapping with " + ", ".join(SECTIONS))
    return content


def _section(content: Mapping[str, Any], name: str, kind: type, default: Any) -> Any:
    value = content.get(name, default)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ConfigError(name, value, f"is a {type(value).__name__}, allowed: a {kind.__name__}")
    return value


def _study(content: dict[str, Any], path: Path) -> Study:
    for name in content:
        if name not in SECTIONS:
            raise ConfigError(str(name), content[name], "unknown section, allowed: " + ", ".join(SECTIONS))
    name = _section(content, "name", str, path.stem)
    if name != path.stem:
        raise ConfigError("name", name, f"allowed: the file's own name, {path.stem!r}")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.\-]*", name):  # it names folders, jobs and wandb's runs
        raise ConfigError("name", name, "allowed in a study's name: letters, digits, . _ -")
    measures = tuple(_section(content, "measures", list, []))
    for label in measures:
        if not isinstance(label, str) or label not in MEASURES:
            raise ConfigError("measures", label, "unknown measure, allowed: " + ", ".join(MEASURES))
    if not measures or len(set(measures)) < len(measures):
        raise ConfigError("measures", list(measures), "allowed: at least one measure, each once")
    measures += tuple(_reparameterized(content.get("reparameterize", []), measures))
    shard_size = _section(content, "shard_size", int, 32)
    if shard_size < 1:
        raise ConfigError("shard_size", shard_size, "allowed: an integer > 0")
    seconds = content.get("seconds_per_run")
    number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if seconds is not None and not (number and 0 < seconds < 1e9):
        raise ConfigError("seconds_per_run", seconds, "allowed: a number > 0, measured, or leave it out")
    runs = tuple(_runs(content))
    return Study(name, _section(content, "title", str, name), runs, measures, shard_size, seconds, path)


def _reparameterized(section: Any, measures: tuple[str, ...]) -> Iterable[str]:
    """Labels `<measure>@<transform>` of a list of transforms, or of a mapping from transform to measures."""
    if not isinstance(section, list | dict):
        raise ConfigError("reparameterize", section, "allowed: a list of transforms, or transform: [measures]")
    for transform in section:
        if not isinstance(transform, str) or not is_transform(transform) or list(section).count(transform) > 1:
            raise ConfigError("reparameterize", transform, f"allowed, each once: {ALLOWED}")
        chosen = section[transform] if isinstance(section, dict) else measures
        if not isinstance(chosen, list | tuple) or not chosen or len(set(map(str, chosen))) < len(chosen):
            raise ConfigError(f"reparameterize.{transform}", chosen, "allowed: a list of measures, each once")
        for label in chosen:
            if label not in measures:
                allowed = "is not measured before it, allowed: " + ", ".join(measures)
                raise ConfigError(f"reparameterize.{transform}", label, allowed)
            yield str(Label.parse(label).at(transform=transform))


def _axis(section: str, name: Any, values: Any) -> list[Any]:
    if "." in str(name):
        split(name, SEAMS)
    elif name not in FIELDS or name == "seed":
        allowed = "use `seeds`" if name == "seed" else "unknown field, allowed: " + ", ".join(FIELDS)
        raise ConfigError(f"{section}.{name}", values, allowed)
    if not isinstance(values, list) or not values:
        raise ConfigError(f"{section}.{name}", values, "allowed: a list of at least one value")
    return values


def _runs(content: dict[str, Any]) -> Iterable[RunConfig]:
    fixed = _section(content, "fixed", dict, {})
    grid = {k: _axis("grid", k, v) for k, v in _section(content, "grid", dict, {}).items()}
    zipped = {k: _axis("zip", k, v) for k, v in _section(content, "zip", dict, {}).items()}
    names = [*fixed, *grid, *zipped]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(name, "fixed, grid, zip", "is set in two of them, allowed: one")
    lengths = {len(v) for v in zipped.values()}
    if len(lengths) > 1:
        raise ConfigError("zip", {k: len(v) for k, v in zipped.items()}, "allowed: lists of one length")
    rows = [dict(zip(zipped, values, strict=True)) for values in zip(*zipped.values(), strict=True)] if zipped else [{}]
    excluded = [_exclusion(e) for e in _section(content, "exclude", list, [])]
    hits = [0] * len(excluded)
    seen: dict[str, str] = {}
    for seed in _seeds(content.get("seeds", 1)):  # outermost: what is done first is a complete grid of fewer seeds
        for values in itertools.product(*grid.values()):
            for row in rows:
                given = {**fixed, **dict(zip(grid, values, strict=True)), **row, "seed": seed}
                config = config_from_dict(nested(given, SEAMS))
                hit = [matches(config, rule) for rule in excluded]
                hits = [n + h for n, h in zip(hits, hit, strict=True)]
                if any(hit):
                    continue
                key = run_key(config)
                here = f"seed {seed}, {dict(zip(grid, values, strict=True))} {row or ''}".strip()
                if key in seen:
                    raise ConfigError("grid", here, f"duplicate run {key}, already given by {seen[key]}")
                seen[key] = here
                yield config
    for rule, count in zip(excluded, hits, strict=True):
        if not count:
            raise ConfigError("exclude", rule, "excludes no run, allowed: values that the grid has")
    if not seen:
        raise ConfigError("grid", 0, "empty grid: everything is excluded, allowed: at least one run")


def _exclusion(rule: Any) -> dict[str, Any]:
    if not isinstance(rule, dict) or not rule:
        raise ConfigError("exclude", rule, "allowed: a list of mappings field: value")
    rule = nested(rule, SEAMS)
    for name, value in rule.items():
        checked_value(name, value)
    return dict(rule)


def _seeds(value: Any) -> list[Any]:
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return list(range(value))
    if isinstance(value, list) and value:
        return value
    raise ConfigError("seeds", value, "allowed: how many (0, 1, ...), or a list of seeds")


def shards(study: Study) -> list[Shard]:
    """The study's runs grouped by shape, at most `shard_size` to a shard; the shard of the earliest run comes first."""
    place = {config: i for i, config in enumerate(study.runs)}
    groups: dict[tuple[Any, ...], list[RunConfig]] = {}
    for config in study.runs:
        groups.setdefault(shard_shape(config), []).append(config)
    pieces = [g[i : i + study.shard_size] for g in groups.values() for i in range(0, len(g), study.shard_size)]
    return [Shard(_shard_id(piece), tuple(piece)) for piece in sorted(pieces, key=lambda piece: place[piece[0]])]


def _shard_id(runs: Iterable[RunConfig]) -> str:
    return hashlib.sha256(" ".join(sorted(run_key(r) for r in runs)).encode()).hexdigest()[:12]
