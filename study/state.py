"""How far a run has come, read from its files alone; and whose folder it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Literal

from study.config import RunConfig, completed, config_to_dict, run_key
from study.measures import Own
from study.storage.atomic import read_json, write_json
from study.storage.paths import RunPaths, StopPaths

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
        if not stop.evaluation.exists() or not all(taken(stop, label) for label in measures):
            return "partial"
    return "done"


def taken(stop: StopPaths, label: str) -> bool:
    """Whether a measure was taken at a stop; one from a person's own file, by the code that it has now."""
    file = stop.measure(label)
    return file.exists() and (not isinstance(label, Own) or read_json(file).get("code") == label.code)


def finished(configs: Iterable[RunConfig], runs_root: Path, name: str) -> list[RunConfig]:
    """Those that are trained and have not diverged. Raises ValueError, naming the study, where there are none."""
    found = [config for config in configs if _is_finished(RunPaths(runs_root, run_key(config)), config)]
    if not found:
        said = "allowed: run the study first (python -m study run)"
        raise ValueError(f"{runs_root}: holds no finished run of {name}; {said}")
    return found


def _is_finished(paths: RunPaths, config: RunConfig) -> bool:
    return run_state(paths, config, ()) == "done" and read_json(paths.outcome)["status"] == "finished"


def missing(paths: RunPaths, config: RunConfig, measures: Sequence[str]) -> list[tuple[str, ...]]:
    """The measures that a trained run still lacks: an entry a stop that lacks one, in the order of `measures`."""
    stops = [paths.stop(stop) for stop in config.stops]
    lacking = [tuple(label for label in measures if not taken(stop, label)) for stop in stops]
    return [labels for labels in lacking if labels]


def outdated(paths: RunPaths, config: RunConfig, measures: Sequence[str]) -> set[str]:
    """The measures that a trained run has by other code than they have now, at one stop at least."""
    stops = [paths.stop(stop) for stop in config.stops]
    return {m for m in measures if any(stop.measure(m).exists() and not taken(stop, m) for stop in stops)}


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
