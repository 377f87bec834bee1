"""One fault at a time on a real SLURM: its cause is in `status`, and the records are an undisturbed run's bytes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.slurm.bed import (
    ROOT,
    Bed,
    children_seconds,
    is_alive,
    preempt,
    sh,
    training,
    undisturbed,
    undisturbed_meanwhile,
)
from tests.slurm.gate import Gate

pytestmark = pytest.mark.slurm

# Two shards of a second or two, were it not for the gate.
TEXT = """\
title: Two shards of a second
fixed: {dataset: digits, hidden: [64, 64], momentum: 0.9, stops: [epoch_60], max_epochs: 60}
grid: {lr: [0.01, 0.03, 0.1], batch_size: [30]}
seeds: 4
measures: [weight_norm_squared, train_loss]
shard_size: 6
"""


@pytest.fixture(scope="module", autouse=True)
def _commit() -> Iterator[None]:
    """What every record says: a commit made meanwhile changes nothing."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("STUDY_COMMIT", "0123456789ab-dirty")
        yield


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("study") / "short.yaml"
    path.write_text(TEXT)
    return path


@pytest.fixture(scope="module")
def calm(study: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The records of an undisturbed inline run."""
    return undisturbed(study, tmp_path_factory.mktemp("calm"))


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    """Shut: what a test does to a job that trains meets one. The test opens it."""
    return Gate(tmp_path / "gate")


@pytest.fixture
def bed(study: Path, tmp_path: Path, gate: Gate) -> Bed:
    return Bed(study, tmp_path / "out", {"python": gate.python()})


def test_a_sweep_from_submit_to_records(study: Path, tmp_path: Path, calm: bytes) -> None:
    bed = Bed(study, tmp_path / "out")  # no gate here: python as the product starts it
    shown = bed.call("submit")
    assert "1 job array(s), 2 jobs to send" in shown and "sent      job" in shown
    again = bed.call("submit")
    assert "0 jobs to send" in again and "shards left alone" in again
    status = bed.until_done()
    assert status["requeues"] == status["resubmissions"] == 0 and status["runs"] == {"total": 12, "trained": 12}
    assert bed.records() == calm
    assert "0 jobs to send" in bed.call("submit") and len(bed.journal.submissions()) == 1
    assert "12 of 12 runs" in bed.call("collect")


def test_two_submitters_at_once_send_each_shard_once(bed: Bed) -> None:
    assert bed.twice_at_once("submit") == [0, 0]
    assert sorted(len(s.shards) for s in bed.journal.submissions()) == [2]
    bed.call("cancel")
    bed.until(lambda s: not s["shards"].keys() & {"running", "pending"})


def test_preemption_signal_saves_requeues_and_resumes(bed: Bed, gate: Gate, calm: bytes) -> None:
    bed.call("submit")
    shard = bed.until_training()
    preempt(shard["job"])
    bed.until(lambda s: s["requeues"] > 0)
    gate.open()
    status = bed.until_done()
    (one,) = (s for s in status["shard_list"] if s["shard"] == shard["shard"])
    assert one["marker"]["restarts"] == 1 and "saved, requeued" in one["marker"]["history"][-1]
    assert status["requeues"] == 1, "the sibling was requeued too"
    assert bed.records() == calm


def test_two_shards_in_one_job_are_saved_requeued_and_end_each_in_its_own_process(tmp_path: Path) -> None:
    study = tmp_path / "longer.yaml"  # no gate: a job's other processes are python as the product starts it
    study.write_text(TEXT.replace("60", "600"))
    bed = Bed(study, tmp_path / "out", {"shards_per_job": 2, "cpus": 2, "gpus": 0})
    with undisturbed_meanwhile(study, tmp_path / "calm") as calm:
        assert "1 jobs to send, 2 shards each" in bed.call("submit")
        bed.until(lambda s: len(training(s)) == 2)
        preempt(bed.status()["shard_list"][0]["job"])
        status = bed.until_done()
        markers = [s["marker"] for s in status["shard_list"]]
        assert [m["restarts"] for m in markers] == [1, 1] and len({m["log"] for m in markers}) == 2
        assert all("saved, requeued" in m["history"][-1] for m in markers)
        assert bed.records() == calm()


def test_time_limit(study: Path, tmp_path: Path, gate: Gate, calm: bytes) -> None:
    short = {"minutes": 2, "signal_seconds": 30, "python": gate.python()}  # SLURM may signal a minute earlier
    slow = Bed(study, tmp_path / "slow", short)
    slow.call("submit")
    slow.until(lambda s: s["requeues"] >= 1)
    gate.open()
    status = slow.until_done()
    assert status["requeues"] >= 1
    assert slow.records() == calm


def test_a_job_that_cannot_requeue_ends_at_its_checkpoint_and_retry_goes_on(
    study: Path, tmp_path: Path, gate: Gate, calm: bytes
) -> None:
    nothing = tmp_path / "empty"
    nothing.mkdir()
    bed = Bed(study, tmp_path / "out", {"container": f"/usr/bin/env PATH={nothing}", "python": gate.python()})
    bed.call("submit")
    shard = bed.until_training()
    preempt(shard["job"])
    (stopped,) = bed.until(lambda s: s["shards"].get("stopped") == 1)["shard_list"][:1] or [None]
    stopped = bed.shards("stopped")[0]
    assert stopped["shard"] == shard["shard"] and "saved, but not requeued" in stopped["cause"]
    assert sh("sacct", "-nPX", "-o", "State", "-j", shard["job"]).strip() == "COMPLETED"
    gate.open()
    bed.until(lambda s: not s["shards"].keys() & {"running", "pending"})
    assert "1 jobs to send" in bed.call("retry")
    bed.until_done()
    assert bed.records() == calm


def test_killed_job_is_shown_and_sent_again_by_retry_only(bed: Bed, gate: Gate, calm: bytes) -> None:
    bed.call("submit")
    shard = bed.until_training()
    os.kill(bed.pid(shard["shard"]), signal.SIGKILL)
    gate.open(next(s["job"] for s in bed.status()["shard_list"] if s["shard"] != shard["shard"]))
    bed.until(lambda s: not s["shards"].keys() & {"running", "pending"})
    (failed,) = bed.shards("failed")
    assert failed["shard"] == shard["shard"] and "SLURM says FAILED" in failed["cause"]
    assert "0 jobs to send" in bed.call("submit")
    gate.open()
    assert "1 jobs to send" in bed.call("retry")
    bed.until_done()
    assert bed.records() == calm


def test_cancelled_jobs_save_and_are_sent_again(bed: Bed, gate: Gate, calm: bytes) -> None:
    bed.call("submit")
    bed.until_training()
    assert "2 jobs cancelled" in bed.call("cancel")
    status = bed.until(lambda s: not s["shards"].keys() & {"running", "pending"})
    assert all(s["state"] == "stopped" and s["cause"].startswith("cancelled") for s in status["shard_list"])
    gate.open()
    assert "2 jobs to send" in bed.call("submit")
    bed.until_done()
    assert bed.records() == calm


def test_a_process_that_comes_back_from_a_lost_node_writes_nothing(bed: Bed, gate: Gate, calm: bytes) -> None:
    bed.call("submit")
    shard = bed.until_training()
    old = bed.pid(shard["shard"])
    node = sh("squeue", "-h", "-j", shard["job"], "-o", "%N").strip()
    sh(str(ROOT / "slurm/testbed/node"), "kill", node)
    os.kill(old, signal.SIGSTOP)  # cut off, until another job has its shard
    try:
        try:
            marker = bed.until_restarted(shard["shard"], 1, "holds a run of this shard")
            assert is_alive(old) and marker["state"] == "waiting"
        finally:
            os.kill(old, signal.SIGCONT)
        bed.until(lambda status: not is_alive(old))
        gate.open()
        bed.until_done()
    finally:
        sh(str(ROOT / "slurm/testbed/node"), "start", node)
    assert f"was taken over by {shard['job']}:1" in bed.logs()
    assert bed.records() == calm
    bed.until_idle(node)


def test_a_job_that_could_not_be_started_is_held_and_retry_releases_it(bed: Bed, gate: Gate, calm: bytes) -> None:
    gate.open()
    sh("scontrol", "update", "partitionname=main", "state=down")
    in_the_way = []
    try:
        bed.call("submit")
        (submission,) = bed.journal.submissions()
        for spool in (Path(os.environ["SLURM_CONF"]).parent / "spool").glob("n*"):
            in_the_way.append(spool / f"job{int(submission.job):05d}")  # the folder of the array's last task
            in_the_way[-1].touch()
        sh("scontrol", "update", "partitionname=main", "state=up")
        held = bed.until(lambda s: s["shards"].get("held") == 1)
    finally:
        for file in in_the_way:
            file.unlink()
        sh("scontrol", "update", "partitionname=main", "state=up")
    (one,) = (s for s in held["shard_list"] if s["state"] == "held")
    assert one["shard"] == submission.shards[-1] and "launch failed" in one["cause"] and one["marker"] is None
    assert "`retry` releases them" in (shown := bed.call("submit")) and "0 jobs to send" in shown
    assert "released  1 held jobs" in bed.call("retry")
    bed.until_done()
    assert len(bed.journal.submissions()) == 1 and bed.records() == calm


def test_preemption_by_the_scheduler(study: Path, tmp_path: Path, gate: Gate, calm: bytes) -> None:
    bed = Bed(study, tmp_path / "out", {"partition": "low", "python": gate.python()})
    bed.call("submit")
    shard = bed.until_training()
    node = sh("squeue", "-h", "-j", shard["job"], "-o", "%N").strip()
    sh("sbatch", "-p", "main", "-w", node, "--exclusive", "-t", "1", "-o", "/dev/null", "--wrap", "sleep 5")
    bed.until(lambda s: s["requeues"] >= 1)
    gate.open()
    status = bed.until_done()
    assert status["requeues"] >= 1
    assert bed.records() == calm


def test_jobs_run_the_submitted_commit_whatever_becomes_of_the_checkout(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STUDY_COMMIT")
    checkout = tmp_path / "checkout"
    sh("git", "clone", "-q", str(ROOT), str(checkout))
    head = sh("git", "-C", str(checkout), "rev-parse", "--short=12", "HEAD").strip()
    bed = Bed(study, tmp_path / "out", checkout=checkout)
    sh("scontrol", "update", "partitionname=main", "state=down")
    try:
        bed.call("submit")
        (checkout / "study/run.py").write_text("raise SystemExit('the checkout was used')\n")
        (checkout / "slurm/job/shard.py").write_text("raise SystemExit('the checkout was used')\n")
    finally:
        sh("scontrol", "update", "partitionname=main", "state=up")
    bed.checkout = ROOT
    bed.until_done()
    assert head in bed.records().decode() and "-dirty" not in bed.records().decode()
    bed.checkout = checkout
    sh("git", "-C", str(checkout), "checkout", "slurm/job/shard.py", "study/run.py")
    (checkout / "study/data/dataset.py").write_text((checkout / "study/data/dataset.py").read_text() + "# edited\n")
    shutil.rmtree(bed.folder / "runs")
    command = [word for word in bed.command("submit") if word != "--allow-dirty"]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True)
    assert done.returncode == 2 and "study/data/dataset.py" in done.stderr and len(done.stderr.splitlines()) == 1


def test_a_thousand_jobs_are_one_sbatch_and_status_answers_in_two_seconds(tmp_path: Path) -> None:
    path = tmp_path / "thousand.yaml"
    path.write_text("title: Thousand\nfixed: {dataset: digits}\nseeds: 1000\nmeasures: [train_loss]\nshard_size: 1\n")
    bed = Bed(path, tmp_path / "out")
    sh("scontrol", "update", "partitionname=main", "state=down")
    try:
        begin = children_seconds()  # not the clock: other processes may want the cores too
        assert "1 job array(s), 1000 jobs to send" in bed.call("submit")
        submitted = children_seconds() - begin
        begin = children_seconds()
        status = bed.status()
        answered = children_seconds() - begin
        assert status["shards"] == {"total": 1000, "pending": 1000}
        assert len(bed.journal.submissions()) == 1
        assert answered < 2, f"status took {answered:.1f} s"
        assert submitted < 10, f"submit took {submitted:.1f} s"
        bed.call("cancel")
    finally:
        sh("scontrol", "update", "partitionname=main", "state=up")
