"""Some finished networks of a study, and two values of each of some of its measures there: a row each of a CSV file."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from study.config import RunConfig, run_key
from study.device import reproducible
from study.display import duration
from study.grid import Study
from study.measures import MeasureContext, attempt, codes
from study.measuring import context_at
from study.names import few, images_of
from study.provenance import commit
from study.state import finished
from study.storage.atomic import read_json
from study.storage.paths import RunPaths, StopPaths
from study.storage.rows import Row, read_table, write_rows
from study.storage.turns import alone
from study.training.start import training_data

Twice = Callable[[RunPaths, str, MeasureContext, tuple[str, ...]], Iterator[Row]]


@dataclass(frozen=True)
class Plan:
    """Networks, of how many that are finished, the stops, the measures (`what` they are called), how they are taken.

    `twice` is given a run's files, a stop, the network there with all its data, and the labels; it makes a row of each.
    """

    study: Study
    networks: tuple[RunConfig, ...]
    n_finished: int
    stops: tuple[str, ...]
    labels: tuple[str, ...]
    what: str
    twice: Twice
    seconds: float | None = None  # that it will take, by what the first values took; None where nothing says

    @property
    def said(self) -> str:
        """What will be done, and about how long it takes."""
        networks = f"{len(self.networks)} of {self.n_finished} finished, each at {', '.join(self.stops)}"
        lines = [f"  networks  {networks}", f"  {self.what:<8}  {len(self.labels)}: {few(self.labels)}"]
        if self.seconds is not None:
            lines.append(f"  estimate  {duration(self.seconds)}, by what the first values took")
        return "\n".join(lines)


def spread(study: Study, runs_root: Path, n_networks: int | None) -> tuple[tuple[RunConfig, ...], int]:
    """So many finished networks from all over the grid (None: all), and of how many.

    Raises ValueError where none is finished.
    """
    found = finished(study.runs, runs_root, study.name)
    n = len(found) if n_networks is None else min(n_networks, len(found))
    return tuple(found[round(i * (len(found) - 1) / max(n - 1, 1))] for i in range(n)), len(found)


def write(plan: Plan, runs_root: Path, path: Path, progress: Callable[[int], None]) -> None:
    """Take them into `path`, written anew after each network; `progress` is given how many networks are done.

    What is there of other networks and stops stays; of these what is of this commit and the values that are recorded
    now, so that a call that was cut off goes on. What the study does not measure any more goes. A second call at the
    same time waits until this one has ended, and goes on from its file.
    """
    with alone(path) as held:
        there = _there(path, plan)
        for done, config in enumerate(plan.networks, 1):
            paths = RunPaths(runs_root, run_key(config))
            for stop in plan.stops:
                if not _is_whole(there.get((paths.key, stop), {}), paths.stop(stop), plan.labels):
                    there[paths.key, stop] = _taken(plan, config, paths, stop)
            held.check()
            write_rows(path, [row for taken in there.values() for row in taken.values()])
            progress(done)


def _there(path: Path, plan: Plan) -> dict[tuple[str, str], dict[str, Row]]:
    """The rows that there are of measures of the study: by run and stop, then by measure."""
    there: dict[tuple[str, str], dict[str, Row]] = {}
    for row in read_table(path):
        if row["measure"] in plan.study.measures:
            there.setdefault((row["key"], row["stop"]), {})[row["measure"]] = row
    return there


def _taken(plan: Plan, config: RunConfig, paths: RunPaths, stop: str) -> dict[str, Row]:
    """The rows of a network at a stop by measure."""
    own = codes(plan.labels)
    with reproducible("cpu"):
        whole = context_at(config, paths, stop, training_data(config).decoded())
        found = plan.twice(paths, stop, whole, plan.labels)
        return {row["measure"]: row | own.get(row["measure"], {}) | {"prov.commit": commit()} for row in found}


def _is_whole(rows: Mapping[str, Row], files: StopPaths, labels: Sequence[str]) -> bool:
    """Whether the rows of a network at a stop are what would be taken now."""
    now, own = commit(), codes(labels)
    if "-dirty" in now or now == "unknown":
        return False
    return all(
        label in rows
        and rows[label]["prov.commit"] == now
        and rows[label].get("prov.code", "") == own.get(label, {}).get("prov.code", "")
        and rows[label]["value"] == cells(value=recorded(files, label))["value"]
        for label in labels
    )


def recorded(files: StopPaths, label: str) -> float:
    """The value of a measure as it was taken first; NaN where it is missing."""
    value = read_json(files.measure(label))["value"] if files.measure(label).exists() else None
    return math.nan if value is None else float(value)


def by_images(whole: MeasureContext, labels: tuple[str, ...]) -> dict[int, MeasureContext]:
    """The network on as many first training images as the labels name; 0 for all."""
    return {n: whole.on_first(n) if n else whole for n in set(map(images_of, labels))}


def value(label: str, context: MeasureContext) -> float:
    """NaN where the network has no such value. Raises as `attempt` does."""
    stored, missing = attempt(label, context)
    return math.nan if missing else float(stored["value"])


def relative_change(before: float, after: float) -> float:
    """The change over the size of the first; NaN where that is 0 or one is missing."""
    return (after - before) / abs(before) if before else math.nan


def cells(**values: float) -> Row:
    """Numbers as text that reads back to the same; NaN is empty."""
    return {name: "" if math.isnan(value) else repr(float(value)) for name, value in values.items()}
