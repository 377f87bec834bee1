"""The mirror: complete, once, under stable ids, inside the results folder, and never the reason that a run fails."""

import json
import math
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import wandb
from hypothesis import given, settings
from hypothesis import strategies as st

import study.tracking.environment
import study.tracking.offline
from study.config import RunConfig, run_key
from study.names import column_name, wandb_name
from study.storage.paths import RunPaths
from study.tracking.delivery import deliver
from study.tracking.mirror import mirror
from study.tracking.offline import Mirrored
from study.tracking.outbox import Outbox
from study.tracking.read_back import _rows
from study.tracking.server import check
from study.tracking.wandb_run import TrackingError, wandb_run
from tests.support.finished_runs import MEASURES, add_measures, assert_complete, make_runs
from tests.support.wandb_server import WandbServer, home, server

__all__ = ["home", "server"]  # fixtures

ROOT = Path(__file__).parents[3]
STUDY = "toy"


def offline_folders(results: Path) -> list[str]:
    return sorted(path.name for path in (results / STUDY / "wandb").glob("offline-run-*"))


def test_the_server_receives_every_row_config_and_summary(server: WandbServer, tmp_path: Path) -> None:
    runs = make_runs(tmp_path / "runs", 4, 30)
    done = mirror(runs, MEASURES, tmp_path / "runs", STUDY, "online", tmp_path / "results", rate=6000)
    assert (done.written, done.problems) == (4, ())
    assert server.unknown == []
    assert set(server.runs) == {f"{STUDY}-{run_key(config)}" for config in runs}
    for config in runs:
        received = server.runs[f"{STUDY}-{run_key(config)}"]
        assert_complete(received, config, tmp_path / "runs", STUDY)
        assert received.complete == 1 and received.lines_received == 30 + 1
        metrics = received.config["_wandb"]["m"]
        (curves,) = (metric for metric in metrics if metric.get("2") == "*")
        assert metrics[curves["5"] - 1]["1"] == "epoch"  # the x-axis, by its place, which wandb chooses
    seeds = {server.runs[f"{STUDY}-{run_key(config)}"].config["configuration"] for config in runs[:3]}
    assert len(seeds) == 1, "seeds of one configuration must group together"


def test_a_run_is_mirrored_once_and_updated_when_measures_are_added(server: WandbServer, tmp_path: Path) -> None:
    runs = make_runs(tmp_path / "runs", 2, 5)
    results = tmp_path / "results"
    arguments = (tmp_path / "runs", STUDY, "online", results)
    mirror(runs, MEASURES, *arguments, rate=6000)
    n = len(server.requests)
    assert mirror(runs, MEASURES, *arguments, rate=6000).skipped == 2
    assert len(server.requests) == n, "nothing new, nothing sent"
    for config in runs:
        add_measures(RunPaths(tmp_path / "runs", run_key(config)), "loss_0.01", ["inverse_margin"], 7.5)
    done = mirror(runs, [*MEASURES, "inverse_margin"], *arguments, rate=6000)
    assert (done.written, done.problems) == (2, ()), done.problems
    for received in server.runs.values():
        assert received.summary["measure__inverse_margin"] == 7.5
        assert received.summary["measure__relative_flatness"] >= 1
        assert received.lines_received == 5 + 1, "the curve is not sent again"
    assert len(offline_folders(results)) == 2


def test_offline_keeps_one_folder_a_run_and_replaces_what_is_stale(home: Path, tmp_path: Path) -> None:
    runs = make_runs(tmp_path / "runs", 3, 4)
    results = tmp_path / "results"
    first = mirror(runs, MEASURES, tmp_path / "runs", STUDY, results_root=results)
    assert (first.written, first.skipped, first.problems) == (3, 0, ())
    before = offline_folders(results)
    assert mirror(runs, MEASURES, tmp_path / "runs", STUDY, results_root=results).skipped == 3
    assert offline_folders(results) == before
    # A writer that was killed after its run and before its mark, and a measure that came later.
    outbox = Outbox(results / STUDY)
    marks = outbox.waiting()
    (outbox.folder / "mirrored" / f"{marks[0].id}.json").unlink()
    key = marks[1].id.removeprefix(f"{STUDY}-")
    add_measures(RunPaths(tmp_path / "runs", key), "loss_0.01", ["train_loss"], 2.5)
    again = mirror(runs, MEASURES, tmp_path / "runs", STUDY, results_root=results)
    assert (again.written, again.skipped) == (2, 1)
    assert len(offline_folders(results)) == 3
    assert [mark.id for mark in outbox.waiting()] == sorted(f"{STUDY}-{run_key(config)}" for config in runs)


