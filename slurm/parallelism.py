"""`array_parallelism` is the study's: how many jobs each array may run at once, so that all together keep it."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from slurm import scheduler
from slurm.cluster import Cluster
from slurm.view.status import IN_FLIGHT, ShardStatus


def in_flight(states: Iterable[ShardStatus]) -> dict[str, int]:
    """Array (or single job) -> how many of its jobs the scheduler still has to end by itself (not those held)."""
    jobs: dict[str, set[str]] = defaultdict(set)
    for state in states:
        if state.kind == "slurm" and state.job and state.state in IN_FLIGHT:
            jobs[state.job.partition("_")[0]].add(state.job)
    return {array: len(names) for array, names in jobs.items()}


def shares(limit: int, sizes: Sequence[int]) -> list[int]:
    """How many jobs each array may run at once: none more than it has, each at least one, in all at most `limit`.

    Where there are more arrays than `limit` the sum is more.

    >>> shares(64, [500, 3]), shares(64, [500, 500]), shares(2, [9, 9, 9])
    ([61, 3], [32, 32], [1, 1, 1])
    """
    given, left = [0] * len(sizes), limit
    by_size = sorted(range(len(sizes)), key=lambda i: sizes[i])
    for rank, i in enumerate(by_size):
        given[i] = max(1, min(sizes[i], left // (len(sizes) - rank)))
        left -= given[i]
    return given


def divide(cluster: Cluster, before: Mapping[str, int], sizes: Sequence[int]) -> list[Cluster]:
    """The cluster as each new array of so many jobs is to see it; arrays that were sent before give way.

    Where there are more arrays than jobs allowed, each new one begins when all before have ended: see `after`.
    """
    limit = cluster.array_parallelism
    if len(before) + len(sizes) > limit:
        return [cluster] * len(sizes)
    given = shares(limit, [*before.values(), *sizes])
    for (array, n), share in zip(before.items(), given, strict=False):
        if n > 1:  # a single job has no such limit
            _throttle(array, share)
    return [replace(cluster, array_parallelism=share) for share in given[len(before) :]]


def after(cluster: Cluster, limit: int, arrays: Sequence[str], n_arrays: int) -> Cluster:
    """The same, to begin when these arrays have ended, where `n_arrays` are more than the `limit` of jobs at once."""
    if n_arrays <= limit or not arrays:
        return cluster
    asked = [cluster.flags["dependency"]] if "dependency" in cluster.flags else []
    dependency = ",".join([*asked, "afterany:" + ":".join(arrays)])
    return replace(cluster, flags={**cluster.flags, "dependency": dependency})


def _throttle(array: str, share: int) -> None:
    try:
        scheduler.run("scontrol", "update", f"JobId={array}", f"ArrayTaskThrottle={share}")
    except scheduler.SchedulerError as error:  # it may have ended since
        print(f"array_parallelism: job {array} keeps its limit: {error}", file=sys.stderr)
