"""A study's yaml -> its runs, each with a key, and its shards. Every mistake is one line before anything runs."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from study.choice import nested, split
from study.config import (
    FIELDS,
    SEAMS,
    ConfigError,
    RunConfig,
    config_from_dict,
    n_images,
    run_key,
)
from study.data.dataset import known
from study.data.shift import SHIFTS
from study.hyperparameter import SIZES, checked, matches, shard_shape
from study.measures import PREFIX, Own, canonical, members
from study.names import Label, OnFirst, shift_label
from study.study_file import StudyFileError, read_study_file
from study.transforms.rescaling import ALLOWED, is_transform


@dataclass(frozen=True)
class Shard:
    """Runs of one shape, trained together; the id is a hash of their keys."""

    id: str
    runs: tuple[RunConfig, ...]


MOST_SEEDS = 1_000_000  # ours: a slip, not a study
GPU_SHARD = 256  # networks of a shape that `study run` gives a GPU, at least; what does not fit at once follows; ours


@dataclass(frozen=True)
class Study:
    """What a yaml asks for; a measure of reparameterized networks is labelled `<measure>@<transform>`.

    Shifted test sets stand behind the measures, labelled `shift(of=<shift>)`. `seconds_per_run` is the header's
    measured cost of one run on one core, or None.
    """

    name: str
    title: str
    runs: tuple[RunConfig, ...]
    measures: tuple[str, ...]
    shard_size: int
    seconds_per_run: float | None
    path: Path

    def on(self, device: str) -> Study:
        """The study as one device here trains it: a GPU needs more of a shape at once than a core does."""
        return self if device in ("", "cpu") else replace(self, shard_size=max(self.shard_size, GPU_SHARD))


def load_study(path: str | Path) -> Study:
    """Read and check a study. Raises ConfigError, one line: file, field, value, what is allowed."""
    path = Path(path)
    content = read_study_file(path)
    try:
        return _study(content, path)
    except ConfigError as error:
        raise StudyFileError(path, error) from None


def _study(content: dict[str, Any], path: Path) -> Study:
    name = content["name"]
    if name != path.stem:
        raise ConfigError("name", name, f"allowed: the file's own name, {path.stem!r}")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_\-]*", name):  # name.audit.csv stands beside its records
        raise ConfigError("name", name, "allowed in a study's name: letters, digits, _ -")
    measures = read_measures(content["measures"], path.parent)
    measures += tuple(_reparameterized(content["reparameterize"], measures))
    shard_size = content["shard_size"]
    if shard_size < 1:
        raise ConfigError("shard_size", shard_size, "allowed: an integer > 0")
    seconds = content["seconds_per_run"]
    if seconds is not None and not 0 < seconds < 1e9:
        raise ConfigError("seconds_per_run", seconds, "allowed: a number > 0, measured, or leave it out")
    runs = tuple(_runs(content))
    measures = _on_first(measures, content["measured_images"], runs) + _shifts(content["shifts"], runs)
    return Study(name, content["title"], runs, measures, shard_size, seconds, path)


def _on_first(measures: tuple[str, ...], images: int | None, runs: Iterable[RunConfig]) -> tuple[str, ...]:
    """The labels of measures that are taken on some of the training images; None: on all."""
    if images is None:
        return measures
    most = min(map(n_images, runs))
    if not 0 < images <= most:
        raise ConfigError("measured_images", images, f"allowed: an integer > 0, at most the {most} training images")
    for label in measures:
        if isinstance(label, Own):
            raise ConfigError("measured_images", images, f"allowed with {label}, of a file of one's own: none")
    return tuple(OnFirst.of(label, images) for label in measures)


def _shifts(listed: list[Any], runs: Iterable[RunConfig]) -> tuple[str, ...]:
    """The labels of a yaml's shifts, each once and all runs being of images."""
    for name in listed:
        if not isinstance(name, str) or name not in SHIFTS or listed.count(name) > 1:
            raise ConfigError("shifts", name, f"allowed, each once: {', '.join(SHIFTS)}")
    for config in runs if listed else ():
        if len(known(config.dataset).shape) != 3:
            raise ConfigError("shifts", config.dataset.name, "holds no images (channels, rows, columns), allowed: none")
    return tuple(map(shift_label, listed))


def read_measures(given: list[Any], folder: Path) -> tuple[str, ...]:
    """The measures of a yaml's list, in its order; what a set has and the list names too is taken once.

    A file of one's own starts at `folder`. Raises ConfigError, one line.
    """
    found: dict[str, bool] = {}  # label -> whether it was named itself
    for item in given:
        is_set = isinstance(item, str) and item.startswith(PREFIX)
        for label in members(item) if is_set else [_measure(item, folder)]:
            if found.get(label) and not is_set:
                raise ConfigError("measures", list(map(str, given)), f"{label} is given twice, allowed: each once")
            found[label] = found.get(label, False) or not is_set
    if not found:
        raise ConfigError("measures", given, "allowed: at least one measure, each once")
    return tuple(found)


def _measure(label: Any, folder: Path) -> str:
    if isinstance(label, str) and ".py:" in label:
        return Own.read(label, folder)
    return canonical(str(label))


