"""What `status` makes of markers, squeue and sacct; no scheduler needed."""

from __future__ import annotations

import json
import os
import socket
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from slurm import scheduler
from slurm.__main__ import main
from slurm.cluster import FIELDS as CLUSTER_FIELDS
from slurm.journal import MARKER_BYTES, REQUEUED, Journal, Marker, Submission
from slurm.view.status import count, shard_states
from study.display import duration
from study.storage import lease

SHARDS = [f"{k:012x}" for k in range(6)]
NAME = "tiny.0001-abc"


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    """Six shards, sent as array 7."""
    made = Journal("tiny", tmp_path / "results")
    made.write(Submission("0001-abc", "testbed", "slurm", "c0ffee", tuple(SHARDS), "7"))
    return made


def states(journal: Journal, runs: Path) -> list[tuple[str, str]]:
    return [(s.state, s.cause) for s in shard_states(journal, SHARDS, runs)]


def test_the_queue_comes_first_then_markers_then_the_accounting(
    journal: Journal, fake_slurm: Path, tmp_path: Path
) -> None:
    queue = [f"{NAME}|7_0|RUNNING|n1", f"{NAME}|7_1|PENDING|(Priority)", f"{NAME}|7_2|COMPLETED|n1"]
    (fake_slurm / "squeue.out").write_text("\n".join(queue) + "\n")
    accounts = [
        "7_2|COMPLETED|0:0|n1",
        "7_3|FAILED|28:0|n2",
        "7_4|NODE_FAIL|1:0|n3",
        "7_[5,8-9%4]|CANCELLED by 0|0:0|None assigned",
    ]
    (fake_slurm / "sacct.out").write_text("\n".join(accounts) + "\n")
    journal.mark(Marker(SHARDS[1], "stopped", job="7_1", cause="saved, requeued"))
    assert states(journal, tmp_path) == [
        ("running", ""),
        ("pending", "(Priority)"),
        ("failed", "SLURM says COMPLETED on n1"),
        ("failed", "SLURM says FAILED on n2, No space left on device"),
        ("lost", "SLURM says NODE_FAIL on n3"),
        ("lost", "SLURM says CANCELLED"),
    ]
    assert len((fake_slurm / "squeue.calls").read_text().splitlines()) == 1
    assert len((fake_slurm / "sacct.calls").read_text().splitlines()) == 1


@pytest.mark.parametrize(
    "state, reason, expected",
    [
        ("PENDING", "(launch failed requeued held)", "held"),
        ("PENDING", "(launch failure limit exceeded requeued held)", "held"),
        ("PENDING", "(JobHoldMaxRequeue)", "held"),
        ("SPECIAL_EXIT", "(JobHeldUser)", "held"),  # what RequeueExitHold makes of an exit status
        ("REQUEUE_HOLD", "(JobHeldUser)", "held"),
        ("PENDING", "(job requeued in held state)", "pending"),  # `scontrol requeuehold`: somebody's own decision
        ("PENDING", "(JobHeldUser)", "pending"),
        ("PENDING", "(JobHeldAdmin)", "pending"),
        ("PENDING", "(JobArrayTaskLimit)", "pending"),
        ("COMPLETING", "(launch failed requeued held)", "running"),  # not to be released yet
    ],
)
def test_a_job_that_the_scheduler_holds_is_told_from_one_that_will_start(
    journal: Journal, fake_slurm: Path, tmp_path: Path, state: str, reason: str, expected: str
) -> None:
    (fake_slurm / "squeue.out").write_text(f"{NAME}|7_2|{state}|{reason}\n")
    assert states(journal, tmp_path)[2] == (expected, "" if expected == "running" else reason)


def test_a_marker_counts_only_for_the_job_that_left_it(journal: Journal, fake_slurm: Path, tmp_path: Path) -> None:
    journal.mark(Marker(SHARDS[0], "done", job="7_0"))
    journal.mark(Marker(SHARDS[1], "failed", job="7_1", cause="ValueError: no"))
    journal.mark(Marker(SHARDS[2], "failed", job="3_2", cause="of an older job"))
    journal.mark(Marker(SHARDS[3], "stopped", job="7_3", cause="saved, but not requeued"))
    found = states(journal, tmp_path)
    assert found[0] == ("done", "") and found[1] == ("failed", "ValueError: no")
    assert found[2][0] == "lost" and "of an older job" not in found[2][1]
    assert found[3] == ("stopped", "saved, but not requeued")
    assert count(shard_states(journal, SHARDS, tmp_path)) == {"done": 1, "failed": 1, "stopped": 1, "lost": 3}


