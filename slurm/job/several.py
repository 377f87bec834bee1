"""One job of several shards: each in a process of its own, on a device of its own, with its own lease, log and marker.

The job's own process starts the others, hands them its signals and waits. `python -m slurm.job.several` is one of
those: it reads its assignment from stdin, and saves and leaves where that ends, as when the job's process is killed.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from slurm.job.shard import ShardJob
from slurm.job.work import DISK, POLL_SECONDS, is_served, job_name, restart_count
from slurm.journal import REQUEUED, Journal, Marker
from slurm.log import LOG, job_log


@dataclass
class SeveralShards:
    """What submitit pickles for a job of several shards. Call it to do them, again to go on with them."""

    jobs: tuple[ShardJob, ...]
    _now: ClassVar[list[_Child]] = []  # this process's; a class variable is not pickled

    def __call__(self) -> str:
        """Do the shards side by side. Raises RuntimeError, one line, where some failed; the others are done first."""
        self._now[:] = [_Child(job, i, len(self.jobs)) for i, job in enumerate(self.jobs)]
        terminated: list[int] = []

        def on_terminate(number: int, frame: Any) -> None:
            terminated.append(number)
            self._signal(signal.SIGTERM)

        before = signal.signal(signal.SIGTERM, on_terminate)
        try:
            while not all(child.ended for child in self._now):
                time.sleep(POLL_SECONDS)
        except Exception as error:  # raised by submitit's signal handler: it could not requeue
            if not is_served(error):
                self._note_no_requeue(error)
            return "stopped"
        finally:
            signal.signal(signal.SIGTERM, before)
            self._signal(signal.SIGKILL)
        if terminated:
            sys.exit(128 + signal.SIGTERM)
        return self._conclude()

    def checkpoint(self) -> Any:
        """Called by submitit in its signal handler: all save and leave, then the job is requeued and goes on with all.

        Returns None where the job cannot requeue itself, which submitit turns into an error that the call understands.
        """
        from submitit.helpers import DelayedSubmission

        self._signal(signal.SIGUSR2)
        end = time.monotonic() + 1.1 * self.jobs[0].save_seconds  # each has its own limit, and this follows it
        while not all(child.ended for child in self._now) and time.monotonic() < end:
            time.sleep(POLL_SECONDS)
        if os.environ.get("SUBMITIT_EXECUTOR") == "slurm" and shutil.which("scontrol") is None:
            return None
        return DelayedSubmission(self)

    def _signal(self, number: signal.Signals) -> None:
        for child in self._now:
            child.process.send_signal(number)

    def _note_no_requeue(self, error: Exception) -> None:
        for child in self._now:
            marker = child.journal.marker(child.job.shard)
            if marker is not None and marker.state == "stopped" and marker.cause.startswith(REQUEUED):
                child.journal.mark(replace(marker, cause=f"saved, but not requeued: {error}"))

    def _conclude(self) -> str:
        failed = [child for child in self._now if child.process.returncode]
        for child in failed:
            child.note_end()
            print(f"shard {child.job.shard} failed: {child.log}", file=sys.stderr, flush=True)
        for child in failed:
            if child.process.returncode in DISK:
                sys.exit(child.process.returncode)  # it could not even write why: the exit status says it
        if failed:
            names = ", ".join(child.job.shard for child in failed)
            raise RuntimeError(f"{len(failed)} of {len(self.jobs)} shards of this job failed: {names}")
        return "done"


class _Child:
    """The process of one shard; `ended` is a plain flag that a thread sets: signal handlers ask for it."""

    def __init__(self, job: ShardJob, index: int, n: int) -> None:
        self.job, self.ended, self.journal = job, False, Journal(job.study, job.results_root)
        parent = job_log()  # <submission>/<job>_0_log.err
        self.log = f"{parent.removesuffix('_0_log.err')}_{job.shard}_log.err" if parent else ""
        environment = {**os.environ, LOG: self.log, **_device(job.device, index, n)}
        output = Path(os.devnull) if not self.log else self.journal.logs(self.log)
        with output.with_suffix(".out" * bool(self.log)).open("ab") as out, output.open("ab") as error:
            self.process = subprocess.Popen(
                [sys.executable, "-u", "-m", "slurm.job.several"], stdin=subprocess.PIPE, stdout=out, stderr=error,
                env=environment, start_new_session=True,
            )  # fmt: skip
        with contextlib.suppress(BrokenPipeError):  # it has ended already: its log says why
            assert self.process.stdin is not None
            self.process.stdin.write(pickle.dumps(job))
            self.process.stdin.flush()  # and left open: it ends with this process
        threading.Thread(target=self._wait, daemon=True).start()

    def _wait(self) -> None:
        self.process.wait()
        self.ended = True

    def note_end(self) -> None:
        """Mark what ended without a word of its own as failed."""
        marker, status = self.journal.marker(self.job.shard), self.process.returncode
        mine = marker is not None and marker.log == self.log
        if mine and marker is not None and marker.state not in ("running", "waiting"):
            return
        cause = f"its process was killed by signal {-status}" if status < 0 else f"its process ended with {status}"
        own = (
            marker if mine and marker is not None else Marker(self.job.shard, job=job_name(), restarts=restart_count())
        )
        self.journal.mark(replace(own, state="failed", cause=cause, log=self.log, runs=len(self.job.runs)))


def _device(device: str, index: int, n: int) -> dict[str, str]:
    """One of the job's GPUs for each of its n shards, in turn where there are fewer."""
    if device != "cuda":
        return {}
    given = [d for d in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if d] or [str(i) for i in range(n)]
    return {"CUDA_VISIBLE_DEVICES": given[index % len(given)]}


def bundled(jobs: Sequence[ShardJob], n: int) -> Sequence[ShardJob | SeveralShards]:
    """What each job of a submission gets: `n` shards, the last one those that are left."""
    if n == 1:
        return jobs
    return [SeveralShards(tuple(jobs[start : start + n])) for start in range(0, len(jobs), n)]


def main() -> None:
    """Do one shard, as told on stdin."""
    leaving: list[int] = []

    def leave(number: int, frame: Any) -> None:
        if not leaving:  # the scheduler may signal this process too
            leaving.append(number)
            ShardJob.save(REQUEUED)
            sys.exit()

    signal.signal(signal.SIGUSR2, leave)
    job: ShardJob = pickle.load(sys.stdin.buffer)
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    job()


def _leave_with_parent() -> None:
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