def _reparameterized(section: Any, measures: tuple[str, ...]) -> Iterable[str]:
    """Labels `<measure>@<transform>` of a list of transforms, or of a mapping from transform to measures."""
    for transform in section:
        if not isinstance(transform, str) or not is_transform(transform) or list(section).count(transform) > 1:
            raise ConfigError("reparameterize", transform, f"allowed, each once: {ALLOWED}")
        chosen = section[transform] if isinstance(section, dict) else measures
        if not isinstance(chosen, list | tuple) or not chosen or len(set(map(str, chosen))) < len(chosen):
            raise ConfigError(f"reparameterize.{transform}", chosen, "allowed: a list of measures, each once")
        for label in dict.fromkeys(_expanded(chosen, measures)):
            if label not in measures:
                allowed = "is not measured before it, allowed: " + ", ".join(measures)
                raise ConfigError(f"reparameterize.{transform}", label, allowed)
            known = measures[measures.index(label)]
            yield known.at(transform) if isinstance(known, Own) else str(Label.parse(label).at(transform=transform))


def _expanded(labels: Iterable[Any], measures: tuple[str, ...]) -> Iterable[Any]:
    """Labels as `measures` writes them, sets as their members, each once; what is none is left for the caller."""
    for label in labels:
        if label in measures or not isinstance(label, str):
            yield label
        elif label.startswith(PREFIX):
            yield from members(label)
        else:
            try:
                yield canonical(label)
            except ConfigError:
                yield label


def _axis(section: str, name: Any, values: Any) -> list[Any]:
    if "." in str(name):
        split(name, SEAMS)
    elif name not in (*FIELDS, *SIZES) or name == "seed":
        allowed = "use `seeds`" if name == "seed" else "unknown field, allowed: " + ", ".join((*FIELDS, *SIZES))
        raise ConfigError(f"{section}.{name}", values, allowed)
    if not isinstance(values, list) or not values:
        raise ConfigError(f"{section}.{name}", values, "allowed: a list of at least one value")
    return values


def _runs(content: dict[str, Any]) -> Iterable[RunConfig]:
    fixed = content["fixed"]
    if "seed" in fixed:
        raise ConfigError("fixed.seed", fixed["seed"], "use `seeds`")
    grid = {k: _axis("grid", k, v) for k, v in content["grid"].items()}
    zipped = {k: _axis("zip", k, v) for k, v in content["zip"].items()}
    names = [*fixed, *grid, *zipped]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(name, "fixed, grid, zip", "is set in two of them, allowed: one")
    lengths = {len(v) for v in zipped.values()}
    if len(lengths) > 1:
        raise ConfigError("zip", {k: len(v) for k, v in zipped.items()}, "allowed: lists of one length")
    rows = [dict(zip(zipped, values, strict=True)) for values in zip(*zipped.values(), strict=True)] if zipped else [{}]
    excluded = [_exclusion(e) for e in content["exclude"]]
    hits = [0] * len(excluded)
    seen: dict[str, str] = {}
    for seed in _seeds(content["seeds"]):  # outermost: what is done first is a complete grid of fewer seeds
        for values in itertools.product(*grid.values()):
            for row in rows:
                given = {**fixed, **dict(zip(grid, values, strict=True)), **row, "seed": seed}
                config = config_from_dict(_sized(nested(given, SEAMS)))
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


def _sized(given: dict[str, Any]) -> dict[str, Any]:
    """With depth and width written into `hidden`. Raises ConfigError where one is missing, or the model has its own."""
    sizes = {name: checked(name, given[name]) for name in SIZES if name in given}
    if not sizes:
        return given
    name, value = next(iter(sizes.items()))
    chosen = SEAMS["model"].choose(given.get("model", FIELDS["model"].default))
    if own := set(sizes) & set(SEAMS["model"].options(chosen)):
        paths = ", ".join(f"model.{chosen.name}.{part}" for part in sorted(own))
        raise ConfigError(name, value, f"is of `hidden`, which model {chosen.name} does not read, allowed: {paths}")
    if "hidden" in given:
        raise ConfigError("hidden", given["hidden"], f"is given by {name} too, allowed: once")
    if len(sizes) < len(SIZES):
        raise ConfigError(name, value, f"allowed: with {' and '.join(SIZES)} both given")
    rest = {field: v for field, v in given.items() if field not in SIZES}
    return {**rest, "hidden": (sizes["width"],) * sizes["depth"]}


def _exclusion(rule: Any) -> dict[str, Any]:
    if not isinstance(rule, dict) or not rule:
        raise ConfigError("exclude", rule, "allowed: a list of mappings field: value")
    rule = nested(rule, SEAMS)
    for name, value in rule.items():
        checked(name, value)
    return dict(rule)


def _seeds(value: Any) -> list[Any]:
    if isinstance(value, int) and 0 < value <= MOST_SEEDS:
        return list(range(value))
    if isinstance(value, list) and value:
        return _listed(value)
    raise ConfigError("seeds", value, f"allowed: how many, 1 to {MOST_SEEDS} (3 is 0, 1, 2), or a list of seeds")


def _listed(values: list[Any]) -> list[Any]:
    seeds: list[Any] = []
    for value in values:
        try:
            seeds.append(checked("seed", value))
        except ConfigError:
            raise ConfigError("seeds", value, "allowed in the list: integers, 0 <= seed < 2**31") from None
        if seeds.count(seeds[-1]) > 1:
            raise ConfigError("seeds", value, "is given twice, allowed: each seed once")
    return seeds


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
