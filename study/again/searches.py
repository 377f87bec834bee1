"""What twice the steps change of each search that a study measures by, on some of its networks: searches.csv."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from study.again.taking import Plan, by_images, cells, relative_change, spread, value
from study.grid import Study
from study.measures import MEASURES, MeasureContext, canonical, is_search
from study.measures.registry import given_options
from study.names import Label, images_of
from study.storage.paths import RunPaths
from study.storage.rows import Row


def plan(study: Study, runs_root: Path, n_networks: int | None) -> Plan:
    """The searches among its measures of networks as trained, each network at its last stop.

    Raises ValueError where no network is finished, or nothing is a search. Cost: three times what the searches of a
    network take.
    """
    labels = tuple(label for label in study.measures if is_search(label) and not Label.parse(label).transform)
    if not labels:
        known = ", ".join(filter(is_search, MEASURES))
        raise ValueError(f"{study.path}: measures by no search, allowed: one of {known}")
    networks, n_finished = spread(study, runs_root, n_networks)
    return Plan(study, networks, n_finished, networks[0].stops[-1:], labels, "searches", _twice)


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


def _twice(paths: RunPaths, stop: str, whole: MeasureContext, labels: tuple[str, ...]) -> Iterator[Row]:
    contexts = by_images(whole, labels)
    for label in labels:
        once, twice = (value(name, contexts[images_of(label)]) for name in (str(label), doubled(label)))
        row = {"key": paths.key, "stop": stop, "measure": str(label), "steps": str(steps_of(label))}
        yield row | cells(value=once, value_twice=twice, relative_change=relative_change(once, twice))
