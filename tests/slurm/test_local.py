"""The local cluster, which `make reproduce` uses: killed at any instant, the same command ends with the same bytes."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from slurm import local
from slurm.__main__ import main
from slurm.job.shard import ShardJob
from slurm.journal import Journal, Marker, Submission
from slurm.view.status import shard_states
from study.config import run_key
from study.grid import load_study, shards
from study.records import collect
from study.storage import lease
from tests.slurm.bed import children_seconds, epochs_lasting

ROOT = Path(__file__).parents[2]
LONGER = """\
title: Six shards of a few seconds
fixed: {dataset: digits, hidden: [32], momentum: 0.9, stops: [epoch_EPOCHS], max_epochs: EPOCHS}
grid: {lr: [0.01, 0.1], batch_size: [10, 30, 100]}
seeds: 2
measures: [weight_norm_squared, train_loss]
shard_size: 2
"""


@contextlib.contextmanager
def started(study: Path, folder: str) -> Iterator[subprocess.Popen[bytes]]:
    """A submitter with two processes, whatever the number of cores; nothing that it started outlives the block."""
    cluster = study.with_name("two.yaml")
    cluster.write_text("kind: local\nprocesses: 2\n")
    command = [sys.executable, "-m", "slurm", "submit", str(study), "--cluster", str(cluster), "--wandb", "off"]
    with study.with_suffix(".log").open("a") as log:  # no pipe: processes that are left behind would keep it open
        process = subprocess.Popen(
            [*command, "--runs", folder, "--results", folder], cwd=ROOT, stdout=log, stderr=log, start_new_session=True
        )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def workers(journal: Journal) -> list[int]:
    """Pids of the processes that say they are at a shard."""
    return [int(m.job.rpartition("/")[2]) for m in markers(journal) if m.state in ("waiting", "running")]


def markers(journal: Journal) -> list[Marker]:
    """What every shard's job last said."""
    found = [journal.marker(file.stem) for file in (journal.folder / "shards").glob("*.json")]
    return [marker for marker in found if marker]


def at_work(journal: Journal, runs: str) -> list[int]:
    """Pids of the processes that hold the lease of a shard."""
    return [int(m.job.rpartition("/")[2]) for m in markers(journal) if lease.alive(Path(runs), m.holder)]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def records(study: Path, runs: str, results: str) -> bytes:
    path, missing = collect(load_study(study), runs, results)
    assert missing == 0
    return path.read_bytes()


@pytest.fixture
def three(tiny: Path) -> Path:
    """The same runs in three shards: a process a shard, which imports torch."""
    tiny.write_text(tiny.read_text().replace("shard_size: 2", "shard_size: 4"))
    return tiny


