"""One fault at a time on a real SLURM: its cause is in `status`, and the records are an undisturbed run's bytes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.slurm.bed import ROOT, Bed, children_seconds, epochs_lasting, is_alive, preempt, sh, undisturbed

pytestmark = pytest.mark.slurm

# Two shards that train for some ten seconds each.
TEXT = """\
title: Two shards of ten seconds
fixed: {dataset: digits, hidden: [64, 64], momentum: 0.9, stops: [epoch_EPOCHS], max_epochs: EPOCHS}
grid: {lr: [0.01, 0.03, 0.1], batch_size: [10]}
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
    epochs = epochs_lasting(20, TEXT, path.parent / "pace")  # a fast machine, too, is met while it trains
    path.write_text(TEXT.replace("EPOCHS", str(epochs)))
    return path


@pytest.fixture(scope="module")
def calm(study: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The records of an undisturbed inline run."""
    return undisturbed(study, tmp_path_factory.mktemp("calm"))


@pytest.fixture
def bed(study: Path, tmp_path: Path) -> Bed:
    return Bed(study, tmp_path / "out")


def test_a_sweep_from_submit_to_records(bed: Bed, calm: bytes) -> None:
    shown = bed.call("submit")
    assert "1 job array(s), 2 jobs to send" in shown and "sent      job" in shown
    again = bed.call("submit")
    assert "0 jobs to send" in again and "shards left alone" in again
    status = bed.until_done()
    assert status["requeues"] == status["resubmissions"] == 0 and status["runs"] == {"total": 12, "trained": 12}
    assert bed.records() == calm
    assert "0 jobs to send" in bed.call("submit") and len(bed.ledger.submissions()) == 1
    assert "12 of 12 runs" in bed.call("collect")


def test_two_submitters_at_once_send_each_shard_once(bed: Bed) -> None:
    assert bed.twice_at_once("submit") == [0, 0]
    assert sorted(len(s.shards) for s in bed.ledger.submissions()) == [2]
    bed.call("cancel")
    bed.until(lambda s: not s["shards"].keys() & {"running", "pending"})


def test_preemption_signal_saves_requeues_and_resumes(bed: Bed, calm: bytes) -> None:
    bed.call("submit")
    shard = bed.until_training()
    preempt(shard["job"])
    bed.until(lambda s: s["requeues"] > 0)
    status = bed.until_done()
    (one,) = (s for s in status["shard_list"] if s["shard"] == shard["shard"])
    assert one["marker"]["restarts"] == 1 and "saved, requeued" in one["marker"]["history"][-1]
    assert status["requeues"] == 1, "the sibling was requeued too"
    assert bed.records() == calm


def test_time_limit(bed: Bed, tmp_path: Path) -> None:
    path = tmp_path / "long.yaml"
    text = TEXT.replace("seeds: 4", "seeds: 1")
    path.write_text(text.replace("EPOCHS", str(epochs_lasting(80, text, tmp_path / "pace"))))
    slow = Bed(path, tmp_path / "slow", {"minutes": 1, "signal_seconds": 5})  # SLURM may signal 30 s earlier
    slow.call("submit")
    expected = undisturbed(path, tmp_path / "calm")
    status = slow.until_done(420)
    assert status["requeues"] >= 1
    assert slow.records() == expected


def test_a_job_that_cannot_requeue_ends_at_its_checkpoint_and_retry_goes_on(
    study: Path, tmp_path: Path, calm: bytes
) -> None:
    nothing = tmp_path / "empty"
    nothing.mkdir()
    bed = Bed(study, tmp_path / "out", {"container": f"/usr/bin/env PATH={nothing}"})
    bed.call("submit")
    shard = bed.until_training()
    preempt(shard["job"])
    (stopped,) = bed.until(lambda s: s["shards"].get("stopped") == 1)["shard_list"][:1] or [None]
    stopped = bed.shards("stopped")[0]
    assert stopped["shard"] == shard["shard"] and "saved, but not requeued" in stopped["cause"]
    assert sh("sacct", "-nPX", "-o", "State", "-j", shard["job"]).strip() == "COMPLETED"
    bed.until(lambda s: not s["shards"].keys() & {"running", "pending"})
    assert "1 jobs to send" in bed.call("retry")
    bed.until_done()
    assert bed.records() == calm


def test_killed_job_is_shown_and_sent_again_by_retry_only(bed: Bed, calm: bytes) -> None:
    bed.call("submit")
    shard = bed.until_training()
    os.kill(bed.pid(shard["shard"]), signal.SIGKILL)
    bed.until(lambda s: not s["shards"].keys() & {"running", "pending"})
    (failed,) = bed.shards("failed")
    assert failed["shard"] == shard["shard"] and "SLURM says FAILED" in failed["cause"]
    assert "0 jobs to send" in bed.call("submit")
    assert "1 jobs to send" in bed.call("retry")
    bed.until_done()
    assert bed.records() == calm


def test_cancelled_jobs_save_and_are_sent_again(bed: Bed, calm: bytes) -> None:
    bed.call("submit")
    bed.until_training()
    assert "2 jobs cancelled" in bed.call("cancel")
    status = bed.until(lambda s: not s["shards"].keys() & {"running", "pending"})
    assert all("SIGTERM: saved" in s["cause"] or "CANCELLED" in s["cause"] for s in status["shard_list"])
    assert "2 jobs to send" in bed.call("submit")
    bed.until_done()
    assert bed.records() == calm


def test_a_process_that_comes_back_from_a_lost_node_writes_nothing(bed: Bed, calm: bytes) -> None:
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
        bed.until(lambda status: not is_alive(old), 30)
        bed.until_done()
    finally:
        sh(str(ROOT / "slurm/testbed/node"), "start", node)
    assert f"was taken over by {shard['job']}:1" in bed.logs()
    assert bed.records() == calm
    bed.until_idle(node)


def test_a_job_that_could_not_be_started_is_held_and_retry_releases_it(bed: Bed, calm: bytes) -> None:
    sh("scontrol", "update", "partitionname=main", "state=down")
    in_the_way = []
    try:
        bed.call("submit")
        (submission,) = bed.ledger.submissions()
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
    assert len(bed.ledger.submissions()) == 1 and bed.records() == calm


def test_preemption_by_the_scheduler(study: Path, tmp_path: Path, calm: bytes) -> None:
    bed = Bed(study, tmp_path / "out", {"partition": "low"})
    bed.call("submit")
    shard = bed.until_training()
    node = sh("squeue", "-h", "-j", shard["job"], "-o", "%N").strip()
    sh("sbatch", "-p", "main", "-w", node, "--exclusive", "-t", "1", "-o", "/dev/null", "--wrap", "sleep 5")
    status = bed.until(lambda s: s["requeues"] >= 1 or s["shards"].get("done") == 2, 120)
    assert status["requeues"] >= 1
    bed.until_done()
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
        (checkout / "slurm/job.py").write_text("raise SystemExit('the checkout was used')\n")
    finally:
        sh("scontrol", "update", "partitionname=main", "state=up")
    bed.checkout = ROOT
    bed.until_done()
    assert head in bed.records().decode() and "-dirty" not in bed.records().decode()
    bed.checkout = checkout
    sh("git", "-C", str(checkout), "checkout", "slurm/job.py", "study/run.py")
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
        assert len(bed.ledger.submissions()) == 1
        assert answered < 2, f"status took {answered:.1f} s"
        assert submitted < 10, f"submit took {submitted:.1f} s"
        bed.call("cancel")
    finally:
        sh("scontrol", "update", "partitionname=main", "state=up")
