"""audit.csv of a study: what is planned, what is there already, network after network."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from study.audit.changes import changes, counted, refusals
from study.audit.rows import context_of, rows, values
from study.config import RunConfig, n_images, run_key
from study.device import reproducible
from study.grid import Study
from study.measures import ALL, codes, is_of_history, members
from study.names import Label, few, shift_of
from study.provenance import commit
from study.state import finished
from study.storage.paths import RunPaths, audit_file
from study.storage.rows import Row, read_table, write_rows
from study.storage.turns import alone
from study.training.start import build_model


@dataclass(frozen=True)
class Plan:
    """Networks to audit, of how many that are finished, by which measures, on how many images, at how many places."""

    study: Study
    networks: tuple[RunConfig, ...]
    n_finished: int
    measures: tuple[str, ...]
    n_images: int
    n_places: int | None  # of each kind of change at most; None: all

    def show(self) -> None:
        """Print it, with what is changed and what cannot be, once for each architecture."""
        print(f"{self.study.name}: {self.study.title}")
        print(f"  networks  {len(self.networks)} of {self.n_finished} finished: {self._keys()}")
        print(f"  measures  {len(self.measures)}, on {self.n_images} training images at most, in float64")
        for name, config in {str(config.model): config for config in self.networks}.items():
            model = build_model(config)
            print(f"  {name}: to be changed: {counted(model, self.n_places)}")
            for line in refusals(model):
                print(f"    not {line}")
        print(end="", flush=True)

    def _keys(self) -> str:
        return few([f"{run_key(c)} at {c.stops[-1]}" for c in self.networks])


def make(
    study: Study, runs_root: Path, n_networks: int, images: int, every_measure: bool, n_places: int | None = None
) -> Plan:
    """The first finished networks of a study. Raises ValueError where there are none, or nothing can be changed."""
    found = finished(study.runs, runs_root, study.name)
    networks = tuple(found[:n_networks])
    for config in networks:
        if not changes(build_model(config), ""):
            raise ValueError(f"audit: {config.model}: nothing can be changed, allowed: two layers, or batch-norm")
    own = [label for label in study.measures if not (Label.parse(label).transform or shift_of(label))]
    asked = dict.fromkeys([*(members(ALL) if every_measure else ()), *own])
    measures = tuple(label for label in asked if not is_of_history(label))
    return Plan(study, networks, len(found), measures, images, n_places)


def write(plan: Plan, runs_root: Path, results_root: Path) -> tuple[Path, list[str]]:
    """Take what audit.csv lacks and write it, after each network; the file, and a line for each change refused.

    Rows that committed code, the same as now, took of these weights stay, those of other networks of the study too. A
    second call at the same time waits until this one has ended, and goes on from its file. Prints the estimate of each
    network.
    """
    path, refused = audit_file(plan.study.name, results_root), list[str]()
    with alone(path) as held:
        found = _there(path, plan, runs_root)
        for number, config in enumerate(plan.networks, 1):
            if not _is_whole(found.get(run_key(config), []), config, plan):
                with reproducible("cpu"):
                    words = f"network {number} of {len(plan.networks)}"
                    found[run_key(config)] = _taken(plan, config, runs_root, refused, words)
                order = [run_key(c) for c in plan.study.runs]
                held.check()
                write_rows(path, [row for key in sorted(found, key=order.index) for row in found[key]])
    return path, refused


def _there(path: Path, plan: Plan, runs_root: Path) -> dict[str, list[Row]]:
    """The rows of audit.csv by run, of those whose weights are older than the file."""
    found: dict[str, list[Row]] = {}
    for row in read_table(path):
        found.setdefault(row["key"], []).append(row)
    for config in plan.study.runs:
        weights = RunPaths(runs_root, run_key(config)).stop(config.stops[-1]).weights
        if weights.exists() and path.exists() and weights.stat().st_mtime_ns > path.stat().st_mtime_ns:
            found.pop(run_key(config), None)
    return {run_key(config): found[run_key(config)] for config in plan.study.runs if run_key(config) in found}


def _taken(plan: Plan, config: RunConfig, runs_root: Path, refused: list[str], words: str) -> list[Row]:
    context = context_of(config, runs_root, plan.n_images)
    begin = time.perf_counter()
    before = values(plan.measures, context)
    seconds = time.perf_counter() - begin
    every = changes(context.model, context.key, plan.n_places)
    n = len(every)
    print(f"  estimate  {words}: {seconds * n:.0f} s, by {seconds:.2g} s as trained, times {n} changes", flush=True)
    of = {"key": run_key(config), "stop": config.stops[-1], "model": config.model.name, "images": str(len(context.x))}
    found = rows(context, every, before, refused, _progress(words))
    own = codes(plan.measures)
    return [{**of, **row, **own.get(row["measure"], {}), "prov.commit": commit()} for row in found]


def _progress(words: str) -> Callable[[int, int], None]:
    shown = time.monotonic()

    def show(done: int, total: int) -> None:
        nonlocal shown
        line = f"{words}: {done} of {total} changes"
        if sys.stderr.isatty():
            print(f"\r\033[K{line}", end="" if done < total else "\r\033[K", file=sys.stderr, flush=True)
        elif time.monotonic() - shown > 10:
            shown = time.monotonic()
            print(line, file=sys.stderr, flush=True)

    return show


def _is_whole(rows: Sequence[Row], config: RunConfig, plan: Plan) -> bool:
    """Whether the rows of one network are what would be taken now."""
    now, images = commit(), str(min(plan.n_images, n_images(config)))
    same = {(row["prov.commit"], row["images"], row["stop"]) for row in rows} == {(now, images, config.stops[-1])}
    committed = "-dirty" not in now and now != "unknown"
    places = {(row["transform"], row["place"], row["factor"]) for row in rows}
    asked = {(c.transform, c.place, c.factor) for c in changes(build_model(config), "", plan.n_places)}
    own = codes(plan.measures)
    same &= all(row.get("prov.code", "") == own.get(row["measure"], {}).get("prov.code", "") for row in rows)
    return (
        same and committed and places == asked and plan.measures == tuple(dict.fromkeys(row["measure"] for row in rows))
    )
