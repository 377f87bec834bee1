"""Runs in W&B while they train: what is on disk so far, each row once, the whole run when it is finished."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import study.tracking.live
from study.config import RunConfig, run_key
from study.storage.paths import RunPaths
from study.tracking.live import Live, Watched, show
from study.tracking.mirror import mirror
from study.tracking.read_back import rows_on_server
from study.tracking.server import PROJECT
from study.tracking.wandb_run import TrackingError
from tests.support.finished_runs import MEASURES, add_measures, assert_complete, make_runs
from tests.support.wandb_server import WandbServer, home, server

__all__ = ["home", "server"]  # fixtures

STUDY = "toy"


def watched(tmp_path: Path, runs: list[RunConfig], rate: float = 6000) -> Watched:
    return Watched(runs, MEASURES, tmp_path / "runs", STUDY, tmp_path / "results", rate, varies=("seed",))


def times(n: int, between: Callable[[int], None] = lambda look: None) -> Callable[[float], bool]:
    """Ends after `n` looks; `between` happens before each of them."""
    looks: list[float] = []

    def ended(seconds: float) -> bool:
        looks.append(seconds)
        between(len(looks))
        return len(looks) > n

    return ended


def test_rows_appear_as_they_are_written_and_the_finished_run_is_whole(server: WandbServer, tmp_path: Path) -> None:
    (config,) = make_runs(tmp_path / "runs", 1, 6)
    paths = RunPaths(tmp_path / "runs", run_key(config))
    outcome, rows = paths.outcome.read_bytes(), paths.epochs.read_text().splitlines(keepends=True)
    paths.outcome.unlink()
    seen: list[tuple[int, str]] = []

    def train(look: int) -> None:
        if received := server.runs.get(f"{STUDY}-{run_key(config)}"):
            seen.append((len(received.rows), received.summary["train__status"]))
        paths.epochs.write_text("".join(rows[: 2 * look]))

    show(watched(tmp_path, [config]), times(2, train))
    assert seen == [(2, "training"), (4, "training")]
    received = server.runs[f"{STUDY}-{run_key(config)}"]
    assert received.config["lr"] == config.lr and received.display_name == "seed=0" and received.group == STUDY
    with pytest.raises(TrackingError, match="holds no runs"):
        rows_on_server(STUDY, None, PROJECT)  # it has not ended
    paths.outcome.write_bytes(outcome)
    done = mirror([config], MEASURES, tmp_path / "runs", STUDY, "online", tmp_path / "results", rate=6000)
    assert (done.written, done.problems) == (1, ())
    assert_complete(received, config, tmp_path / "runs", STUDY)
    assert received.lines_received == 6 + 1, "no row was sent twice"
    assert received.summary["train__status"] == "finished"
    n = len(server.requests)
    show(watched(tmp_path, [config]), times(1))
    assert len(server.requests) == n, "what is there is not sent again"


def test_test_losses_of_stops_arrive_though_the_epochs_of_these_were_sent_before(
    server: WandbServer, tmp_path: Path
) -> None:
    (config,) = make_runs(tmp_path / "runs", 1, 6, stops=("epoch_2", "epoch_4", "loss_0.01"))
    paths = RunPaths(tmp_path / "runs", run_key(config))
    outcome, rows = json.loads(paths.outcome.read_text()), paths.epochs.read_text().splitlines(keepends=True)
    paths.outcome.unlink()
    show(watched(tmp_path, [config]), times(1, lambda look: paths.epochs.write_text("".join(rows[:5]))))
    received = server.runs[f"{STUDY}-{run_key(config)}"]
    assert len(received.rows) == 5
    paths.epochs.write_text("".join(rows))
    outcome["reached"] |= {f"epoch_{e}": {"epoch": e, "step": 10 * e, "train_loss": 1.0} for e in (2, 4)}
    paths.outcome.write_text(json.dumps(outcome))
    arguments = (tmp_path / "runs", STUDY, "online", tmp_path / "results", 6000)
    assert mirror([config], MEASURES, *arguments).problems == ()
    whole = [{k: v for k, v in row.items() if k[0] != "_"} for row in received.rows]
    assert whole[:6] == [json.loads(row) for row in rows], "the curve is as if it had been sent at once"
    tested = [(row["epoch"], row["step"], row["test_loss"], row["test_error"]) for row in whole[6:]]
    assert tested == [(2, 20, 0.3, 0.1), (4, 40, 1.3, 0.1), (6, 60, 2.3, 0.1)]
    assert [row["_step"] for row in received.rows] == list(range(9)), "wandb drops what goes back"
    assert received.lines_received == 9
    for stop in config.stops:
        add_measures(paths, stop, ["inverse_margin"], 7.5)
    assert mirror([config], [*MEASURES, "inverse_margin"], *arguments).written == 1
    assert received.summary["measure__inverse_margin"] == 7.5 and received.lines_received == 9


def test_a_small_share_of_the_requests_is_kept_and_every_run_has_its_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = make_runs(tmp_path / "runs", 3, 2)
    looks: list[list[str]] = []
    monkeypatch.setattr(study.tracking.live, "write_offline", lambda some, results: None)
    monkeypatch.setattr(study.tracking.live, "deliver", lambda some, *_, rate: looks.append([r.id for r in some]))
    waits: list[float] = []

    def ended(seconds: float) -> bool:
        waits.append(seconds)
        return len(waits) > 3

    show(watched(tmp_path, runs, rate=1.0), ended)
    assert sorted(id for look in looks for id in look) == sorted(f"{STUDY}-{run_key(run)}" for run in runs)
    assert len(looks) == 3 and waits[0] == pytest.approx(60 * 5 / 0.9), "5 requests a run, 1 a minute"


def test_nothing_that_goes_wrong_reaches_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    runs = make_runs(tmp_path / "runs", 2, 2)
    epochs = RunPaths(tmp_path / "runs", run_key(runs[0])).epochs
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    for text in ('{"epoch": 1, "st', epochs.read_text()):
        epochs.write_text(text)
        show(watched(tmp_path, runs), times(1))
    assert len(list((tmp_path / "results").glob("*/wandb/offline-run-*"))) == 2, "written, and there is no server"
    for broken, status in (("/nowhere/python", None), ("/bin/false", 1)):
        monkeypatch.setattr(sys, "executable", broken)
        live = Live(watched(tmp_path, runs))
        live.close()
        live.wait()
        assert (live._process and live._process.returncode) == status, "none was started, or it has ended"
    assert capfd.readouterr() == ("", ""), "the training's own output stays its own"


def test_the_process_ends_with_its_parents_word(server: WandbServer, tmp_path: Path) -> None:
    runs = make_runs(tmp_path / "runs", 1, 2)
    live = Live(watched(tmp_path, runs))
    assert live._process is not None
    live.wait()
    assert live._process.returncode == 0
    assert json.dumps(server.requests) == "[]", "it ends before its first look"
