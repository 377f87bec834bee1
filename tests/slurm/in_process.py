"""What a test puts in place of a job's training, and what the job left of itself."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

import study.run
from slurm.job.shard import ShardJob
from slurm.journal import Journal, Marker
from study.run import ShardReport


def marker(job: ShardJob) -> Marker:
    found = Journal(job.study, job.results_root).marker(job.shard)
    assert found is not None
    return found


def instead(monkeypatch: pytest.MonkeyPatch, work: Callable[..., ShardReport]) -> None:
    """Replace the training."""
    monkeypatch.setattr(study.run, "run_shard", lambda runs, measures, **more: work(**more))


def until_stopped(should_stop: Callable[[], bool], **_: Any) -> ShardReport:
    while not should_stop():
        time.sleep(0.01)
    return ShardReport(interrupted=True)


def signalled(number: signal.Signals, work: Callable[..., ShardReport]) -> Callable[..., ShardReport]:
    """Work that begins with a signal to this process: no earlier, and no timer that may come too early or too late."""

    def signalled_work(**more: Any) -> ShardReport:
        os.kill(os.getpid(), number)
        return work(**more)

    return signalled_work
