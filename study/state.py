"""How far a run has come, read from its files alone; and whose folder it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from study.config import RunConfig, completed, config_to_dict
from study.storage.atomic import read_json, write_json
from study.storage.paths import RunPaths

State = Literal["new", "partial", "done"]


def run_state(paths: RunPaths, config: RunConfig, measures: Sequence[str]) -> State:
    """Read from the files alone: "done" once trained, evaluated and measured; "partial" once its folder is there."""
    if not paths.config.exists():
        return "new"
    if not paths.outcome.exists():
        return "partial"
    if read_json(paths.outcome)["status"] == "diverged":
        return "done"
    for stop in map(paths.stop, config.stops):
        files = [stop.evaluation, *(stop.measure(label) for label in measures)]
        if not all(file.exists() for file in files):
            return "partial"
    return "done"


def missing(paths: RunPaths, config: RunConfig, measures: Sequence[str]) -> list[tuple[str, ...]]:
    """The measures that a trained run still lacks: an entry a stop that lacks one, in the order of `measures`."""
    stops = [paths.stop(stop) for stop in config.stops]
    lacking = [tuple(label for label in measures if not stop.measure(label).exists()) for stop in stops]
    return [labels for labels in lacking if labels]


def claim(config: RunConfig, paths: RunPaths, guard: Callable[[], None]) -> None:
    """Write config.json, or check the one that is there field by field. Raises ValueError where it is another one.

    Only what came later than an older file may be missing in it; see `completed`.
    """
    wanted = config_to_dict(config)
    if not paths.config.exists():
        guard()
        write_json(paths.config, wanted)
        return
    found = completed(read_json(paths.config))
    for name, value in found.items():
        if wanted.get(name) != value:
            raise ValueError(f"{paths.config}: {name}: {value!r}: differs from the study's {wanted.get(name)!r}")
    for name, value in wanted.items():
        if name not in found:
            raise ValueError(f"{paths.config}: {name}: is missing, allowed: the study's {value!r}")
