"""Shards on this machine: submitit's local executor, one process a core, fed and watched until all are done."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from slurm.job.shard import ShardJob
from slurm.journal import Journal, Marker
from slurm.variables import variables
from study.storage import lease

POLL_SECONDS = 0.2
SHOW_SECONDS = 10.0  # between lines where the output is no terminal
STOP_SECONDS = 20.0  # at Ctrl-C, to end an epoch and save
RETRIES = 1  # a process that ended without a word (killed, out of memory) is started once more


@dataclass
class _Task:
    """One shard on its way."""

    job: ShardJob
    process: Any = None  # submitit's LocalJob
    tries: int = 0
    elsewhere: bool = False  # a process left by an earlier submitter is at it
    ended: str = ""  # done, or why not


@dataclass
class Pool:
    """Runs shards `n_at_once` at a time. `logs` is submitit's folder, of this submission only."""

    jobs: Sequence[ShardJob]
    journal: Journal
    logs: Path
    n_at_once: int
    environment: Mapping[str, str]
    python: str = ""
    _tasks: list[_Task] = field(init=False)

    def run(self) -> dict[str, str]:
        """Do all shards. Returns shard id -> why it is not done; empty when all is well. Ctrl-C stops the processes."""
        from submitit import LocalExecutor

        self._tasks = [_Task(job) for job in self.jobs]
        display = _Progress(self.journal, self._tasks)
        with variables(self.environment), _interruptible():
            executor = LocalExecutor(self.logs, max_num_timeout=0, python=self.python or None)
            executor.update_parameters(timeout_min=60 * 24 * 365)
            try:
                while any(not task.ended for task in self._tasks):
                    self._leave_out(self.journal.cancelled(self.logs.name))
                    self._look(executor)
                    display.show()
                    time.sleep(POLL_SECONDS)
            except KeyboardInterrupt:
                self._stop()
                raise
            finally:
                display.close()
        return {task.job.shard: task.ended for task in self._tasks if task.ended != "done"}

    def _look(self, executor: Any) -> None:
        """One look at every shard: what has ended, what is being done elsewhere, what can be started."""
        for task in self._tasks:
            if task.process is not None and task.process.done():
                self._conclude(task)
            elif task.process is None and not task.ended:
                task.elsewhere = _is_held(self.journal.marker(task.job.shard), task.job.runs_root)
        busy = sum(task.process is not None or task.elsewhere for task in self._tasks)
        for task in self._tasks:
            if busy < self.n_at_once and task.process is None and not task.elsewhere and not task.ended:
                task.process, task.tries, busy = _start(executor, task.job), task.tries + 1, busy + 1

    def _leave_out(self, cancelled: set[str]) -> None:
        """Start nothing that its user has cancelled, whose process has its signal. Where all of it is: stop at once."""
        if cancelled.issuperset(task.job.shard for task in self._tasks):
            raise KeyboardInterrupt
        for task in self._tasks:
            if task.job.shard in cancelled and task.process is None and not task.ended:
                task.ended = "cancelled"

    def _conclude(self, task: _Task) -> None:
        process, task.process = task.process, None
        marker = self.journal.marker(task.job.shard)
        state = marker.state if marker else ""
        if state == "done":
            task.ended = "done"
        elif state in ("failed", "stopped") and marker is not None:
            task.ended = marker.cause
        elif task.tries > RETRIES and not _is_held(marker, task.job.runs_root):
            task.ended = f"ended without a word {task.tries} times; its log: {process.paths.stderr}"

    def _stop(self) -> None:
        """SIGTERM: the processes save and leave. What has not left in time, or at a second Ctrl-C, is killed."""
        running = [task for task in self._tasks if task.process is not None]
        for task in running:
            task.process._process.terminate()  # submitit's controller, which passes it on
        deadline = time.monotonic() + STOP_SECONDS
        try:
            while time.monotonic() < deadline and any(not task.process.done() for task in running):
                time.sleep(0.05)
        finally:
            for task in running:
                marker = self.journal.marker(task.job.shard)
                if marker is not None and not task.process.done() and _is_held(marker, task.job.runs_root):
                    with suppress(ProcessLookupError):  # it may have left since that look
                        os.kill(int(marker.job.rpartition("/")[2]), signal.SIGKILL)


def _start(executor: Any, job: ShardJob) -> Any:
    """A process that a terminal's Ctrl-C does not reach: this one stops it, in order and without its traceback."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # inherited
    try:
        return executor.submit(job)
    finally:
        signal.signal(signal.SIGINT, before)


def _is_held(marker: Marker | None, runs_root: str) -> bool:
    return marker is not None and marker.state in ("waiting", "running") and lease.alive(Path(runs_root), marker.holder)


@contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM and a closed terminal end the processes as Ctrl-C does."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Progress:
    """One line that is rewritten on a terminal, and printed now and then elsewhere."""

    def __init__(self, journal: Journal, tasks: Sequence[_Task]) -> None:
        self.journal, self.tasks, self.begin = journal, tasks, time.monotonic()
        self.n_runs = sum(len(task.job.runs) for task in tasks)
        self.terminal = sys.stderr.isatty()
        self.shown = self.begin - SHOW_SECONDS + 3

    def show(self) -> None:
        """Print where things stand, if it is time to."""
        if time.monotonic() - self.shown < (0.5 if self.terminal else SHOW_SECONDS):
            return
        self.shown = time.monotonic()
        line = self._line()
        begin, end = ("\r\x1b[K", "") if self.terminal else ("", "\n")
        print(f"{begin}{line}", end=end, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Leave the terminal on a new line."""
        if self.terminal:
            print(f"\r\x1b[K{self._line()}", file=sys.stderr, flush=True)

    def _line(self) -> str:
        now = [task for task in self.tasks if task.process is not None or task.elsewhere]
        found = [m for task in now if (m := self.journal.marker(task.job.shard))]
        markers = [m for m in found if m.state in ("running", "waiting")]
        done = sum(len(task.job.runs) for task in self.tasks if task.ended == "done")
        done += sum(m.runs_done for m in found if m.state != "new")  # ended ones too, until their process has left
        n_ended = sum(bool(task.ended) for task in self.tasks)
        rate = sum(m.epochs_per_second for m in markers)
        parts = [
            f"{done} of {self.n_runs} runs trained",
            f"shards: {n_ended} ended, {len(now)} running, {len(self.tasks) - n_ended - len(now)} to come",
            f"{rate:.{0 if rate >= 100 else 2}f} epochs/s" if rate else "starting",
            f"{time.monotonic() - self.begin:.0f} s",
        ]
        waiting = [m.cause for m in markers if m.state == "waiting" and m.cause]
        return "; ".join(parts + waiting[:1])
