"""What is sent, what is left alone, and why; with a scheduler that only notes what it is told."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from slurm.__main__ import main
from slurm.journal import Journal, Marker, Submission
from slurm.launch import digest
from study.grid import load_study, shards
from study.storage import lease
from study.storage.paths import published_file, records_file

SEND = ["--cluster", "testbed", "--allow-dirty", "--wandb", "off"]


def queued(fake_slurm: Path, state: str, indices: range, reason: str = "(Priority)") -> None:
    """Let squeue say that these tasks of the first submission are in the queue."""
    id = Journal("tiny").submissions()[0].id
    lines = [f"tiny.{id}|7_{k}|{state}|{reason}" for k in indices]
    (fake_slurm / "squeue.out").write_text("".join(f"{line}\n" for line in lines))


def sent() -> list[int]:
    return [len(s.shards) for s in Journal("tiny").submissions()]


def test_jobs_in_the_queue_are_not_sent_again(tiny: Path, fake_slurm: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["submit", str(tiny), *SEND]) == 0
    queued(fake_slurm, "PENDING", range(6))
    for command in ("submit", "retry"):
        assert main([command, str(tiny), *SEND]) == 0
        assert "pending   6 shards left alone" in capsys.readouterr().out
    assert sent() == [6]
    queued(fake_slurm, "RUNNING", range(4))  # two are gone without a word
    assert main(["submit", str(tiny), *SEND]) == 0
    assert sent() == [6, 2]


def test_failed_shards_are_listed_with_their_cause_and_left_to_retry(
    tiny: Path, fake_slurm: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["submit", str(tiny), *SEND]) == 0
    journal = Journal("tiny")
    first = journal.submissions()[0]
    queued(fake_slurm, "RUNNING", range(1, 6))
    journal.mark(Marker(first.shards[0], "failed", job="7_0", cause="ValueError: the last line"))
    capsys.readouterr()
    assert main(["submit", str(tiny), *SEND]) == 0
    shown = capsys.readouterr().out
    assert "failed    1 shards left alone; `retry` sends them again" in shown and "ValueError: the last line" in shown
    assert sent() == [6]
    assert main(["retry", str(tiny), *SEND]) == 0
    assert sent() == [6, 1]


def test_held_jobs_keep_their_place_and_are_released_by_retry(
    tiny: Path, fake_slurm: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["submit", str(tiny), *SEND]) == 0
    queued(fake_slurm, "PENDING", range(6), "(launch failed requeued held)")
    capsys.readouterr()
    calls = fake_slurm / "scontrol.calls"
    before = calls.read_text().splitlines() if calls.exists() else []
    for command in (["submit", str(tiny), *SEND], ["retry", str(tiny), *SEND, "--dry-run"]):
        assert main(command) == 0
        assert "held      6 shards left alone; `retry` releases them" in (shown := capsys.readouterr().out)
        assert "launch failed requeued held" in shown and "released " not in shown
    assert main(["retry", str(tiny), *SEND]) == 0
    assert "released  6 held jobs" in capsys.readouterr().out and sent() == [6]
    more = calls.read_text().splitlines()[len(before) :]
    (released,) = (call.split()[1] for call in more if call.startswith("release"))
    assert sorted(released.split(",")) == [f"7_{k}" for k in range(6)]
    assert main(["watch", str(tiny), "--cluster", "testbed"]) == 1, "nobody waits for what will not start"
    assert "6: 6 held" in capsys.readouterr().out
    assert main(["cancel", str(tiny), "--cluster", "testbed"]) == 0
    assert sorted((fake_slurm / "scancel.calls").read_text().split()) == [f"7_{k}" for k in range(6)]


def test_a_refused_release_holds_up_nothing_else(
    tiny: Path, fake_slurm: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["submit", str(tiny), *SEND]) == 0
    queued(fake_slurm, "PENDING", range(4), "(JobHoldMaxRequeue)")  # the other two are gone without a word
    (fake_slurm / "scontrol.fail").write_text("Access/permission denied for job 7_0\n")
    capsys.readouterr()
    assert main(["retry", str(tiny), *SEND]) == 1
    assert "permission denied for job 7_0; `scancel` what stays held" in capsys.readouterr().err and sent() == [6, 2]


def test_a_local_submit_leaves_held_jobs_to_the_scheduler(
    tiny: Path, fake_slurm: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["submit", str(tiny), *SEND]) == 0
    queued(fake_slurm, "PENDING", range(6), "(launch failed requeued held)")
    assert main(["submit", str(tiny), "--cluster", "local", "--wandb", "off", "--dry-run"]) == 0
    assert "0 jobs to send" in (shown := capsys.readouterr().out) and "`retry` on their cluster releases them" in shown


def test_done_runs_are_skipped_run_by_run(tiny: Path, fake_slurm: Path, tmp_path: Path) -> None:
    assert main(["submit", str(tiny), "--cluster", "inline", "--wandb", "off"]) == 0
    shard = shards(load_study(tiny))[0]
    from study.config import run_key

    key = run_key(shard.runs[1])
    shutil.rmtree(tmp_path / "runs" / key[:2] / key)
    assert main(["submit", str(tiny), *SEND]) == 0
    from submitit.core.utils import DelayedSubmission

    (pickle,) = (tmp_path / "results/tiny/jobs/logs").glob("*/7_submitted.pkl")
    job = DelayedSubmission.load(pickle).function
    assert job.shard == shard.id and [run_key(c) for c in job.runs] == [key]


def test_published_runs_count_as_done_when_asked(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUDY_RECORDS", str(tmp_path / "published"))
    monkeypatch.chdir(tmp_path)
    assert main(["submit", str(tiny), "--cluster", "inline", "--wandb", "off"]) == 0
    assert main(["collect", str(tiny)]) == 0
    published_file("tiny").parent.mkdir(parents=True)
    shutil.copy(records_file("tiny"), published_file("tiny"))
    shutil.rmtree(tmp_path / "runs")
    capsys.readouterr()
    assert main(["submit", str(tiny), "--cluster", "local", "--dry-run", "--skip-published"]) == 0
    assert "12 published" in (shown := capsys.readouterr().out) and "0 jobs to send" in shown
    assert main(["submit", str(tiny), "--cluster", "local", "--dry-run"]) == 0
    assert "6 jobs to send" in capsys.readouterr().out


def test_a_dry_run_writes_nothing(tiny: Path, fake_slurm: Path, tmp_path: Path) -> None:
    assert main(["submit", str(tiny), *SEND, "--dry-run"]) == 0
    assert not (tmp_path / "results").exists() and not (fake_slurm / "sbatch.calls").exists()


def test_a_dry_run_says_what_a_job_asks_for_and_how_to_get_an_estimate(
    tiny: Path, fake_slurm: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["submit", str(tiny), *SEND, "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "  each job  partition main, 1 GPU, 1 CPU, 0.9 GB, 10 minutes, then requeued\n" in shown
    assert "  cost      at most 1.00 GPU-hours until a requeue, unknown until the first run is finished" in shown
    assert f"python -m slurm submit {tiny} --cluster testbed --where seed=0" in shown
    assert "#SBATCH --partition=main\n" in shown and "#SBATCH --time=10\n" in shown and "--array=0-5%4" in shown
    tiny.write_text(tiny.read_text() + "seconds_per_run: 600\n")
    assert main(["submit", str(tiny), *SEND, "--dry-run"]) == 0
    assert "  cost      2.00 GPU-hours, by the config's seconds_per_run" in capsys.readouterr().out


def test_a_filter_chooses_what_is_sent_shown_and_cancelled(
    tiny: Path, fake_slurm: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = {s.id for s in shards(load_study(tiny)) if any(run.batch_size == 30 for run in s.runs)}
    where = ["--where", "batch_size=30"]
    assert len(ids) == 2 and main(["submit", str(tiny), *SEND, *where]) == 0
    assert "2 jobs to send" in capsys.readouterr().out
    (submission,) = Journal("tiny").submissions()
    assert set(submission.shards) == ids
    assert main(["submit", str(tiny), *SEND]) == 0 and sent()[1] == 6, "two are gone without a word"
    second = Journal("tiny").submissions()[1]
    lines = [f"tiny.{second.id}|7_{k}|PENDING|(Priority)\n" for k in range(6)]
    (fake_slurm / "squeue.out").write_text("".join(lines))
    capsys.readouterr()
    assert main(["status", str(tiny), *where]) == 1
    assert "shards    2: 2 pending" in (shown := capsys.readouterr().out) and "0 of 4 runs trained" in shown
    assert main(["cancel", str(tiny), "--key", min(ids)[:6]]) == 0
    assert (fake_slurm / "scancel.calls").read_text().split() == [second.task(min(ids))]
    assert Journal("tiny").submissions()[1].cancelled == (min(ids),)
    assert main(["retry", str(tiny), *SEND, "--where", "lr=0.3"]) == 2
    assert "--where" in capsys.readouterr().err


def test_deleted_measures_are_computed_again_and_nothing_else(tiny: Path, tmp_path: Path) -> None:
    assert main(["submit", str(tiny), "--cluster", "inline", "--wandb", "off"]) == 0
    files = {p: p.stat().st_mtime_ns for p in (tmp_path / "runs").glob("??/**/*") if p.is_file()}
    deleted = [p for p in files if p.name == "weight_norm_squared.json"]
    for path in deleted:
        path.unlink()
    assert main(["submit", str(tiny), "--cluster", "inline", "--wandb", "off"]) == 0
    changed = [p for p, time in files.items() if p.stat().st_mtime_ns != time]
    assert sorted(changed) == sorted(deleted) and len(deleted) == 12


def test_a_measure_that_is_added_is_sent_once(tiny: Path, fake_slurm: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["submit", str(tiny), "--cluster", "inline", "--wandb", "off"]) == 0
    tiny.write_text(tiny.read_text().replace("train_loss]", "train_loss, inverse_margin]"))
    capsys.readouterr()
    assert main(["status", str(tiny)]) == 1
    assert "shards    6: 6 new" in (shown := capsys.readouterr().out) and "asks for more" in shown
    assert "12 of 12 runs trained" in shown
    assert main(["submit", str(tiny), *SEND]) == 0
    id = Journal("tiny").submissions()[-1].id
    (fake_slurm / "squeue.out").write_text("".join(f"tiny.{id}|7_{k}|PENDING|(Priority)\n" for k in range(6)))
    assert main(["submit", str(tiny), *SEND]) == 0, "their markers say done, but of the study as it was"
    assert sent() == [6, 6]
    tiny.write_text(tiny.read_text().replace("seeds: 2", "seeds: 3"))
    assert main(["submit", str(tiny), "--cluster", "local", "--dry-run"]) == 0
    shown = capsys.readouterr().out
    said = "18 in 9 shards: 6 to train (0 started), 12 trained; 1 measure to take: inverse_margin"
    assert f"  to do     {said}\n" in shown
    tiny.write_text(tiny.read_text().replace("seeds: 3", "seeds: 2"))
    assert main(["status", str(tiny)]) == 1
    assert "6: 6 pending" in capsys.readouterr().out


INLINE = ["--cluster", "inline", "--wandb", "off"]


def test_what_is_left_of_a_study_that_asks_for_more_is_not_done_when_a_part_was_sent(
    tiny: Path, fake_slurm: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["submit", str(tiny), *INLINE]) == 0
    tiny.write_text(tiny.read_text().replace("train_loss]", "train_loss, inverse_margin]"))
    assert main(["submit", str(tiny), *INLINE, "--where", "seed=0", "batch_size=10"]) == 0
    for command in ("status", "watch"):
        capsys.readouterr()
        assert main([command, str(tiny)]) == 1
        assert "shards    6: 1 done, 5 new" in (shown := capsys.readouterr().out) and "asks for more" in shown
    assert "next      python -m slurm submit" in shown
    assert main(["collect", str(tiny)]) == 1 and "2 of 12 runs, 10 not done" in capsys.readouterr().out
    (fake_slurm / "sbatch.fail").write_text("sbatch: error: Batch job submission failed: Invalid account\n")
    assert main(["submit", str(tiny), *SEND, "--where", "lr=0.1"]) == 2, "what is refused was not sent"
    capsys.readouterr()
    assert main(["status", str(tiny)]) == 1 and "shards    6: 1 done, 5 new" in capsys.readouterr().out
    assert main(["submit", str(tiny), *INLINE]) == 0
    assert main(["status", str(tiny)]) == 0 and main(["collect", str(tiny)]) == 0


def test_a_job_that_ends_after_its_study_has_changed_has_not_done_all(
    tiny: Path, fake_slurm: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = digest(tiny)
    assert main(["submit", str(tiny), *SEND]) == 0
    queued(fake_slurm, "RUNNING", range(6))
    tiny.write_text(tiny.read_text().replace("train_loss]", "train_loss, inverse_margin]").replace("2\nm", "3\nm"))
    assert main(["submit", str(tiny), *SEND]) == 0
    journal = Journal("tiny")
    first, second = journal.submissions()
    assert (len(first.shards), len(second.shards)) == (6, 3) and before != digest(tiny)
    # The second of them was sent again; its first job, which was under way, says that it is done after that.
    for shard, asked in ((first.shards[0], before), (second.shards[0], digest(tiny)), (second.shards[1], before)):
        journal.mark(Marker(shard, "done", runs=2, runs_done=2, asked=asked))
    capsys.readouterr()
    assert main(["status", str(tiny)]) == 1
    lines = capsys.readouterr().out.splitlines()
    states = {line.split()[0]: line.split()[1] for line in lines if line.split()[0] in first.shards + second.shards}
    assert [states[s] for s in (first.shards[0], *second.shards[:2])] == ["new", "done", "new"]


def test_watch_sees_what_a_study_asks_for_since_it_began(
    tiny: Path, fake_slurm: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["submit", str(tiny), *SEND]) == 0
    queued(fake_slurm, "RUNNING", range(6))

    def end_and_edit(seconds: float) -> None:
        queued(fake_slurm, "RUNNING", range(0))
        for shard in (journal := Journal("tiny")).submissions()[0].shards:
            journal.mark(Marker(shard, "done", runs=2, runs_done=2))
        tiny.write_text(tiny.read_text().replace("train_loss]", "train_loss, inverse_margin]"))

    monkeypatch.setattr("time.sleep", end_and_edit)
    assert main(["watch", str(tiny)]) == 1
    assert "6: 6 running" in (shown := capsys.readouterr().out) and "6: 6 new" in shown


def test_a_study_whose_own_measure_was_edited_is_not_done(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = tiny.with_name("mine.py")
    own.write_text("def my_sum(ctx):\n    return sum(p.sum().item() for p in ctx.model.parameters())\n")
    tiny.write_text(tiny.read_text().replace("train_loss]", "mine.py:my_sum]").replace("seeds: 2", "seeds: 1"))
    assert main(["submit", str(tiny), *INLINE]) == 0
    assert main(["status", str(tiny)]) == 0
    own.write_text(own.read_text().replace("p.sum().item()", "2 * p.sum().item()"))
    capsys.readouterr()
    assert main(["status", str(tiny)]) == 1 and "asks for more" in capsys.readouterr().out
    assert main(["submit", str(tiny), *INLINE, "--where", "batch_size=10"]) == 0
    capsys.readouterr()
    assert main(["status", str(tiny)]) == 1 and " 2 new" in capsys.readouterr().out
    own.write_text("def my_sum(ctx):\n    return (\n")
    assert main(["status", str(tiny)]) == 2
    assert capsys.readouterr().err.count("\n") == 1, "a mistake in it is one line"


def test_cancel_names_the_jobs(tiny: Path, fake_slurm: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["submit", str(tiny), *SEND]) == 0
    queued(fake_slurm, "RUNNING", range(2))
    assert main(["cancel", str(tiny)]) == 0
    assert (fake_slurm / "scancel.calls").read_text().split() == ["7_0", "7_1"]
    assert "2 jobs cancelled" in capsys.readouterr().out


def test_cancel_waits_for_the_answer_to_what_is_being_sent(
    tiny: Path, fake_slurm: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until then a job has no name by which it could be cancelled."""
    journal = Journal("tiny")
    record = Submission("0001-a", "testbed", "slurm", "c0ffee", tuple(s.id for s in shards(load_study(tiny))))
    submitter = lease.acquire(journal.folder, ["submit"], "login/7")
    journal.write(record)

    def answered(owner: str) -> None:
        journal.write(replace(record, job="7"))
        queued(fake_slurm, "PENDING", range(6))
        submitter.release()

    monkeypatch.setattr("slurm.here._say_waiting", answered)
    assert main(["cancel", str(tiny), "--cluster", "testbed"]) == 0
    assert "6 jobs cancelled" in capsys.readouterr().out
    (after,) = journal.submissions()
    assert (after.job, set(after.cancelled)) == ("7", set(record.shards))
