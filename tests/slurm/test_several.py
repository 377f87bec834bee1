"""Several shards in one job: each a process with its own lease, marker and log; no scheduler, real training."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from slurm.__main__ import main
from slurm.job.several import SeveralShards, _device, bundled
from slurm.job.shard import ShardJob
from slurm.journal import REQUEUED, Journal, Marker
from slurm.launch import digest
from study.config import run_key
from study.grid import load_study, shards
from study.storage.paths import RunPaths

PATIENCE = 120.0


@pytest.fixture
def jobs(tiny: Path, tmp_path: Path) -> list[ShardJob]:
    study = load_study(tiny)
    places = (str(tmp_path / "runs"), str(tmp_path / "results"))
    return [ShardJob("tiny", shard.id, shard.runs, study.measures, *places, "cpu") for shard in shards(study)]


def endless(job: ShardJob) -> ShardJob:
    return replace(job, runs=tuple(replace(run, max_epochs=10**6, stops=("epoch_1000000",)) for run in job.runs))


def marker(job: ShardJob) -> Marker:
    return Journal(job.study, job.results_root).marker(job.shard) or Marker(job.shard, "new")


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@contextlib.contextmanager
def meanwhile(act: Callable[[], None]) -> Iterator[None]:
    thread = threading.Thread(target=act)
    thread.start()
    try:
        yield
    finally:
        thread.join()


@pytest.mark.slow
def test_each_shard_has_its_own_end_and_the_job_fails_with_those_that_fail(
    jobs: list[ShardJob], tmp_path: Path
) -> None:
    from submitit import LocalExecutor
    from submitit.core.utils import FailedJobError

    done, fails, dies = jobs[0], jobs[1], endless(jobs[2])
    wrong = RunPaths(tmp_path / "runs", run_key(fails.runs[0])).config
    wrong.parent.mkdir(parents=True)
    wrong.write_text(json.dumps({"lr": 77}))  # another config where this run belongs
    logs = Journal("tiny").logs("0001-abc")
    job = LocalExecutor(logs).submit(SeveralShards((done, fails, dies)))
    until(lambda: [marker(j).state for j in (done, fails)] == ["done", "failed"] and marker(dies).epoch > 0)
    assert not job.done()
    os.kill(int(marker(dies).job.rpartition("/")[2]), signal.SIGKILL)
    with pytest.raises(FailedJobError, match=f"2 of 3 shards of this job failed: {fails.shard}, {dies.shard}"):
        job.result()
    assert "differs from the study's" in marker(fails).cause and marker(done).state == "done"
    assert (marker(dies).state, marker(dies).cause) == ("failed", "its process was killed by signal 9")
    assert len({marker(j).job for j in (done, fails, dies)}) == 3, "processes of their own"
    for each in (done, fails, dies):
        log = Path(str(logs.parent / marker(each).log))
        assert log.name == f"{job.job_id}_{each.shard}_log.err" and log.exists()
        assert f"shard {each.shard} of tiny" in log.with_suffix(".out").read_text()


def test_a_signal_requeues_the_job_when_all_that_runs_is_saved(jobs: list[ShardJob], tmp_path: Path) -> None:
    job = endless(jobs[0])
    several = SeveralShards((job,))

    def on_signal(number: int, frame: Any) -> None:
        assert several.checkpoint().function is several
        raise SystemExit(255)  # what submitit does when it has requeued the job

    def signal_later() -> None:
        until(lambda: marker(job).epoch > 0)
        os.kill(os.getpid(), signal.SIGUSR2)

    before = signal.signal(signal.SIGUSR2, on_signal)
    try:
        with meanwhile(signal_later), pytest.raises(SystemExit):
            several()
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert (marker(job).state, marker(job).cause) == ("stopped", REQUEUED)
    assert all(RunPaths(tmp_path / "runs", run_key(run)).epochs.exists() for run in job.runs)
    assert not list((tmp_path / "runs").glob(".leases/holders/*")), "nobody is left"


def test_gpus_are_given_one_a_shard(monkeypatch: pytest.MonkeyPatch, jobs: list[ShardJob]) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,GPU-7")
    assert [_device("cuda", i, 2)["CUDA_VISIBLE_DEVICES"] for i in range(2)] == ["4", "GPU-7"]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert [_device("cuda", i, 3)["CUDA_VISIBLE_DEVICES"] for i in range(3)] == ["0", "1", "2"]
    assert _device("cpu", 0, 2) == {}
    sizes = [len(job.jobs) for job in bundled(jobs, 4) if isinstance(job, SeveralShards)]
    assert sizes == [4, 2] and bundled(jobs, 1) == jobs


def test_the_scheduler_sees_jobs_and_status_sees_shards(
    tiny: Path, fake_slurm: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster = tmp_path / "c.yaml"
    cluster.write_text("kind: slurm\nshards_per_job: 4\ncpus: 4\narray_parallelism: 8\n")
    send = ["--cluster", str(cluster), "--allow-dirty", "--wandb", "off"]
    assert main(["submit", str(tiny), *send]) == 0
    shown = capsys.readouterr().out
    assert "2 jobs to send, 4 shards each" in shown and "sent      job 7: 6 shards in 2 jobs" in shown
    assert "--array=0-1%2" in (fake_slurm / "sbatch.script").read_text()
    journal = Journal("tiny")
    (sent,) = journal.submissions()
    assert [sent.task(shard) for shard in sent.shards] == ["7_0"] * 4 + ["7_1"] * 2
    (fake_slurm / "squeue.out").write_text(f"tiny.{sent.id}|7_0|RUNNING|n1\ntiny.{sent.id}|7_1|PENDING|(Priority)\n")
    journal.mark(Marker(sent.shards[0], "failed", job="7_0", cause="ValueError: no"))
    journal.mark(Marker(sent.shards[1], "done", job="7_0", asked=digest(tiny)))
    assert main(["status", str(tiny)]) == 1
    assert "6: 1 done, 2 running, 2 pending, 1 failed" in capsys.readouterr().out, "its job goes on with the others"
    assert main(["retry", str(tiny), *send]) == 0
    again = journal.submissions()[-1].shards
    assert set(again) == set(sent.shards[:2]), "the failed one, and one that was done, whose runs are gone"
    assert main(["cancel", str(tiny), "--key", sent.shards[2]]) == 0
    assert "1 jobs cancelled" in capsys.readouterr().out
    assert (fake_slurm / "scancel.calls").read_text().splitlines()[-1] == "7_0"
    assert set(journal.submissions()[0].cancelled) == set(sent.shards[:4])
