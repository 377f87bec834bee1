"""Uploading within a rate: all arrives, nothing twice, whatever the server refuses and whenever we are killed."""

import contextlib
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import pytest

from study.config import RunConfig, run_key
from study.tracking.delivery import deliver
from study.tracking.offline import write_offline
from study.tracking.outbox import Mark, Outbox
from study.tracking.upload import FRUITLESS, HEADROOM, REQUESTS_PER_RUN, Pace, estimate_seconds, recover, upload
from study.tracking.wandb_run import WandbRun
from tests.support.finished_runs import as_wandb_runs, assert_complete, make_runs
from tests.support.wandb_server import WandbServer, home, server

__all__ = ["home", "server"]  # fixtures

ROOT = Path(__file__).parents[3]
STUDY = "toy"


def offline(tmp_path: Path, n: int, n_epochs: int) -> tuple[list[RunConfig], list[WandbRun], Path]:
    configs = make_runs(tmp_path / "runs", n, n_epochs)
    runs, results = as_wandb_runs(tmp_path / "runs", configs, STUDY), tmp_path / "results" / STUDY
    done = write_offline(runs, results)
    assert (done.written, done.problems) == (n, ())
    return configs, runs, results


def at_work_on(results: Path) -> list[Path]:
    """Processes that were told of this folder when they were started."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # ended since, or somebody else's
            if str(results).encode() in (process / "cmdline").read_bytes() + (process / "environ").read_bytes():
                found.append(process)
    return found


@pytest.mark.slow
def test_a_hundred_runs_arrive_whole_within_the_rate(server: WandbServer, tmp_path: Path) -> None:
    configs, runs, results = offline(tmp_path, 100, 25)
    told: list[tuple[int, int]] = []
    rate = 4800.0
    report = deliver(runs, results, rate=rate, progress=lambda sent, total: told.append((sent, total)))
    assert len(report.sent) == 100 and report.failed == [] and report.n_refused == 0
    assert told == [(i, 100) for i in range(1, 101)]
    assert server.unknown == [] and len(server.runs) == 100
    for config in configs:
        received = server.runs[f"{STUDY}-{run_key(config)}"]
        assert_complete(received, config, tmp_path / "runs", STUDY)
        assert (received.lines_received, received.complete) == (25 + 1, 1)
    questions = sum(1 for _, operation, _ in server.requests if operation in ("Viewer", "Runs"))
    assert questions <= 3
    assert server.count() - questions == 100 * REQUESTS_PER_RUN, "the cost of a run, on which the rate rests"
    assert Outbox(results).waiting() == []
    assert list((results / "wandb" / "uploads").iterdir()) == []
    n = len(server.requests)
    assert deliver(runs, results, rate=rate).sent == [] and len(server.requests) == n


def test_no_window_of_time_has_more_starts_than_the_rate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    starts: list[float] = []

    class Instant:
        """A sync process that sends at once."""

        n_refused = 0

        def __init__(self, outbox: Outbox, marks: Sequence[Mark], *_: object) -> None:
            self.marks = {mark.id: mark for mark in marks}
            starts.extend([time.monotonic()] * len(marks))

        def ended(self) -> bool:
            return True

        def newly_sent(self) -> list[str]:
            return list(self.marks)

        def unsent(self) -> list[Mark]:
            return []

        def close(self) -> None:
            pass

    outbox = Outbox(tmp_path)
    for i in range(40):
        id = f"run{i:02d}"
        outbox.put(id, f"offline-run-1_1-{id}", {"rest": "x", "rows": "y"})
        (outbox.folder / f"offline-run-1_1-{id}").mkdir()
        (outbox.folder / f"offline-run-1_1-{id}" / f"run-{id}.wandb").touch()
    monkeypatch.setattr("study.tracking.upload._Sync", Instant)
    monkeypatch.setattr("study.tracking.upload.SLOT_SECONDS", 0.1)
    rate = 6000
    assert len(upload(tmp_path, rate=rate).sent) == 40
    allowed = rate / 60 / REQUESTS_PER_RUN  # runs a second
    assert max(sum(1 for t in starts if s <= t < s + 1) for s in starts) <= allowed
    assert starts[-1] - starts[0] < 40 / (HEADROOM * allowed) * 5, "and not much slower than it needs to be"


def test_refusals_are_waited_out_and_slow_it_down(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configs, runs, results = offline(tmp_path, 8, 3)
    for kind in ("GRAPHQL", "FILE_STREAM"):  # wandb waits up to a minute between its tries otherwise
        monkeypatch.setenv(f"WANDB_X_{kind}_RETRY_WAIT_MAX_SECONDS", "1")
    with WandbServer(limit=15, window=3.0) as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        report = deliver(runs, results, rate=3000)  # ten times what the server allows
    assert len(report.sent) == 8 and report.failed == []
    assert report.n_refused == server.count(429) > 0
    for config in configs:
        received = server.runs[f"{STUDY}-{run_key(config)}"]
        assert_complete(received, config, tmp_path / "runs", STUDY)
        assert received.lines_received == 3 + 1


def test_killed_at_any_instant_it_goes_on_where_it_stopped(server: WandbServer, tmp_path: Path) -> None:
    configs, runs, results = offline(tmp_path, 9, 4)
    all_ids = {run.id for run in runs}
    server.delay = 0.1
    code = (
        "from pathlib import Path; import study.tracking.upload as u; u.SLOT_SECONDS = 0.0\n"  # one run a process
        f"u.upload(Path({str(results)!r}), rate=900)"
    )
    child = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    try:
        while len(confirmed := all_ids - {mark.id for mark in Outbox(results).waiting()}) < 3:
            assert child.poll() is None
            time.sleep(0.01)
    finally:
        child.kill()
        child.wait()
    deadline = time.monotonic() + 60
    while at_work_on(results):  # what the killed process had started ends with it
        assert time.monotonic() < deadline, "an upload went on without its parent"
        time.sleep(0.1)
    time.sleep(1.0)  # requests that the server had taken are answered
    server.delay = 0.0
    report = deliver(runs, results, rate=3000)
    assert report.sent, "killed too late to show anything"
    assert report.failed == [] and Outbox(results).waiting() == []
    assert confirmed.isdisjoint(report.sent)
    for config in configs:
        received = server.runs[f"{STUDY}-{run_key(config)}"]
        assert_complete(received, config, tmp_path / "runs", STUDY)
        assert received.lines_received == 4 + 1, "a row was sent twice"


def test_what_another_upload_recovers_at_the_same_time_is_left_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with subprocess.Popen(["true"]) as ended:
        pass
    outbox = Outbox(tmp_path)
    left = outbox.folder / "uploads" / f"{platform.node()}-{ended.pid}-0123abcd"
    (left / "wandb/logs").mkdir(parents=True)
    log = left / "wandb/logs/debug-sync.log"
    log.touch()
    look = Path.open

    def removed_first(path: Path, *more: str) -> IO[Any]:
        if path == log:
            shutil.rmtree(left)
        return look(path, *more)

    monkeypatch.setattr(Path, "open", removed_first)
    recover(outbox)
    assert not left.exists()


def test_rows_that_arrived_unconfirmed_or_from_elsewhere_are_not_sent_again(
    server: WandbServer, tmp_path: Path
) -> None:
    """wandb's own command appends to the curve of a run that the server knows."""
    configs, runs, results = offline(tmp_path, 2, 5)
    received = server.runs
    server.lose_answers = True
    assert len(deliver(runs, results, rate=6000).failed) == 2
    # A slow client sends its rows in pieces, and ends at the first refusal.
    assert all(1 <= run.lines_received <= 6 for run in received.values())
    server.lose_answers = False
    assert len(deliver(runs, results, rate=6000).sent) == 2
    assert [run.lines_received for run in received.values()] == [6, 6]
    shutil.rmtree(results)  # another checkout, which knows nothing of the first; the server lost three rows of one run
    partial = received[runs[0].id]
    partial.history = {i: row for i, row in partial.history.items() if i < 3}
    write_offline(runs, results)
    assert len(deliver(runs, results, rate=6000).sent) == 2
    for config in configs:
        assert_complete(received[f"{STUDY}-{run_key(config)}"], config, tmp_path / "runs", STUDY)
    assert [run.lines_received for run in (partial, received[runs[1].id])] == [6 + 3, 6]


