"""A job in its process: what signals, lost leases and failing disks make of it. Real training, no scheduler."""

from __future__ import annotations

import ctypes
import errno
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from slurm.job.shard import ShardJob
from slurm.journal import Journal, Marker
from study.config import run_key
from study.run import ShardReport
from study.storage.lease import LeaseLost
from study.storage.paths import RunPaths
from tests.slurm.in_process import instead, marker, signalled, until_stopped


class CouldNotRequeue(Exception):
    """Raised by a test's signal handler."""


def test_a_job_does_its_shard_and_again_does_nothing(job: ShardJob) -> None:
    assert job() == "done"
    first = {p: p.stat().st_mtime_ns for p in Path(job.runs_root).rglob("*.json")}
    assert marker(job).state == "done" and marker(job).runs_done == 2
    assert job() == "done"
    assert {p: p.stat().st_mtime_ns for p in first} == first


def test_what_was_trained_before_counts_from_the_start(job: ShardJob, monkeypatch: pytest.MonkeyPatch) -> None:
    path = RunPaths(Path(job.runs_root), run_key(job.runs[0])).outcome
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    seen: list[tuple[int, int]] = []

    def half(progress: Callable[[dict[str, Any]], None], **_: Any) -> ShardReport:
        seen.append((marker(job).runs_done, marker(job).runs_before))
        monkeypatch.setattr("slurm.job.work.MARK_SECONDS", 0.0)
        progress({"kind": "epoch", "running": 1, "left": 1, "of": 1, "epoch": 1})
        seen.append((marker(job).runs_done, marker(job).runs_now))
        progress({"kind": "epoch", "running": 0, "left": 0, "of": 1, "epoch": 0})
        seen.append((marker(job).runs_done, marker(job).runs_now))
        return ShardReport()

    instead(monkeypatch, half)
    assert job() == "done" and seen == [(1, 1), (1, 0), (2, 1)]


def test_sigterm_saves_frees_the_lease_and_is_no_success(job: ShardJob, monkeypatch: pytest.MonkeyPatch) -> None:
    instead(monkeypatch, signalled(signal.SIGTERM, until_stopped))
    with pytest.raises(SystemExit) as raised:
        job()
    assert raised.value.code == 128 + signal.SIGTERM
    assert marker(job).state == "stopped" and marker(job).cause.startswith("SIGTERM: saved")
    assert not list(Path(job.runs_root).glob(".leases/holders/*"))


