"""How far a job has come: the numbers of its marker, and a line in its log now and then."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from slurm.job.assignment import Assignment
from slurm.journal import Marker
from study import provenance
from study.config import run_key
from study.display import at_once
from study.hyperparameter import described, differing, hyperparameters
from study.storage.paths import RunPaths

SAY_SECONDS = 60.0  # between lines about the pace; ours


class Progress:
    """Takes the events of `run_shard` into a marker."""

    def __init__(self, job: Assignment, marker: Marker) -> None:
        self.job, self.marker = job, marker
        self.count()
        self._begin = self._said = time.monotonic()
        self._first_epoch, self._epochs = 0.0, 0

    def count(self) -> None:
        """Begin with what is trained already, here or elsewhere."""
        keys = map(run_key, self.job.runs)
        self._trained = sum(RunPaths(Path(self.job.runs_root), key).outcome.exists() for key in keys)
        self.marker.runs_before = self.marker.runs_done = self._trained

    def introduce(self) -> None:
        """What this log is about: shard, code, machine, what its runs share, and what each has of its own."""
        job, m = self.job, self.marker
        say(f"shard {job.shard} of {job.study}: {m.runs} runs, {m.runs_done} trained before")
        say(f"job {m.job}, start {m.restarts + 1}, on {m.host}, {job.device}, commit {provenance.commit()}")
        own = differing(job.runs)
        shared = [name for name in hyperparameters(job.runs[0]) if name not in own]
        say(f"all runs: {described(job.runs[0], shared)}")
        for run in job.runs:
            say(f"run {run_key(run)}: {described(run, own)}")

    def __call__(self, event: dict[str, Any]) -> None:
        """Count one event."""
        m, now = self.marker, time.monotonic()
        if event["kind"] == "note":
            say(event["text"])
            return
        if event["kind"] == "epoch":
            if self._first_epoch:
                self._epochs += event["running"]
                m.epochs_per_second = self._epochs / max(now - self._first_epoch, 1e-3)
            else:  # the rate is of the epochs that end after this one
                self._first_epoch = now
            m.epoch = max(m.epoch, event["epoch"])
            m.runs_done = self._trained + event["of"] - event["left"]
        elif event["kind"] == "trained":
            self._trained += event["n"]
        if event["kind"] == "trained" or now - self._said >= SAY_SECONDS:
            self._said = now
            where = f"epoch {m.epoch}, " if event["kind"] == "epoch" else ""
            seconds = f"{now - self._begin:.0f} s"
            say(f"{where}{m.runs_done} of {m.runs} runs trained, {m.epochs_per_second:.1f} epochs/s, {seconds}")


def say(text: str) -> None:
    """A line of the job's own log; inline there is none, and the terminal is the submitter's.

    A signal's handler may say it too; a full disk loses the line, not the job.
    """
    if "SUBMITIT_EXECUTOR" in os.environ:
        at_once(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {text}", 1)
