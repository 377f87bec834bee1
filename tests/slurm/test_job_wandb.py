"""A job and W&B: what it shows while it trains, and that it waits for nobody."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

import study.run
from slurm.job.shard import ShardJob
from study.run import ShardReport
from tests.slurm.in_process import instead, marker, signalled, until_stopped


def test_a_stale_wandb_service_is_forgotten(job: ShardJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_SERVICE", "3-999999-tcp-localhost-1")
    seen: list[bool] = []

    def look(**_: Any) -> ShardReport:
        seen.append("WANDB_SERVICE" in os.environ)
        return ShardReport()

    instead(monkeypatch, look)
    assert job() == "done" and seen == [False]


def test_a_wandb_that_hangs_or_fails_holds_up_neither_lease_nor_shard(
    job: ShardJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    import study.tracking.mirror

    seen: list[tuple[str, int]] = []

    def mirror(*_: Any, **__: Any) -> study.tracking.mirror.Mirrored:
        seen.append((marker(job).state, len(list(Path(job.runs_root).glob(".leases/holders/*")))))
        return study.tracking.mirror.Mirrored(problems=("wandb: no answer",))

    monkeypatch.setattr(study.tracking.mirror, "mirror", mirror)
    job.wandb = "online"
    assert job() == "done"
    assert seen == [("done", 0)]


def test_runs_are_shown_while_they_train_and_nobody_waits_for_that(
    job: ShardJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    import study.tracking.live
    import study.tracking.mirror

    seen: list[tuple[str, str, int]] = []

    def note(what: str) -> None:
        seen.append((what, marker(job).state, len(list(Path(job.runs_root).glob(".leases/holders/*")))))

    class Live:
        def __init__(self, watched: study.tracking.live.Watched) -> None:
            assert watched.rate == 25 and watched.origin is not None and watched.origin["shard"] == job.shard
            note("begin")

        def close(self) -> None:
            note("close")

        def wait(self) -> None:
            note("wait")

    def mirror(*_: Any, **__: Any) -> study.tracking.mirror.Mirrored:
        note("mirror")
        return study.tracking.mirror.Mirrored()

    monkeypatch.setattr(study.tracking.live, "Live", Live)
    monkeypatch.setattr(study.tracking.mirror, "mirror", mirror)
    instead(monkeypatch, lambda **_: ShardReport())
    job.wandb, job.live_rate = "online", 25.0
    assert job() == "done"
    assert seen == [("begin", "waiting", 1), ("wait", "done", 0), ("mirror", "done", 0), ("close", "done", 0)]
    seen.clear()
    instead(monkeypatch, signalled(signal.SIGTERM, until_stopped))
    with pytest.raises(SystemExit):
        job()
    assert [what for what, *_ in seen] == ["begin", "close"], "what is left to send keeps nobody from leaving"