def test_all_shards_are_done_and_a_second_time_nothing_is_sent(three: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["submit", str(three), "--cluster", "local", "--wandb", "off"]) == 0
    journal = Journal("tiny")
    assert len(journal.submissions()) == 1
    capsys.readouterr()
    begin = children_seconds()  # not the clock: other processes may want the cores too
    command = [sys.executable, "-X", "importtime", "-m", "slurm", "submit", str(three), "--cluster", "local"]
    done = subprocess.run([*command, "--wandb", "off"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert (seconds := children_seconds() - begin) < 1, seconds
    assert "0 jobs to send" in done.stdout and len(journal.submissions()) == 1
    modules = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert not modules & {"torch", "submitit", "wandb"}
    assert main(["status", str(three)]) == 0 and "12 of 12 runs trained" in capsys.readouterr().out
    assert main(["collect", str(three)]) == 0
    assert f"analysis report tiny --results {journal.folder.parents[1]}" in capsys.readouterr().out


@pytest.mark.slow
def test_submitter_and_workers_killed_at_random_instants_give_the_bytes_of_an_undisturbed_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUDY_COMMIT", "0123456789ab-dirty")  # in every record: a commit made meanwhile changes nothing
    study = tmp_path / "longer.yaml"
    seconds = 2 * 6  # two processes, and 6 s pass at work before the fifth kill: no machine is done by then
    study.write_text(LONGER.replace("EPOCHS", str(epochs_lasting(seconds, LONGER, tmp_path / "pace"))))
    calm = str(tmp_path / "calm")
    assert main(["submit", str(study), "--cluster", "inline", "--wandb", "off", "--runs", calm, "--results", calm]) == 0
    rough = str(tmp_path / "rough")
    journal, chance = Journal("longer", rough), random.Random(5)
    kills = 0
    with contextlib.ExitStack() as left_behind:
        for attempt in range(12):
            process = left_behind.enter_context(started(study, rough))
            if attempt < 6:
                while not at_work(journal, rough) and process.poll() is None:
                    time.sleep(0.1)  # while a process imports torch there is little to interrupt
                time.sleep(chance.uniform(0, 1.5))
                victims = at_work(journal, rough)
                if chance.random() < 0.6 and victims:
                    with contextlib.suppress(ProcessLookupError):  # it may have come to its end by itself
                        os.kill(chance.choice(victims), signal.SIGKILL)  # a worker dies, the others are left behind
                process.kill()
                kills += 1
            if process.wait() == 0:
                break
        else:
            pytest.fail("not done after twelve attempts")
    assert kills >= 5
    assert records(study, rough, rough) == records(study, calm, calm)


@pytest.mark.slow
def test_workers_that_outlive_their_submitter_are_waited_for_not_doubled(tmp_path: Path) -> None:
    study = tmp_path / "longer.yaml"
    study.write_text(LONGER.replace("EPOCHS", "40000"))  # no shard comes to its end meanwhile, on any machine
    here, log = str(tmp_path / "out"), study.with_suffix(".log")
    journal = Journal("longer", here)
    with started(study, here) as first:
        deadline = time.monotonic() + 60
        while len(running := [p for p in workers(journal) if is_alive(p)]) < 2 and time.monotonic() < deadline:
            time.sleep(0.2)
        time.sleep(1)
        first.kill()
        first.wait()
        assert len(running) == 2 and all(is_alive(pid) for pid in running)
        said = log.read_text()
        with started(study, here) as second:
            deadline = time.monotonic() + 60
            while "shards: " not in (new := log.read_text().removeprefix(said)):  # said after 3 s of looking at them
                assert second.poll() is None and time.monotonic() < deadline, new
                time.sleep(0.2)
            assert set(running) <= set(workers(journal)), "a second process took a shard that is being done"
            sent = list(journal.logs(journal.submissions()[-1].id).glob("*_submitted.pkl"))
            assert len(journal.submissions()) == 2 and sent == [], (
                "a process was started for a shard that is being done"
            )
            second.send_signal(signal.SIGINT)
            assert second.wait(30) == 130 and "the same command goes on" in log.read_text()
            assert all(is_alive(pid) for pid in running), "they were not this submitter's to stop"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_no_process_behind(number: signal.Signals, tmp_path: Path) -> None:
    study = tmp_path / "longer.yaml"
    study.write_text(LONGER.replace("EPOCHS", "40000"))
    here = str(tmp_path / "out")
    journal = Journal("longer", here)
    with started(study, here) as process:
        deadline = time.monotonic() + 60
        while sum(m.epochs_per_second > 0 for m in markers(journal)) < 2 and time.monotonic() < deadline:
            time.sleep(0.2)  # until both train: a process that still imports torch cannot leave in time
        running = workers(journal)
        if number == signal.SIGINT:
            os.killpg(process.pid, number)  # as a terminal does
        else:
            process.send_signal(number)
        assert process.wait(30) == 130
        deadline = time.monotonic() + 5
        while any(map(is_alive, running)) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert running and not any(map(is_alive, running))
    assert "Traceback" not in study.with_suffix(".log").read_text()
    assert sorted(s.state for s in shard_states(journal, journal.submissions()[0].shards, tmp_path / "out"))[-2:] == [
        "stopped",
        "stopped",
    ]


@pytest.mark.slow
def test_cancel_ends_the_shards_that_run_and_those_to_come(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = tmp_path / "longer.yaml"
    study.write_text(LONGER.replace("EPOCHS", "40000"))
    here = str(tmp_path / "out")
    journal = Journal("longer", here)
    with started(study, here) as process:
        deadline = time.monotonic() + 60
        while not (running := workers(journal)) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert main(["cancel", str(study), "--runs", here, "--results", here]) == 0
        assert "jobs cancelled" in capsys.readouterr().out
        assert process.wait(60) == 130
        assert running and not any(map(is_alive, running))
    assert len(list((journal.folder / "shards").glob("*.json"))) < 6, "it went on with the other shards"


def test_a_failing_shard_is_reported_with_its_last_line_and_the_others_go_on(
    three: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shard = main_shards(three)[0]
    key = shard["keys"][0]
    config = tmp_path / "runs" / key[:2] / key / "config.json"
    config.parent.mkdir(parents=True)
    config.write_text(json.dumps({"lr": 77}))  # another config where this run belongs
    assert main(["submit", str(three), "--cluster", "local", "--wandb", "off"]) == 1
    errors = capsys.readouterr().err
    assert f"failed    shard {shard['id']}: ValueError: " in errors and "differs from the study's" in errors
    assert "1 of 3 shards failed" in errors
    assert main(["status", str(three)]) == 1
    shown = capsys.readouterr().out
    assert "2 done, 1 failed" in shown and "differs from the study's" in shown
    config.unlink()
    assert main(["retry", str(three), "--cluster", "local", "--wandb", "off"]) == 0


@pytest.fixture
def two_at_work(tiny: Path, tmp_path: Path) -> Iterator[tuple[Journal, subprocess.Popen[bytes]]]:
    """The first shard's process has ended since the last look at its lease; the second's, which is given, has not."""
    journal, ids = Journal("tiny"), [str(shard["id"]) for shard in main_shards(tiny)][:2]
    with subprocess.Popen(["true"]) as ended:
        pass
    here = os.uname().nodename
    with (
        subprocess.Popen(["sleep", "600"]) as second,
        lease.acquire(tmp_path / "runs", ["aa"], "both:0") as held,
        contextlib.ExitStack() as left_behind,
    ):
        left_behind.callback(second.kill)
        journal.write(Submission("0001-abc", "local", "local", "c0ffee", tuple(ids)))
        for shard, process in zip(ids, (ended, second), strict=True):
            journal.mark(Marker(shard, "running", job=f"{here}/{process.pid}", host=here, holder=held.id))
        yield journal, second


def test_cancel_passes_over_a_process_that_has_just_ended(
    tiny: Path, two_at_work: tuple[Journal, subprocess.Popen[bytes]], capsys: pytest.CaptureFixture[str]
) -> None:
    _, second = two_at_work
    assert main(["cancel", str(tiny)]) == 0
    assert "2 jobs cancelled" in capsys.readouterr().out
    assert second.wait(60) == -signal.SIGTERM


def test_what_is_stopped_too_late_and_has_just_ended_is_passed_over(
    tiny: Path,
    tmp_path: Path,
    two_at_work: tuple[Journal, subprocess.Popen[bytes]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    journal, second = two_at_work
    monkeypatch.setattr(local, "STOP_SECONDS", 0.0)
    controller = SimpleNamespace(_process=SimpleNamespace(terminate=lambda: None), done=lambda: False)
    pool = local.Pool([], journal, tmp_path, 2, {})
    study = load_study(tiny)
    pool._tasks = [
        local._Task(
            ShardJob("tiny", s.id, s.runs, study.measures, str(tmp_path / "runs"), "", "cpu"), process=controller
        )
        for s in shards(study)[:2]
    ]
    pool._stop()
    assert second.wait(60) == -signal.SIGKILL


def main_shards(study: Path) -> list[dict[str, list[str]]]:
    return [{"id": s.id, "keys": [run_key(c) for c in s.runs]} for s in shards(load_study(study))]  # type: ignore[dict-item]


def test_no_wait_goes_on_in_the_background(three: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "slurm", "submit", str(three), "--cluster", "local", "--wandb", "off", "--no-wait"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    pid, log = re.findall(r"process (\d+), log (\S+),", done.stdout)[0]
    try:
        deadline = time.monotonic() + 120
        while is_alive(int(pid)) and time.monotonic() < deadline:
            time.sleep(0.2)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(int(pid), signal.SIGKILL)
    assert "3 jobs to send" in Path(log).read_text()
    assert records(three, str(tmp_path / "runs"), str(tmp_path / "results"))
