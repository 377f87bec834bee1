"""What `study searches` and `study repeats` do, and what they print."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from study.again.taking import Plan, write
from study.data.fetch import fetch
from study.grid import Study
from study.storage.paths import repeats_file, searches_file


def searches(study: Study, options: argparse.Namespace) -> None:
    """Each search with its steps and with twice as many."""
    from study.again.searches import plan

    _take(plan(study, options.runs, _count(options)), options, searches_file(study.name, options.results))


def repeats(study: Study, options: argparse.Namespace) -> None:
    """Every measure again, on other images and with other noise."""
    from study.again.repeats import plan

    n_networks = _count(options)
    _take(plan(study, options.runs, n_networks, options.stops), options, repeats_file(study.name, options.results))


def _count(options: argparse.Namespace) -> int | None:
    if options.networks is not None and options.networks < 1:
        raise ValueError(f"--networks: {options.networks}: allowed: an integer > 0")
    n_networks: int | None = options.networks
    return n_networks


def _take(plan: Plan, options: argparse.Namespace, path: Path) -> None:
    """Say what will be taken, take it, and say how long is left after each network."""
    begin = time.monotonic()
    print(f"{plan.study.name}: {plan.study.title}\n{plan.said}", flush=True)
    fetch(config.dataset.name for config in plan.networks)

    def progress(done: int) -> None:
        left = (time.monotonic() - begin) / done * (len(plan.networks) - done)
        print(f"  network {done} of {len(plan.networks)}, {left:.0f} s left", flush=True)

    write(plan, options.runs, path, progress)
    print(f"{path}: {len(plan.networks)} networks")
