"""The state of networks that train together: one file for all of them, and the one before it.

runs/.populations/<xx>/<id>/<number>.pt holds the networks of one stack side by side, and those of other sizes after
them. A run's population.json names the population that holds it, so that runs may be regrouped between two calls: each
is read from wherever it was, and a population that holds no run any more is removed.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study.names import few
from study.storage.atomic import read_json, read_tensors, write_json
from study.storage.checked import BrokenFile, read_checked, read_words, write_checked
from study.storage.paths import PopulationPaths, RunPaths
from study.training.stack import State

GENERATIONS = 2  # the last one, and the one before in case the last is damaged
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Saved:
    """A run as it was at an epoch end: its progress as plain values, its tensors on the CPU."""

    progress: dict[str, Any]
    state: State


@dataclass(frozen=True)
class Group:
    """Networks of one size: their keys, their progress, their tensors as one stack on the CPU."""

    keys: list[str]
    progress: list[dict[str, Any]]
    state: State


class PopulationFile:
    """Where the state of these runs goes. `write` may be called on another thread, once at a time."""

    def __init__(self, runs: Sequence[RunPaths]) -> None:
        self.runs = {paths.key: paths for paths in runs}
        id = hashlib.sha256(" ".join(sorted(self.runs)).encode()).hexdigest()[:12]
        self.paths = PopulationPaths(runs[0].root, id)
        self._pointing: set[str] = set()

    def write(self, groups: Sequence[Group], guard: Callable[[], None]) -> None:
        """Write the next generation and drop those before the last two. Raises OSError, and what `guard` raises."""
        there = self.paths.generations()
        latest = self.paths.generation(there[0] + 1 if there else 1)
        keys = [key for group in groups for key in group.keys]
        content = [{"keys": g.keys, "progress": g.progress, "state": g.state.as_dict()} for g in groups]
        guard()
        write_checked(latest, keys, content)
        kept = {latest, *map(self.paths.generation, there[: GENERATIONS - 1])}
        for path in set(self.paths.folder.iterdir()) - kept:  # and what a kill left half written
            path.unlink(missing_ok=True)
        if new := [self.runs[key] for key in keys if key not in self._pointing]:
            guard()
            self._point(new)

    def _point(self, runs: Sequence[RunPaths]) -> None:
        """Have these runs name this population; those that held them before are dropped when none is left in them."""
        before = {_population(paths) for paths in runs}
        for paths in runs:
            if _population(paths) != self.paths.id:
                write_json(paths.population, {"population": self.paths.id})
            paths.old_state.unlink(missing_ok=True)
            self._pointing.add(paths.key)
        for id in before - {None, self.paths.id}:
            _drop_if_left(PopulationPaths(self.paths.root, str(id)))


def load(runs: Sequence[RunPaths], tell: Tell) -> dict[str, Saved]:
    """The latest whole state of each run that has one, by key; each file is read once.

    `tell` gets a line for each file that is damaged: the one before it is used, and a run that is in no whole file
    trains from its start, to the same bits. Raises OSError.
    """
    groups: dict[str, set[str]] = {}
    found = {}
    for paths in runs:
        if id := _population(paths):
            groups.setdefault(id, set()).add(paths.key)
        elif paths.old_state.exists() and (old := _of_before(paths, tell)):
            found[paths.key] = old
    for id, keys in groups.items():
        found |= _load_from(PopulationPaths(runs[0].root, id), keys, tell)
    return found


def forget(runs: Iterable[RunPaths]) -> None:
    """Drop the state of runs that have ended, and populations in which no other is left."""
    for paths in runs:
        if id := _population(paths):
            _drop_if_left(PopulationPaths(paths.root, id), ended=paths.key)
        paths.population.unlink(missing_ok=True)  # last, so that a kill leaves nothing that is not found again
        paths.old_state.unlink(missing_ok=True)


def _population(paths: RunPaths) -> str | None:
    return read_json(paths.population)["population"] if paths.population.exists() else None


def _load_from(population: PopulationPaths, keys: set[str], tell: Tell) -> dict[str, Saved]:
    found: dict[str, Saved] = {}
    damaged = ""
    for number in population.generations():
        if keys <= found.keys():
            break
        try:
            content = read_checked(population.generation(number))
        except BrokenFile as error:
            damaged = str(error)
            continue
        for group in content:
            state = State(**group["state"])
            for i, key in enumerate(group["keys"]):
                if key in keys - found.keys():
                    found[key] = Saved(group["progress"][i], state.member(i))
        if damaged:
            tell(f"{damaged}; training goes on from the file before it")
            damaged = ""
    if lost := sorted(keys - found.keys()):
        why = damaged or f"{population.folder}: holds no state of theirs"
        tell(f"{why}; trained from the start: {few(lost)}")
    return found


def _of_before(paths: RunPaths, tell: Tell) -> Saved | None:
    try:
        content = read_tensors(paths.old_state)
    except (RuntimeError, EOFError, ValueError):
        tell(f"{paths.old_state}: is cut short or damaged; trained from the start")
        return None
    tensors = {name: content.pop(name, {}) for name in ("parameters", "buffers", "optimizer", "mask")}
    return Saved(content, State(**tensors))


def _drop_if_left(population: PopulationPaths, ended: str = "") -> None:
    """Remove a population that no run names any more, but for one that has ended."""
    keys: set[str] = set()
    for number in population.generations():
        try:
            keys |= set(read_words(population.generation(number)))
        except BrokenFile:
            continue
    runs = [RunPaths(Path(population.root), key) for key in keys - {ended}]
    if not any(_population(paths) == population.id and not paths.outcome.exists() for paths in runs):
        shutil.rmtree(population.folder, ignore_errors=True)