@pytest.mark.parametrize(
    ("queue", "said", "job", "expected"),
    [
        ("PENDING", Marker("", "stopped", requeues=0, cause=REQUEUED), "7_0", 1),
        ("PENDING", Marker("", "running", requeues=2), "7_0", 3),  # its node was lost
        ("RUNNING", Marker("", "stopped", requeues=0, cause=REQUEUED), "7_0", 1),  # its python is about to start
        ("RUNNING", Marker("", "running", requeues=1), "7_0", 1),
        ("PENDING", Marker("", "new", requeues=1), "3_0", 1),  # sent again, and not started yet
        ("PENDING", Marker("", "stopped", requeues=1, cause=REQUEUED), "3_0", 1),
    ],
)
def test_a_requeue_counts_while_the_job_waits(
    queue: str, said: Marker, job: str, expected: int, journal: Journal, fake_slurm: Path, tmp_path: Path
) -> None:
    journal.mark(replace(said, shard=SHARDS[0], job=job))
    (fake_slurm / "squeue.out").write_text(f"{NAME}|7_0|{queue}|(Priority)\n")
    assert shard_states(journal, SHARDS, tmp_path)[0].requeues == expected


def test_what_its_user_has_cancelled_is_neither_lost_nor_failed(
    journal: Journal, fake_slurm: Path, tmp_path: Path
) -> None:
    (fake_slurm / "sacct.out").write_text("".join(f"7_{k}|CANCELLED by 0|0:0|\n" for k in range(6)))
    journal.mark(Marker(SHARDS[0], "stopped", job="7_0", cause="SIGTERM: saved; cancelled, or preempted"))
    journal.mark(Marker(SHARDS[1], "running", job="7_1"))
    journal.mark(Marker(SHARDS[2], "failed", job="7_2", cause="ValueError: no"))
    journal.mark(Marker(SHARDS[3], "stopped", job="3_3", cause="of an older job"))
    journal.cancel(SHARDS[:4])
    assert states(journal, tmp_path) == [
        ("stopped", "cancelled: saved"),
        ("stopped", "cancelled"),
        ("failed", "ValueError: no"),
        ("stopped", "cancelled before it was started"),
        ("lost", "SLURM says CANCELLED"),  # somebody else's doing
        ("lost", "SLURM says CANCELLED"),
    ]
    journal.reopen(SHARDS[:2])
    journal.write(Submission("0002-def", "testbed", "slurm", "c0ffee", tuple(SHARDS[:2]), "8"))
    again = journal.marker(SHARDS[1])
    assert again is not None and again.state == "new" and again.history == ["job 7_1 start 1: running: cancelled"]


def test_a_submission_that_an_earlier_version_cancelled_is_read(journal: Journal) -> None:
    file = journal.folder / "submissions/0001-abc.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "cancelled": True}))
    assert journal.submissions()[0].cancelled == tuple(SHARDS) and journal.cancelled("0001-abc") == set(SHARDS)