def test_a_signal_before_submitit_requeues_waits_until_all_is_saved(
    job: ShardJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []

    def slow_to_save(should_stop: Callable[[], bool], **more: Any) -> ShardReport:
        report = until_stopped(should_stop)
        time.sleep(0.3)
        events.append("saved")
        return report

    def on_signal(number: int, frame: Any) -> None:
        again = job.checkpoint()
        assert again.function is job
        events.append("requeue")
        raise CouldNotRequeue("scontrol: no such command")

    instead(monkeypatch, signalled(signal.SIGUSR2, slow_to_save))
    before = signal.signal(signal.SIGUSR2, on_signal)
    try:
        assert job() == "stopped"
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert events == ["saved", "requeue"]
    assert marker(job).cause == "saved, but not requeued: CouldNotRequeue: scontrol: no such command"


@pytest.mark.parametrize("requeues", [True, False])
def test_a_signal_before_the_training_begins_waits_for_nothing(
    requeues: bool, job: ShardJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    job.save_seconds = 1.0

    def on_signal(number: int, frame: Any) -> None:
        assert job.checkpoint() is not None
        assert marker(job).cause == "time limit or preemption: saved, requeued"
        raise SystemExit(255) if requeues else CouldNotRequeue("scontrol: no such command")

    monkeypatch.setattr("slurm.job.work.keep_memory", lambda: os.kill(os.getpid(), signal.SIGUSR2))
    before = signal.signal(signal.SIGUSR2, on_signal)
    try:
        if requeues:
            with pytest.raises(SystemExit):
                job()
        else:
            assert job() == "stopped"
            assert marker(job).cause == "saved, but not requeued: CouldNotRequeue: scontrol: no such command"
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert marker(job).state == "stopped"


def test_work_that_cannot_begin_is_an_error_and_no_save(job: ShardJob, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("slurm.job.work.threading.Thread.start", refused)
    with pytest.raises(RuntimeError, match="new thread"):
        job()
    assert "saved" not in marker(job).cause


def test_an_epoch_that_takes_too_long_does_not_cost_the_requeue(job: ShardJob, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()
    instead(monkeypatch, signalled(signal.SIGUSR2, lambda **more: ShardReport(interrupted=go_on.wait(20))))
    job.save_seconds = 0.3

    def on_signal(number: int, frame: Any) -> None:
        begin = time.monotonic()
        assert job.checkpoint() is not None and time.monotonic() - begin < 5
        assert "took too long" in marker(job).cause
        raise SystemExit(255)  # what submitit does when it has requeued the job

    before = signal.signal(signal.SIGUSR2, on_signal)
    try:
        with pytest.raises(SystemExit):
            job()
    finally:
        signal.signal(signal.SIGUSR2, before)
        go_on.set()
        deadline = time.monotonic() + 20
        while ShardJob._now is not None and not ShardJob._now.ended and time.monotonic() < deadline:
            time.sleep(0.05)
        assert ShardJob._now is not None and ShardJob._now.ended


def test_who_lost_the_lease_leaves_the_marker_to_its_successor(job: ShardJob, monkeypatch: pytest.MonkeyPatch) -> None:
    def lose(guard: Callable[[], None], **_: Any) -> ShardReport:
        (token,) = Path(job.runs_root).glob(".leases/holders/*/token")
        token.write_text("taken over by 12_3:1")
        Journal(job.study, job.results_root).mark(Marker(job.shard, "running", job="12_3", restarts=1))
        guard()
        raise AssertionError("the guard let a write through")

    instead(monkeypatch, lose)
    assert job() == "superseded"
    assert marker(job).job == "12_3" and marker(job).state == "running"
    assert isinstance(ShardJob._now.error if ShardJob._now else None, LeaseLost)


def test_a_lease_that_the_disk_lost_is_no_success(job: ShardJob, monkeypatch: pytest.MonkeyPatch) -> None:
    def lose(**_: Any) -> ShardReport:
        raise LeaseLost("cannot be kept up") from OSError(errno.EROFS, os.strerror(errno.EROFS))

    instead(monkeypatch, lose)
    with pytest.raises(SystemExit) as left:
        job()
    assert left.value.code == errno.EROFS and marker(job).state == "running", "it may not write any more"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT])
def test_a_failing_disk_is_told_by_the_exit_status(number: int, job: ShardJob, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: Any) -> ShardReport:
        raise OSError(number, os.strerror(number))

    instead(monkeypatch, fail)
    with pytest.raises(SystemExit) as raised:
        job()
    assert raised.value.code == number
    assert marker(job).state == "failed" and os.strerror(number) in marker(job).cause


def test_an_error_is_raised_and_its_last_line_kept_for_the_next_start(
    job: ShardJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**_: Any) -> ShardReport:
        raise RuntimeError("first line\nthe last line")

    with monkeypatch.context() as patched:
        instead(patched, fail)
        with pytest.raises(RuntimeError):
            job()
    assert marker(job).cause == "RuntimeError: the last line"
    assert job() == "done"
    assert "failed: RuntimeError: the last line" in marker(job).history[-1]


def test_requeues_are_counted_over_all_jobs_of_a_shard(job: ShardJob, monkeypatch: pytest.MonkeyPatch) -> None:
    instead(monkeypatch, lambda **_: ShardReport())
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "slurm")
    counts = []
    for name, restarts in (("7", "0"), ("7", "1"), ("7", "2"), ("8", "0"), ("8", "1")):
        monkeypatch.setenv("SLURM_JOB_ID", name)
        monkeypatch.setenv("SLURM_RESTART_COUNT", restarts)
        job()
        counts.append(marker(job).requeues)
    assert counts == [0, 1, 2, 2, 3]


LARGE_BLOCKS = """
import ctypes, pickle, resource, sys
import study.run

ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # PR_SET_THP_DISABLE: pages of one size
malloc, free = ctypes.CDLL(None).malloc, ctypes.CDLL(None).free
malloc.restype, malloc.argtypes, free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]

def work(runs, measures, **more):  # in the training thread
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        block = malloc(100_000_000)
        ctypes.memset(block, 1, 100_000_000)
        free(block)
    print("pages", resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    return study.run.ShardReport()

study.run.run_shard = work
print(pickle.load(open(sys.argv[1], "rb"))())
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library is not glibc")
def test_the_training_thread_uses_freed_blocks_again(job: ShardJob, tmp_path: Path) -> None:
    """20 blocks of 100 MB, one after another, are mapped once; a thread with a heap of its own maps each anew."""
    (tmp_path / "job.pkl").write_bytes(pickle.dumps(job))
    command = [sys.executable, "-c", LARGE_BLOCKS, str(tmp_path / "job.pkl")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    pages = int(done.stdout.split("pages ")[1].split()[0])
    assert pages < 2 * 100_000_000 / os.sysconf("SC_PAGE_SIZE"), done.stdout
