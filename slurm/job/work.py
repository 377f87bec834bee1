"""A shard under way in a job's process: lease, training thread, marker, and what becomes of it at a signal."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slurm.job.assignment import Assignment
from slurm.job.mirror import Mirror
from slurm.job.progress import Progress, say
from slurm.journal import Journal, Marker
from slurm.log import job_log
from study.config import run_key
from study.device import keep_memory
from study.storage import lease

POLL_SECONDS = 0.05
MARK_SECONDS = 1.0  # at most one progress write a second
WAIT_FOR_KILL_SECONDS = 900.0  # after SIGTERM: longer than most sites' grace time; then the job ends by itself
# Causes that leave no room for a traceback: the exit status is then the errno, which sacct keeps and `status` explains.
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO, errno.ESTALE)


@dataclass
class Work:
    """A shard under way in this process."""

    job: Assignment
    # Plain flags: a signal handler that waits for an event which the main thread is looking at locks up.
    stop: bool = False
    begun: bool = False
    ended: bool = False
    terminated: bool = False
    error: BaseException | None = None
    interrupted: bool = False

    def __post_init__(self) -> None:
        job = self.job
        self.journal = Journal(job.study, job.results_root)
        before = self.journal.marker(job.shard)
        requeues = restart_count()
        if before:
            requeues = before.requeues + max(0, requeues - (before.restarts if before.job == job_name() else 0))
        self.marker = Marker(
            job.shard, job=job_name(), restarts=restart_count(), requeues=requeues, host=socket.gethostname(),
            runs=len(job.runs), log=job_log(), asked=job.asked,
            history=before.past() if before else [],
        )  # fmt: skip
        self.progress = Progress(job, self.marker)
        self.lease: lease.Lease | None = None
        self.mirror = Mirror(job, self.marker, self.journal)
        self._begin = self._marked = time.monotonic()
        self._checked = 0.0

    def follow(self) -> str:
        """Run the shard on a thread and wait for it, while signals are served."""
        thread = threading.Thread(target=self._run, daemon=True)
        try:
            self._mark("waiting")
            self.progress.introduce()
            if self.job.device == "cpu":
                keep_memory()
            thread.start()
            while not self.ended:
                time.sleep(POLL_SECONDS)
            if self.terminated:
                self._wait_for_kill()
        except Exception as error:
            if thread.ident is None and not self.stop:
                raise  # the work could not be begun: no thread, no place for the marker
            # Raised by submitit's signal handler: it could not requeue.
            if not is_served(error):
                self.save(f"saved, but not requeued: {_last_line(error)}")
            return "stopped"
        except KeyboardInterrupt:
            self.save("interrupted")
            raise
        return self._conclude()

    def save(self, cause: str) -> None:
        """Ask the training to end its epoch and save; wait for that as long as the scheduler lets us."""
        self.stop = True
        end = time.monotonic() + self.job.save_seconds
        while not (saved := self.ended or not self.begun) and time.monotonic() < end:
            time.sleep(POLL_SECONDS)
        if self.error is None and self.marker.state != "done":
            self.marker.cause = cause if saved else f"{cause}, without an epoch that took too long"
            self._mark("stopped")

    def on_terminate(self, number: int, frame: Any) -> None:
        """SIGTERM: cancelled, or preempted by a site that sends nothing else. The scheduler kills or requeues us."""
        self.terminated = self.stop = True

    def _wait_for_kill(self) -> None:
        if self.interrupted:
            self.marker.cause = "SIGTERM: saved; cancelled, or preempted"
            self._mark("stopped")
            # Ending with success now would make a preempted job count as completed instead of requeued.
            if os.environ.get("SUBMITIT_EXECUTOR") == "slurm":
                time.sleep(WAIT_FOR_KILL_SECONDS)
            sys.exit(128 + signal.SIGTERM)

    def _conclude(self) -> str:
        error = self.error
        if isinstance(error, lease.LeaseLost):
            print(f"stopped without a further write: {error}", flush=True)  # the marker is the successor's now
            if isinstance(error.__cause__, OSError) and error.__cause__.errno in DISK:
                sys.exit(error.__cause__.errno)  # nobody's successor is known: the disk is to blame
            return "superseded"
        if error is not None:
            self.marker.cause = _last_line(error)
            self._mark("failed")
            if isinstance(error, OSError) and error.errno in DISK:
                print(f"{self.marker.cause}", file=sys.stderr, flush=True)
                sys.exit(error.errno)
            raise error
        return "stopped" if self.interrupted else "done"

    def _run(self) -> None:
        self.begun = True  # before `stop` is read; `save` sets that before it reads this: one of them sees the other
        try:
            if self.stop:
                raise _Left
            self._hold_and_run()
        except _Left:
            self.interrupted = True
        except BaseException as error:
            self.error = error
            traceback.print_exc()
        finally:
            self.mirror.leave()
            self.ended = True

    def _hold_and_run(self) -> None:
        from study.run import run_shard

        job = self.job
        owner = f"{self.marker.job}:{self.marker.restarts}"
        keys = [run_key(c) for c in job.runs]
        with lease.acquire(
            Path(job.runs_root), keys, owner, supersede=self._is_older_start, on_wait=self._wait
        ) as held:
            self.lease, self.marker.holder = held, held.id
            self.marker.cause = ""
            self.mirror.begin()
            self.progress.count()  # who held the runs before may have trained some
            self._mark("running")
            report = run_shard(
                job.runs, job.measures, runs_root=job.runs_root, device=job.device, guard=held.check,
                should_stop=self._should_stop, progress=self._progress, test_curve=job.test_curve,
            )  # fmt: skip
            for line in report.failed:
                print(f"measure recorded as missing: {line}", flush=True)
            self.interrupted = report.interrupted
            if not report.interrupted:
                held.check()
                self.marker.runs_done = len(job.runs)
                self._mark("done")
        if not self.interrupted:
            self.mirror.finish()  # a slow wandb server holds up neither the lease nor the shard's being done

    def _is_older_start(self, owner: str) -> bool:
        """Whether a live holder is an earlier start of this very job, left on a node that the scheduler gave up."""
        name, _, restarts = owner.rpartition(":")
        return name == self.marker.job and restarts.isdigit() and int(restarts) < self.marker.restarts

    def _wait(self, owner: str) -> None:
        if self.stop:
            raise _Left
        if self.marker.cause != (cause := f"waiting for {owner}, which holds a run of this shard"):
            self.marker.cause = cause
            self._mark("waiting")

    def _should_stop(self) -> bool:
        now = time.monotonic()
        if self.lease is not None and now - self._checked > MARK_SECONDS:
            self._checked = now
            self.lease.check()
        return self.stop

    def _progress(self, event: dict[str, Any]) -> None:
        self.progress(event)
        if time.monotonic() - self._marked >= MARK_SECONDS:
            self._mark("running")

    def _mark(self, state: str) -> None:
        """Leave a sign; a disk that is full or read-only must not be what ends a job here."""
        self._marked = time.monotonic()
        self.marker.state = state
        self.marker.seconds = self._marked - self._begin
        if state in ("done", "stopped"):
            say(f"{state}: {self.marker.cause or f'{self.marker.seconds:.0f} s'}")
        try:
            self.journal.mark(self.marker)
        except OSError as error:
            print(f"marker: {error}", file=sys.stderr, flush=True)


class _Left(Exception):
    """Asked to stop before it holds its runs."""


def job_name() -> str:
    """The scheduler's id of this job, or host and process where there is no scheduler."""
    e = os.environ
    if e.get("SUBMITIT_EXECUTOR") == "slurm" and "SLURM_JOB_ID" in e:
        array = e.get("SLURM_ARRAY_JOB_ID")
        return f"{array}_{e['SLURM_ARRAY_TASK_ID']}" if array else e["SLURM_JOB_ID"]
    return f"{socket.gethostname()}/{os.getpid()}"


def is_served(error: Exception) -> bool:
    """Whether `scontrol requeue` failed because the requeue that it asked for had begun, which ends it with the job."""
    return isinstance(error, subprocess.CalledProcessError) and error.returncode == -signal.SIGTERM


def restart_count() -> int:
    """How often SLURM has requeued this job."""
    return int(os.environ.get("SLURM_RESTART_COUNT", "0"))


def _last_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[-1] if text else 'no message'}"
