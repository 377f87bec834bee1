"""The commands about what was sent: status, watch, logs, cancel, collect."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from dataclasses import replace

from slurm import scheduler
from slurm.filter import EVERYTHING, Filter
from slurm.here import alone
from slurm.launch import Place, digest
from slurm.log import read_log
from slurm.view.overview import exit_status, look
from slurm.view.screen import by_attention, next_step, show
from slurm.view.status import ShardStatus


def status(place: Place, chosen: Filter = EVERYTHING, *, json: bool) -> int:
    """Show what has become of these shards, once. 0 if all is done, else 1."""
    overview = look(place, chosen)
    print(overview.as_json()) if json else show(overview)
    return exit_status(overview)


def watch(place: Place, seconds: float) -> int:
    """Show it again and again until no job is in flight, then what to do next. 0 if all is done, else 1."""
    while True:
        if digest(place.config) != place.digest:
            place = replace(place)  # the study has changed: it is read anew
        overview = look(place)
        if sys.stdout.isatty():
            print("\x1b[H\x1b[2J", end="")
        show(overview)
        if overview.is_over:
            print(next_step(place, overview))
            return exit_status(overview)
        time.sleep(seconds)


def logs(place: Place, chosen: Filter, n_lines: int) -> int:
    """Print what the jobs of these shards wrote, those that need attention first. 1 where no job has a log."""
    found = [s for s in by_attention(look(place, chosen).statuses) if s.log]
    for shard in found:
        print(f"=== shard {shard.shard} {shard.state}, job {shard.job or '-'}" + f": {shard.cause}" * bool(shard.cause))
        print(read_log(shard.log, n_lines))
    if not found:
        which = "failed or got lost and has a log" if chosen.states else "has a log of its own"
        print(f"{place.study_name}: none of these shards {which}", file=sys.stderr)
    return int(not found)


def cancel(place: Place, chosen: Filter = EVERYTHING) -> int:
    """End the jobs of these shards that are queued or running; what they have saved stays.

    A submitter ends first, whose jobs nobody can name before the scheduler has answered.
    """
    with alone(place) if place.journal.folder.is_dir() else contextlib.nullcontext():
        return _cancel(place, chosen)


def _cancel(place: Place, chosen: Filter) -> int:
    found = _in_the_way(place, chosen)
    place.journal.cancel([s.shard for s in found])  # first: a submitter on this machine would start the next ones
    scheduler.cancel(list(dict.fromkeys(s.job for s in found if s.kind == "slurm" and s.job)))
    here = os.uname().nodename
    for status in _in_the_way(place, chosen) if any(s.kind == "local" for s in found) else ():
        # Those that wait for a core end with their submitter.
        if status.kind == "local" and status.state == "running" and status.marker and status.marker.host == here:
            pid = int(status.job.rpartition("/")[2])  # this very process, and alive a moment ago: its lease says so
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
    n_jobs = len({s.job or s.shard for s in found})
    print(f"{place.study_name}: {n_jobs} jobs cancelled ({place.folders})")
    return 0


def _in_the_way(place: Place, chosen: Filter) -> list[ShardStatus]:
    return [s for s in look(place, chosen).statuses if s.state in ("running", "pending", "held")]


def collect(place: Place) -> int:
    """Write the records of what is done and say what is not. 0 if nothing is missing, else 1."""
    from study.records import collect as write_records

    path, missing = write_records(place.study, place.runs, place.results)
    n = len(place.study.runs)
    print(f"{path}: {n - missing} of {n} runs" + (f", {missing} not done" if missing else ""))
    if missing:
        show(overview := look(place), lines=18)
        print(next_step(place, overview))
    else:
        print(f"next      python -m analysis report {place.study_name} --results {place.results}")
    return 1 if missing else 0
