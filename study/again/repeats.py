"""Every measure of a study's networks again, on other training images and with other noise: repeats.csv.

A measure that is of some of the images, or draws, would come out otherwise with others. How far, and whether it puts
the networks into the same order, is what its correlations can be trusted to.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from study.again.taking import Plan, by_images, cells, recorded, relative_change, spread, value
from study.config import n_images, run_key
from study.grid import Study
from study.measures import MeasureContext, is_of_history, is_of_test
from study.names import Label, images_of, shift_of
from study.state import missing
from study.storage.atomic import read_json
from study.storage.paths import RunPaths
from study.storage.rows import Row


def plan(study: Study, runs_root: Path, n_networks: int | None, stops: Sequence[str] = ()) -> Plan:
    """The measures of networks as trained that read training data, at these stops (default: every one).

    Raises ValueError where no network is finished, or one lacks a measure; a stop is none of the study's; nothing
    reads training data; or measures are of more than half of the training images, and others are too few. Cost: what
    the measures of a network take, once.
    """
    networks, n_finished = spread(study, runs_root, n_networks)
    known = networks[0].stops
    if wrong := [stop for stop in stops if stop not in known]:
        raise ValueError(f"--stops: {wrong[0]}: is none of {study.name}, allowed: {', '.join(known)}")
    labels = tuple(label for label in study.measures if _is_repeated(label))
    if not labels:
        raise ValueError(f"{study.path}: measures nothing that reads training data, allowed: one that does")
    least = min(map(n_images, networks))
    if many := [n for n in map(images_of, labels) if 2 * n > least]:
        said = "leaves no others as many, allowed: at most half of them"
        raise ValueError(f"measured_images: {many[0]} of {least} training images: {said}")
    for config in networks:
        if lacking := missing(paths := RunPaths(runs_root, run_key(config)), config, labels):
            said = "is not measured yet, allowed: a network with every measure (python -m study run)"
            raise ValueError(f"{paths.folder}: {lacking[0][0]} {said}")
    asked, first = tuple(stops) or known, RunPaths(runs_root, run_key(networks[0]))
    each = [read_json(first.stop(stop).measure(label))["seconds"] for stop in asked for label in labels]
    return Plan(study, networks, n_finished, asked, labels, "measures", _twice, sum(each) * len(networks))


def other(whole: MeasureContext) -> MeasureContext:
    """The same network with its training images from the middle on, then those before, and other noise.

    A measure of the first n of m images is then of others, where 2 n <= m. One of all of them is the same up to
    rounding, unless it draws.
    """
    x, labels = (part.roll(-(len(part) // 2), 0) for part in (whole.x, whole.labels))
    return replace(whole, x=x, labels=labels, noise=whole.noise + 1)


def _is_repeated(label: str) -> bool:
    return not (shift_of(label) or is_of_test(label) or is_of_history(label) or Label.parse(label).transform)


def _twice(paths: RunPaths, stop: str, whole: MeasureContext, labels: tuple[str, ...]) -> Iterator[Row]:
    contexts = by_images(other(whole), labels)
    for label in labels:
        once = recorded(paths.stop(stop), label)
        again = value(label, contexts[images_of(label)])
        row = {"key": paths.key, "stop": stop, "measure": str(label)}
        yield row | cells(value=once, again=again, relative_change=relative_change(once, again))