def test_a_queue_that_cannot_be_asked_makes_nothing_lost(
    journal: Journal, fake_slurm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    (fake_slurm / "squeue.fail").write_text(9 * "slurm_load_jobs error: Unable to contact slurm controller\n")
    found = states(journal, tmp_path)
    assert {state for state, _ in found} == {"unknown"} and "Unable to contact" in found[0][1]


def test_an_accounting_that_cannot_be_asked_is_told_from_one_that_knows_nothing(
    journal: Journal, fake_slurm: Path, tmp_path: Path
) -> None:
    assert states(journal, tmp_path)[0] == (
        "lost",
        "its job is not in the queue, and the accounting knows nothing of it",
    )
    (fake_slurm / "sacct.fail").write_text("sacct: error: Slurm accounting storage is disabled\n")
    state, cause = states(journal, tmp_path)[0]
    assert state == "lost" and cause.endswith(
        "cannot be asked: sacct: sacct: error: Slurm accounting storage is disabled"
    )


def test_a_submission_without_an_answer_is_lost_not_pending(fake_slurm: Path, tmp_path: Path) -> None:
    journal = Journal("tiny", tmp_path / "results")
    journal.write(Submission("0001-abc", "testbed", "slurm", "c0ffee", tuple(SHARDS)))
    assert set(states(journal, tmp_path)) == {("lost", "its submitter ended before the scheduler had answered")}
    (fake_slurm / "squeue.out").write_text(f"{NAME}|9_4|PENDING|(Resources)\n")  # but it had heard
    assert states(journal, tmp_path)[4] == ("pending", "(Resources)")


def test_local_processes_are_told_by_their_lease(fake_slurm: Path, tmp_path: Path) -> None:
    journal = Journal("tiny", tmp_path / "results")
    journal.write(Submission("0001-abc", "local", "local", "c0ffee", tuple(SHARDS)))
    me = f"{socket.gethostname()}/{os.getpid()}"
    with lease.acquire(tmp_path, ["aa"], me) as held:
        journal.mark(Marker(SHARDS[0], "running", job=me, holder=held.id))
        assert states(journal, tmp_path)[:2] == [("running", ""), ("lost", "was not started")]
    assert states(journal, tmp_path)[0] == ("lost", "its process is gone")
    with lease.acquire(journal.folder, ["0001-abc"], me) as submitter:
        journal.write(Submission("0001-abc", "local", "local", "c0ffee", tuple(SHARDS), holder=submitter.id))
        assert states(journal, tmp_path)[:2] == [("lost", "its process is gone"), ("pending", "waits for a core")]
    assert states(journal, tmp_path)[1] == ("lost", "was not started")
    assert not (fake_slurm / "squeue.calls").exists()


def test_a_local_submitter_counts_while_it_lives_and_nobody_cancelled_it(fake_slurm: Path, tmp_path: Path) -> None:
    journal = Journal("tiny", tmp_path / "results")
    me, first = f"{socket.gethostname()}/{os.getpid()}", Submission("0001-a", "local", "local", "c0ffee", tuple(SHARDS))
    waits = ("pending", "waits for a core")
    with lease.acquire(journal.folder, ["0001-a"], me) as held:
        journal.write(replace(first, holder=held.id))
        with lease.acquire(journal.folder, ["0002-b"], me) as second:
            journal.write(replace(first, id="0002-b", holder=second.id))
            assert states(journal, tmp_path)[0] == waits
        assert states(journal, tmp_path)[0] == waits, "the first is still there to start it"
        journal.mark(Marker(SHARDS[0], "waiting", job=me, cause="waiting for another study"))
        assert states(journal, tmp_path)[0] == ("pending", "waiting for another study")
        who = journal.folder / ".leases" / "holders" / held.id / "who"
        here = who.read_text()
        who.write_text(json.dumps({**json.loads(here), "machine": "an-earlier-boot pid:[1]"}))
        assert states(journal, tmp_path)[1] == ("lost", "was not started"), "this machine was started anew since"
        who.write_text(here)
        assert states(journal, tmp_path)[1] == waits
        journal.write(replace(first, id="0003-c", holder=held.id, cancelled=tuple(SHARDS)))
        journal.write(replace(first, holder=held.id, cancelled=tuple(SHARDS)))
        assert states(journal, tmp_path)[1] == ("stopped", "cancelled before it was started")


def test_a_marker_keeps_its_size_so_that_a_full_disk_can_take_it(journal: Journal) -> None:
    path = journal.folder / "shards" / f"{SHARDS[0]}.json"
    history = ["a line " * 30] * 9
    unlucky = Marker(SHARDS[0], cause="\u2013" * 9000, history=["\u2013" * 9000] * 9)
    for marker in (Marker(SHARDS[0]), unlucky, Marker(SHARDS[0], cause="x" * 9000, history=history)):
        journal.mark(marker)
        assert path.stat().st_size == MARKER_BYTES
        assert journal.marker(SHARDS[0]) is not None
    path.write_text("{ half")
    assert journal.marker(SHARDS[0]) is None


def test_status_of_a_thousand_ended_jobs_takes_under_two_seconds(
    tmp_path: Path, fake_slurm: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from slurm.launch import find_place
    from slurm.request import keep_plan

    study = tmp_path / "thousand.yaml"
    study.write_text("fixed: {dataset: digits}\nseeds: 20000\nmeasures: [train_loss]\nshard_size: 20\n")
    place = find_place(study, "local", tmp_path / "runs", tmp_path / "results")
    keep_plan(place)
    ids = list(json.loads((place.journal.folder / "plan.json").read_text())["shards"])
    place.journal.write(Submission("0001-abc", "testbed", "slurm", "c0ffee", tuple(ids), "7"))
    for k, shard in enumerate(ids[:990]):
        state = ("done", "running", "failed")[k % 3]
        done = 20 * (k % 3 == 0)
        marker = Marker(shard, state, job=f"7_{k}", runs=20, runs_done=done, seconds=10.0, asked=place.digest)
        place.journal.mark(marker)
    begin = time.process_time()  # not the clock: other processes may want the cores too
    arguments = ["status", str(study), "--runs", str(tmp_path / "runs"), "--results", str(tmp_path / "results")]
    assert main([*arguments, "--json"]) == 1
    assert (seconds := time.process_time() - begin) < 2, seconds
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert found["shards"] == {"total": 1000, "done": 330, "failed": 330, "lost": 340}
    assert found["runs"] == {"total": 20000, "trained": 6600} and len(found["shard_list"]) == 1000
    assert main(arguments) == 1
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) <= 40 and shown[-1].endswith("more; --json has all")


@pytest.mark.parametrize(
    ("code", "words"),
    [("28:0", "No space left on device"), ("30:0", "Read-only file system"), ("1:0", "exit status 1"),
     ("0:9", "killed by signal 9"), ("0:53", "a log file could not be opened")],
)  # fmt: skip
def test_exit_codes_in_words(code: str, words: str) -> None:
    assert scheduler.explain_exit(code) == words


def test_durations() -> None:
    assert [duration(s) for s in (42, 600, 9000)] == ["42 s", "10 min", "2.5 h"]


def test_run_keys_do_not_know_the_cluster() -> None:
    from dataclasses import fields

    from study.config import RunConfig

    assert not {f.name for f in fields(RunConfig)} & set(CLUSTER_FIELDS)