def test_only_what_is_finished_and_readable_is_mirrored(home: Path, tmp_path: Path) -> None:
    runs = make_runs(tmp_path / "runs", 3, 4)
    RunPaths(tmp_path / "runs", run_key(runs[0])).outcome.unlink()
    RunPaths(tmp_path / "runs", run_key(runs[1])).epochs.write_text('{"epoch": 1, "st')
    done = mirror(runs, MEASURES, tmp_path / "runs", STUDY, results_root=tmp_path / "results")
    assert done.written == 1
    (problem,) = done.problems
    assert run_key(runs[1]) in problem and "\n" not in problem


def test_a_diverged_run_shows_its_missing_losses(server: WandbServer, tmp_path: Path) -> None:
    (config,) = make_runs(tmp_path / "runs", 1, 3)
    paths = RunPaths(tmp_path / "runs", run_key(config))
    outcome = json.loads(paths.outcome.read_text()) | {"status": "diverged", "reached": {}}
    paths.outcome.write_text(json.dumps(outcome))
    rows = paths.epochs.read_text().splitlines()
    paths.epochs.write_text("\n".join([*rows[:2], json.dumps(json.loads(rows[2]) | {"train_loss": None})]) + "\n")
    mirror([config], MEASURES, tmp_path / "runs", STUDY, "online", tmp_path / "results", rate=6000)
    (received,) = server.runs.values()
    assert math.isnan(received.rows[2]["train_loss"]) and received.rows[1]["train_loss"] > 0
    assert received.summary["train__status"] == "diverged" and "test__loss" not in received.summary


def test_everything_stays_inside_the_results_and_the_environment_as_it_was(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home)
    monkeypatch.setenv("WANDB_SERVICE", "3-1-unix-/nowhere")  # as inherited through sbatch from a job that is gone
    monkeypatch.setenv("WANDB_MODE", "online")
    before = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
    runs = make_runs(tmp_path / "runs", 1, 2)
    done = mirror(runs, MEASURES, tmp_path / "runs", STUDY, "offline", tmp_path / "results")
    assert (done.written, done.problems) == (1, ())
    assert dict(os.environ) == before
    assert list(home.rglob("*")) == []
    assert {path.name for path in tmp_path.iterdir()} == {"home", "runs", "results"}


# Each of these made every run of a study the same one, cut its curve, or sent its file elsewhere.
REDIRECTS = {
    "RUN_ID": "other", "RESUME": "must", "FORK_FROM": "other?_step=1", "RESUME_FROM": "other?_step=1",
    "SWEEP_ID": "abc", "LAUNCH": "true", "X_SKIP_TRANSACTION_LOG": "true", "X_UPDATE_FINISH_STATE": "false",
    "MODE": "disabled", "DISABLED": "true", "RUN_GROUP": "g", "NAME": "n", "JOB_TYPE": "j", "TAGS": "a,b",
    "CONFIG": '{"lr": 7}',
}  # fmt: skip