def test_data_that_the_server_refuses_for_good_is_not_taken_as_sent(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """wandb's own command marks such a run as synced."""
    (config,), runs, results = offline(tmp_path, 1, 3)
    with WandbServer(forbid="file_stream") as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        report = deliver(runs, results, rate=6000)
        assert report.sent == [] and len(report.failed) == 1 and "403" in report.failed[0]
        assert len(Outbox(results).waiting()) == 1
        server.forbid = None
        assert deliver(runs, results, rate=6000).sent == [runs[0].id]
        assert_complete(server.runs[runs[0].id], config, tmp_path / "runs", STUDY)


def test_a_server_that_takes_nothing_is_given_up_early(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, runs, results = offline(tmp_path, 5, 2)
    monkeypatch.setattr("study.tracking.upload.SLOT_SECONDS", 0.0)  # one run a process
    with WandbServer(forbid="UpsertBucket") as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        report = deliver(runs, results, rate=6000, parallel=1)
    assert report.sent == [] and len(report.failed) == 5
    assert server.count(403) == FRUITLESS, "five runs, but three tries are enough to see that nothing works"


def test_the_pace_keeps_the_rate_and_learns_from_refusals() -> None:
    pace = Pace(50)
    assert pace.seconds_per_run * 50 / 60 == pytest.approx(REQUESTS_PER_RUN / HEADROOM)
    assert pace.batch == 1
    assert Pace(200).batch * REQUESTS_PER_RUN <= 200 / 10, "a start takes at most a tenth of a minute's requests"
    before = pace.seconds_per_run
    pace.learn(refused=True)
    assert pace.seconds_per_run == 2 * before
    for _ in range(20):
        pace.learn(refused=False)
    assert pace.seconds_per_run == before
    assert estimate_seconds(100, 50) == pytest.approx(100 * 60 * REQUESTS_PER_RUN / (HEADROOM * 50))
    for wrong in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="rate: "):
            Pace(wrong)


def test_an_upload_of_another_machine_is_left_alone(tmp_path: Path) -> None:
    """One whose name begins as this one's: its processes are not seen here."""
    with subprocess.Popen(["true"]) as ended:
        pass
    outbox = Outbox(tmp_path)
    theirs, ours = (outbox.folder / f"uploads/{platform.node()}{more}-{ended.pid}-0123abcd" for more in ("-2", ""))
    for folder in (theirs, ours):
        folder.mkdir(parents=True)
    recover(outbox)
    assert theirs.exists() and not ours.exists()
