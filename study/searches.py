"""What twice the steps change of each search that a study measures by, on some of its networks: searches.csv."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from study.config import RunConfig, run_key
from study.device import is_of_the_machine, reproducible
from study.grid import Study
from study.measures import MEASURES, MeasureContext, canonical, compute, is_search
from study.measures.registry import given_options
from study.measuring import context_at
from study.names import Label, images_of
from study.provenance import commit
from study.state import finished
from study.storage.paths import RunPaths, searches_file
from study.storage.rows import Row, write_rows
from study.training.start import training_data


@dataclass(frozen=True)
class Plan:
    """Networks, of how many that are finished, and the searches among a study's measures of networks as trained."""

    study: Study
    networks: tuple[RunConfig, ...]
    n_finished: int
    labels: tuple[str, ...]

    @property
    def said(self) -> str:
        """What will be done, in two lines."""
        networks = f"{len(self.networks)} of {self.n_finished} finished, each at its last stop"
        return f"  networks  {networks}\n  searches  {len(self.labels)}: {', '.join(self.labels)}"


def make(study: Study, runs_root: Path, n_networks: int) -> Plan:
    """Finished networks from all over the grid. Raises ValueError where there are none, or nothing is a search."""
    labels = tuple(label for label in study.measures if is_search(label) and not Label.parse(label).transform)
    if not labels:
        known = ", ".join(filter(is_search, MEASURES))
        raise ValueError(f"{study.path}: measures by no search, allowed: one of {known}")
    found = finished(study.runs, runs_root, study.name)
    n = min(n_networks, len(found))
    chosen = tuple(found[round(i * (len(found) - 1) / max(n - 1, 1))] for i in range(n))
    return Plan(study, chosen, len(found), labels)


def write(plan: Plan, runs_root: Path, results_root: Path, progress: Callable[[int], None]) -> Path:
    """Take every search with its steps and with twice as many; the file, written anew after each network.

    `progress` is given how many networks are done. Cost: three times what the searches of a network take.
    """
    path, rows = searches_file(plan.study.name, results_root), list[Row]()
    for done, config in enumerate(plan.networks, 1):
        with reproducible("cpu"):
            rows += _rows(config, runs_root, plan.labels)
        write_rows(path, rows)
        progress(done)
    return path


def steps_of(label: str) -> int:
    """How many steps a search takes: as its label says, or by default."""
    parsed = Label.parse(label)
    options = MEASURES[parsed.measure].options
    return int(given_options(label, parsed.options, options).get("steps", options["steps"].default))


def doubled(label: str) -> str:
    """The same search with twice the steps."""
    parsed = Label.parse(label)
    others = [option for option in filter(None, parsed.options.split(",")) if not option.startswith("steps=")]
    return canonical(str(Label(parsed.measure, ",".join([*others, f"steps={2 * steps_of(label)}"]))))


def _rows(config: RunConfig, runs_root: Path, labels: tuple[str, ...]) -> list[Row]:
    paths, stop = RunPaths(runs_root, run_key(config)), config.stops[-1]
    whole = context_at(config, paths, stop, training_data(config).decoded())
    contexts = {n: whole.on_first(n) if n else whole for n in set(map(images_of, labels))}
    found = []
    for label in labels:
        once, twice = (_value(name, contexts[images_of(label)]) for name in (str(label), doubled(label)))
        row = {"key": paths.key, "stop": stop, "measure": str(label), "steps": str(steps_of(label))}
        cells = {
            "value": once,
            "value_twice": twice,
            "relative_change": (twice - once) / abs(once) if once else math.nan,
        }
        texts = {name: "" if math.isnan(value) else repr(float(value)) for name, value in cells.items()}
        found.append({**row, **texts, "prov.commit": commit()})
    return found


def _value(label: str, context: MeasureContext) -> float:
    """NaN where the network has no such value."""
    try:
        return float(compute(label, context)["value"])
    except (ValueError, ArithmeticError, RuntimeError) as error:
        if is_of_the_machine(error):
            raise
        return math.nan