def test_no_variable_of_the_environment_redirects_a_run(
    server: WandbServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in REDIRECTS.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    check("online")
    runs = make_runs(tmp_path / "runs", 2, 4)
    done = mirror(runs, MEASURES, tmp_path / "runs", STUDY, "online", tmp_path / "results", rate=6000)
    assert (done.written, done.problems) == (2, ())
    for config in runs:
        received = server.runs[f"{STUDY}-{run_key(config)}"]
        assert_complete(received, config, tmp_path / "runs", STUDY)
        assert received.project == "mine" and received.tags == [STUDY, "digits", "mlp"]
        assert received.display_name == f"seed={config.seed}"
    assert all(os.environ[f"WANDB_{name}"] == value for name, value in REDIRECTS.items())


@pytest.mark.parametrize(("name", "value"), [("SWEEP_ID", "abc"), ("FORK_FROM", "other?_step=1")])
def test_a_run_that_wandb_wrote_otherwise_than_was_meant_is_not_marked_as_written(
    name: str, value: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def let_through(places: dict[str, str]) -> object:
        return with_variables({**places, name: value})

    with_variables = study.tracking.offline.holding
    monkeypatch.setattr(study.tracking.environment, "_HOLDS", re.compile(r"WANDB_.*"))
    monkeypatch.setattr(study.tracking.offline, "holding", let_through)
    runs = make_runs(tmp_path / "runs", 1, 4)
    done = mirror(runs, MEASURES, tmp_path / "runs", STUDY, "offline", tmp_path / "results")
    assert done.written == 0 and "1 of 1 runs not mirrored: TrackingError" in done.problems[0]
    assert not list((tmp_path / "results").glob("**/mirrored/*.json"))


def test_nothing_that_wandb_does_is_raised(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def broken(**arguments: object) -> None:
        calls.append(arguments)
        raise OSError("disk full")

    monkeypatch.setattr(wandb, "init", broken)
    runs = make_runs(tmp_path / "runs", 3, 2)
    done = mirror(runs, MEASURES, tmp_path / "runs", STUDY, results_root=tmp_path / "results")
    assert done.written == 0 and len(calls) == 1, "the first failure ends it"
    assert done.problems == ("wandb: 3 of 3 runs not mirrored: OSError: disk full",)
    assert calls[0]["mode"] == "offline" and calls[0]["reinit"] == "create_new"


def test_a_server_that_is_away_leaves_the_runs_for_later(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    runs = make_runs(tmp_path / "runs", 1, 2)
    done = mirror(runs, MEASURES, tmp_path / "runs", STUDY, "online", tmp_path / "results")
    assert len(done.problems) == 1 and "http://127.0.0.1:9 cannot be reached" in done.problems[0]
    assert len(Outbox(tmp_path / "results" / STUDY).waiting()) == 1


def test_without_wandb_offline_says_so_and_online_is_refused(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['wandb'] = None\n"
        "from study.tracking.mirror import mirror\n"
        "from study.tracking.server import check\n"
        f"print(mirror([], [], {str(tmp_path)!r}, 'toy', 'offline', {str(tmp_path)!r}).problems)\n"
        "check('offline'); check('off'); check('online')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "wandb is not installed" in done.stdout
    assert "TrackingError: wandb: online: wandb is not installed" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_online_needs_a_key_before_anything_runs(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TrackingError, match="no API key"):
        check("online")
    monkeypatch.setenv("WANDB_API_KEY", "too-short")
    with pytest.raises(TrackingError, match="WANDB_API_KEY"):
        check("online")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    check("online")


def test_modes(tmp_path: Path) -> None:
    assert mirror([RunConfig()], [], tmp_path, STUDY, "off", tmp_path) == Mirrored()
    for refuse in (lambda: mirror([], [], tmp_path, STUDY, "onlin", tmp_path), lambda: check("onlin")):
        with pytest.raises(TrackingError, match="onlin: allowed: offline, online, off"):
            refuse()
    assert list(tmp_path.iterdir()) == []


def test_each_stop_has_its_names_and_the_lowest_loss_the_plain_ones() -> None:
    rows = [
        {"key": "k", "stop": stop, "hp.lr": "0.1", "hp.dataset": "digits", "hp.model": "mlp", "gap.loss": gap}
        for stop, gap in (("loss_0.01", "3.0"), ("loss_0.1", "2.0"), ("epoch_5", "1.0"))
    ]
    run = wandb_run(STUDY, rows, None)
    assert run.config["stop"] == "loss_0.01" and run.config["stops"] == "epoch_5 loss_0.1 loss_0.01"
    assert run.summary == {"gap__loss": 3.0, "at__loss_0__1__gap__loss": 2.0, "at__epoch_5__gap__loss": 1.0}
    assert replace(run, rows=[]).digest()["rest"] == run.digest()["rest"]


def test_a_run_can_be_told_from_the_others_in_a_list_and_leads_to_its_job(server: WandbServer, tmp_path: Path) -> None:
    runs = make_runs(tmp_path / "runs", 4, 6, stops=("epoch_3", "loss_0.01"))
    origin = {"job": "7_0", "log": "/results/x.err"}
    arguments = (MEASURES, tmp_path / "runs", STUDY, "online", tmp_path / "results", 6000)
    assert mirror(runs, *arguments, origin=origin).problems == ()
    names = {server.runs[f"{STUDY}-{run_key(config)}"].display_name for config in runs}
    assert names == {"lr=0.01 seed=0", "lr=0.01 seed=1", "lr=0.01 seed=2", "lr=0.02 seed=0"}
    first = server.runs[f"{STUDY}-{run_key(runs[0])}"]
    assert first.tags == [STUDY, "digits", "mlp"]
    assert first.config["job"] == "7_0" and first.config["log"] == "/results/x.err"
    assert first.config["training_seconds"] == 1.0
    tested = [row["epoch"] for row in first.rows if "test_loss" in row and "test_error" in row]
    assert tested == [6], "both stops were met at the last epoch's end"
    hidden = [m for m in first.config["_wandb"]["m"] if m.get("1") in ("epoch", "step") and 2 in m.get("6", [])]
    assert len(hidden) == 2, first.config["_wandb"]["m"]
    assert mirror(runs[:1], *arguments, varies=["lr"], origin={"job": "8"}).written == 0, "it is the same run"


def test_a_curve_has_the_test_loss_where_a_stop_was_met() -> None:
    epochs = [{"epoch": e, "step": 10 * e, "train_loss": 1.0} for e in (1, 2, 3)]
    rows = [
        {"key": "k", "stop": stop, "hp.dataset": "digits", "hp.model": "mlp", "hp.hidden": "64", "train.step": step}
        | {"test.loss": loss, "test.error": "0.5"}
        for stop, step, loss in (("loss_0.1", "15", "0.25"), ("loss_0.01", "30", ""))
    ]
    run = wandb_run(STUDY, rows, epochs, ["hidden"])
    assert run.rows == [*epochs, {"epoch": 2, "step": 20, "test_loss": 0.25, "test_error": 0.5}]
    started = wandb_run(STUDY, [{"key": "k", "stop": "loss_0.01"}], epochs[:2])
    assert started.rows == run.rows[:2], "how the whole begins, whenever it is looked at"
    whole = wandb_run(STUDY, rows, [{**row, "test_loss": 9.0, "test_error": 0.9} for row in epochs])
    assert [row["test_loss"] for row in whole.rows or []] == [9.0] * 3, "that of each epoch, where it is known"
    assert run.config["hidden"] == "64" and run.name == "hidden=64", "text, as 64-64 is"


word = st.from_regex(r"[a-z]+(_[a-z0-9]+)*", fullmatch=True)


@settings(deadline=None, derandomize=True)
@given(st.lists(word, min_size=1, max_size=4), st.sampled_from(["", "@layerwise_1", "@neuron-wise"]))
def test_names_lead_back_to_their_columns(parts: list[str], transform: str) -> None:
    column = ".".join([parts[0] + transform, *parts[1:]])
    name = wandb_name(column)
    assert name.replace("_", "a").isalnum() and name.isascii()
    assert column_name(name) == column


def test_a_name_that_the_web_app_could_not_sort_by_is_refused() -> None:
    with pytest.raises(ValueError, match="gap loss"):
        wandb_name("gap loss")


def test_uploading_nothing_needs_no_server(home: Path, tmp_path: Path) -> None:
    assert deliver([], tmp_path, rate=50).sent == []


def test_depth_width_and_code_come_back_as_they_went() -> None:
    sizes = {"hp.hidden": "16-16", "hp.depth": "2", "hp.width": "16"}
    code = {"prov.commit": "123456789012", "prov.code.mine": "12345678e901"}  # no numbers
    names = {"hp.dataset": "digits", "hp.model": "mlp", "hp.schedule": "drops", "hp.schedule.at": "60"}
    row = {"key": "0" * 12, "stop": "loss_0.1", **names, **sizes, **code, "train.loss": "0.1"}
    shown = wandb_run("toy", [row], [])
    assert _rows(shown.config, shown.summary) == [row]
