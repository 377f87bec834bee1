"""A failure leads to its log: the path and the line that says why, on the screen, for scripts, and printed."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from slurm.__main__ import main
from slurm.journal import Journal, Marker
from slurm.log import last_error
from study.config import run_key
from study.grid import load_study, shards

SEND = ["--cluster", "testbed", "--allow-dirty", "--wandb", "off"]
EXECVE = "slurmstepd: error: execve(): /nowhere/python: No such file or directory"


@pytest.fixture
def wrong_python(tiny: Path, fake_slurm: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """Six jobs that could not start python: sacct knows that they failed, their logs know why."""
    assert main(["submit", str(tiny), *SEND]) == 0
    journal = Journal("tiny")
    (submission,) = journal.submissions()
    for k in range(6):
        log = journal.logs(submission.id) / f"7_{k}_0_log.err"
        log.write_text(f"{EXECVE}\nsrun: error: n2: task 0: Exited with exit code 2\n")
    (fake_slurm / "sacct.out").write_text("".join(f"7_{k}|FAILED|2:0|n2\n" for k in range(6)))
    capsys.readouterr()
    return journal.logs(submission.id)


def test_status_names_the_log_and_its_line_once_for_all_shards(
    tiny: Path, wrong_python: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", str(tiny)]) == 1
    shown = capsys.readouterr().out
    assert f"  failed    6 shards: {EXECVE}\n  log       {wrong_python}/7_" in shown
    assert f"SLURM says FAILED on n2, exit status 2: {EXECVE}" in shown
    assert main(["status", str(tiny), "--json"]) == 1
    for shard in json.loads(capsys.readouterr().out)["shard_list"]:
        assert shard["log"] == f"{wrong_python}/{shard['job']}_0_log.err" and shard["last_line"] == EXECVE


def test_watch_and_collect_end_with_the_next_command(
    tiny: Path, wrong_python: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in ("watch", "collect"):
        assert main([command, str(tiny), "--cluster", "testbed"]) == 1
        shown = capsys.readouterr().out
        assert EXECVE in shown and str(wrong_python) in shown
        assert f"next      python -m slurm logs {tiny} --cluster testbed --failed" in shown
        assert f"then      python -m slurm retry {tiny} --cluster testbed" in shown
    assert main(["submit", str(tiny), *SEND]) == 0
    assert EXECVE in (shown := capsys.readouterr().out) and f"log {wrong_python}/7_0_0_log.err" in shown


def test_the_next_command_can_be_typed_as_it_stands(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["watch", str(tiny)]) == 1
    step = capsys.readouterr().out.splitlines()[-1]
    assert step.startswith("next      python -m slurm submit ")
    assert main([*shlex.split(step)[4:], "--dry-run"]) == 0
    assert main(["logs", str(tiny), "--failed"]) == 1
    assert capsys.readouterr().err.endswith("none of these shards failed or got lost and has a log\n")


def test_logs_prints_what_the_jobs_of_some_shards_wrote(
    tiny: Path, wrong_python: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (wrong_python / "7_1_0_log.out").write_text("".join(f"line {n}\n" for n in range(100)))
    journal = Journal("tiny")
    ids = journal.submissions()[0].shards
    first, second = (shard for id in ids[:2] for shard in shards(load_study(tiny)) if shard.id == id)
    journal.mark(Marker(first.id, "done", job="7_0"))
    assert main(["logs", str(tiny), "--failed"]) == 0
    shown = capsys.readouterr().out
    assert shown.count(EXECVE) == 5 and f"=== shard {second.id} failed, job 7_1: SLURM says FAILED" in shown
    for name in (second.id, run_key(second.runs[1])[:8]):
        assert main(["logs", str(tiny), "--key", name, "--lines", "2"]) == 0
        shown = capsys.readouterr().out
        assert shown.count("=== shard") == 1 and second.id in shown
        assert f"{wrong_python}/7_1_0_log.out\nline 98\nline 99\n" in shown
    assert main(["logs", str(tiny), "--where", "lr=0.1", "batch_size=10"]) == 0
    wanted = {s.id for s in shards(load_study(tiny)) if any((r.lr, r.batch_size) == (0.1, 10) for r in s.runs)}
    shown = capsys.readouterr().out
    assert {line.split()[2] for line in shown.splitlines() if line.startswith("=== shard")} == wanted


@pytest.mark.parametrize(
    ("filter", "words"),
    [
        (["--where", "lr=0.3"], ["--where", "lr=0.3", "0.01, 0.1"]),
        (["--where", "lr"], ["--where", "field=value"]),
        (["--where", "lrr=1"], ["lrr", "unknown field"]),
        (["--where", "lr=fast"], ["lr", "fast"]),
        (["--key", "zz"], ["--key", "zz"]),
    ],
)
def test_a_filter_that_fits_nothing_is_one_line(
    filter: list[str], words: list[str], tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["logs", str(tiny), *filter]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert all(word in line for word in words), line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("Traceback (most recent call last):\n  File x\nValueError: no such image\n", "ValueError: no such image"),
        ("ValueError: no\nsubmitit ERROR (now) - Submitted job triggered an exception\n", "ValueError: no"),
        ("srun: error: n1: task 0: Killed\n", "srun: error: n1: task 0: Killed"),  # nothing says more
        ("\n\n", ""),
    ],
)
def test_the_line_that_says_why(text: str, line: str, tmp_path: Path) -> None:
    (tmp_path / "x.err").write_text(text)
    assert last_error(str(tmp_path / "x.err")) == line
    assert last_error(str(tmp_path / "absent")) == ""


def test_a_jobs_own_log_says_what_it_does_and_how_fast(tiny: Path) -> None:
    tiny.write_text(tiny.read_text().replace("[0.01, 0.1]", "[0.1]").replace("[10, 30, 60]", "[30]"))
    assert main(["submit", str(tiny), "--cluster", "local", "--wandb", "off"]) == 0
    (shard,) = shards(load_study(tiny))
    marker = Journal("tiny").marker(shard.id)
    assert marker is not None and marker.runs_now == 2
    log = (Journal("tiny").folder / "logs" / marker.log).with_suffix(".out").read_text()
    assert f"shard {shard.id} of tiny: 2 runs, 0 trained before" in log and "commit " in log
    assert all(word in log for word in ("all runs:", "dataset=digits", "n_train=60", "hidden=8", "lr=0.1"))
    for run in shard.runs:
        assert f"run {run_key(run)}: seed={run.seed}\n" in log
    assert "  2 of 2 runs trained, " in log and " epochs/s, " in log and "  done: " in log


def test_a_local_job_that_failed_leads_to_its_log(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = tiny.read_text().replace("[0.01, 0.1]", "[0.1]").replace("[10, 30, 60]", "[30]")
    tiny.write_text(text)
    (shard,) = shards(load_study(tiny))
    key = run_key(shard.runs[0])
    folder = tiny.parent / "runs" / key[:2] / key
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"lr": 7}')
    assert main(["submit", str(tiny), "--cluster", "local", "--wandb", "off"]) == 1
    capsys.readouterr()
    assert main(["logs", str(tiny), "--failed"]) == 0
    shown = capsys.readouterr().out
    assert "config.json: lr: 7" in shown and "Traceback" in shown
