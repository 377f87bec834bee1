"""Shards on this machine: in this process, on its cores, or in the background."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace

from slurm import snapshot
from slurm.job.shard import ShardJob
from slurm.journal import Submission
from slurm.launch import INLINE, Place, n_workers, remember_place
from slurm.request import Options, assign, environment, keep_plan, mirror
from study.grid import Shard
from study.storage import lease


def run_here(place: Place, options: Options, to_send: Sequence[Shard]) -> int:
    """Do these shards now. The exit status: 0, 1 if a shard failed, 130 at Ctrl-C."""
    code = snapshot.take(place.results, allow_dirty=True) if place.cluster is not INLINE else None
    keep_plan(place)
    commit = code.commit if code else snapshot.provenance.commit()
    jobs = assign(place, options, to_send)
    with contextlib.ExitStack() as until_done:
        with alone(place):  # or two at once would have one number
            id = place.journal.new_id()
            record = Submission(id, place.cluster.name, "local", commit, tuple(s.id for s in to_send))
            held = until_done.enter_context(lease.acquire(place.journal.folder, [id], _me()))
            place.journal.reopen(record.shards)
            place.journal.write(replace(record, holder=held.id))
        remember_place(place)
        try:
            if code is None:
                failures = _inline(jobs)
            else:
                from slurm.local import Pool

                variables = {**place.cluster.environment, **environment(place, code)}
                logs, n_at_once = place.journal.logs(id), n_workers(place.cluster)
                failures = Pool(jobs, place.journal, logs, n_at_once, variables, place.cluster.python).run()
        except KeyboardInterrupt:
            print("\nstopped; the same command goes on from here", file=sys.stderr)
            return 130
    mirror(place, options)
    for shard, reason in failures.items():
        print(f"failed    shard {shard}: {reason}", file=sys.stderr)
    if failures:
        print(f"{len(failures)} of {len(jobs)} shards failed; logs: {place.journal.logs(id)}", file=sys.stderr)
    return 1 if failures else 0


def _inline(jobs: Sequence[ShardJob]) -> dict[str, str]:
    failures = {}
    for number, shard in enumerate(jobs, 1):
        print(f"shard {shard.shard} ({number} of {len(jobs)}): {len(shard.runs)} runs", file=sys.stderr, flush=True)
        try:
            outcome = shard()
        except Exception as error:
            failures[shard.shard] = f"{type(error).__name__}: {error}"
            continue
        if outcome != "done":
            failures[shard.shard] = outcome
    return failures


def detach(place: Place) -> int:
    """Go on in the background: the same command again, in a session of its own, with its output in a file."""
    log = place.journal.folder / "submit.log"
    command = [argument for argument in sys.argv[1:] if argument != "--no-wait"]
    with log.open("ab") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "slurm", *command], stdin=subprocess.DEVNULL, stdout=file, stderr=file,
            start_new_session=True,
        )  # fmt: skip
    print(f"running   in the background: process {process.pid}, log {log}, `kill {process.pid}` stops it")
    return 0


def alone(place: Place) -> lease.Lease:
    """Hold the study's jobs folder, after whoever sends or cancels its jobs at this moment; a context manager."""
    return lease.acquire(place.journal.folder, ["submit"], _me(), on_wait=_say_waiting)


def _say_waiting(owner: str) -> None:
    print(f"waiting for another submitter of this study ({owner})", file=sys.stderr, flush=True)


def _me() -> str:
    """This process, as its leases say."""
    return f"{socket.gethostname()}/{os.getpid()}"
