"""What a command line asks to be sent, and what each job of it gets: assignment, environment, mirror."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from slurm.cluster import device_of
from slurm.filter import EVERYTHING, Filter
from slurm.job.shard import ShardJob
from slurm.launch import Place, n_workers
from slurm.snapshot import Code
from slurm.variables import variables
from study.config import run_key
from study.grid import Shard, shards
from study.hyperparameter import changed_seams, differing


@dataclass(frozen=True)
class Options:
    """What the command line asks for."""

    config: Path
    cluster: str | None  # None: where the study was sent last
    runs: Path | None = None
    results: Path | None = None
    device: str = ""
    wandb: str = "offline"
    test_curve: bool = False
    allow_dirty: bool = False
    skip_published: bool = False
    dry_run: bool = False
    wait: bool = True
    retry: bool = False
    chosen: Filter = EVERYTHING


def assign(place: Place, options: Options, chosen: Sequence[Shard]) -> list[ShardJob]:
    """What is pickled for each of these shards; what is of the whole study is found once."""
    study, cluster = place.study, place.cluster
    mirrors = cluster.kind == "slurm" or options.wandb == "online"  # else once at the end, which costs less
    seams, varies = tuple(sorted(changed_seams(study.runs))), tuple(differing(study.runs))
    rate = _live_rate(place) if options.wandb == "online" else 0.0
    return [
        ShardJob(
            study.name, shard.id, shard.runs, study.measures, str(place.runs), str(place.results),
            options.device or device_of(cluster), options.wandb if mirrors else "off",
            0.8 * cluster.signal_seconds if cluster.kind == "slurm" else 3600.0,
            seams, varies, rate, options.test_curve, place.digest,
        )
        for shard in chosen
    ]  # fmt: skip


def _live_rate(place: Place) -> float:
    """A job's share of the requests that a free account may make."""
    from study.tracking.mirror import FREE_RATE

    return FREE_RATE / min(n_workers(place.cluster), len(shards(place.study)))


def mirror(place: Place, options: Options) -> None:
    """Show what is done in wandb, where the jobs do not."""
    if place.cluster.kind != "local" or options.wandb == "off":
        return
    from study.tracking import mirror as tracking

    study = place.study
    done = tracking.mirror(study.runs, study.measures, place.runs, study.name, options.wandb, place.results)
    for problem in done.problems:
        print(problem, file=sys.stderr)


def environment(place: Place, code: Code) -> dict[str, str]:
    """Variables of every job of a submission: its code, one thread, the data."""
    return {**code.environment(), "OMP_NUM_THREADS": "1", **_data(place)}


def _data(place: Place) -> dict[str, str]:
    data = place.cluster.data or os.environ.get("STUDY_DATA", "")
    return {"STUDY_DATA": str(Path(data).expanduser().resolve())} if data else {}


def fetch_data(place: Place, to_send: Sequence[Shard]) -> None:
    """Have the data sets of these shards in the folder that jobs read, before they start.

    Where this machine has no torch or torchvision, the first job does it while the others wait. Raises ValueError, one
    line, for data that is not there and cannot be downloaded, or is not whole.
    """
    if any(importlib.util.find_spec(package) is None for package in ("torch", "torchvision")):
        return
    from study.data.fetch import fetch

    with variables(_data(place)):
        fetch(config.dataset.name for shard in to_send for config in shard.runs)


def keep_plan(place: Place) -> None:
    """Keep which runs each shard has, for `status`, and which of those sent before are complete as the study is now."""
    journal = place.journal
    kept = journal.plan(place.digest)
    complete = kept.complete if kept else place.complete(journal.latest())
    pieces = {shard.id: [run_key(c) for c in shard.runs] for shard in shards(place.study)}
    journal.write_plan(place.digest, pieces, complete)
