"""Records to W&B and back, by the command line: the plan, the upload, the same frame again."""

import fcntl
from pathlib import Path

import pandas as pd
import pytest

from analysis.load import read_records
from analysis.wandb_upload import main, read_back
from study.records import run_rows, write_table
from study.storage.sent import Sent, remember
from study.tracking.mirror import mirror
from study.tracking.outbox import Outbox
from study.tracking.server import PROJECT
from study.tracking.wandb_run import TrackingError
from tests.support.finished_runs import MEASURES, assert_complete, make_runs
from tests.support.wandb_server import WandbServer, home, server

__all__ = ["home", "server"]  # fixtures

STOPS = ("epoch_3", "loss_0.1", "loss_0.01")


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Results of a study called toy: 4 runs at one stop, of which runs/ has the curves."""
    configs = make_runs(tmp_path / "runs", 4, 6)
    rows = [row for config in configs for row in run_rows(config, tmp_path / "runs", MEASURES)]
    write_table(tmp_path / "results/toy/records.csv", rows)
    return tmp_path / "results"


def command(results: Path, *more: str) -> int:
    return main(["toy", "--results", str(results), "--runs", str(results.parent / "runs"), "--rate", "6000", *more])


def test_the_plan_comes_first_costs_no_request_and_writes_nothing(
    server: WandbServer, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(results.rglob("*"))
    assert main(["toy", "--results", str(results), "--runs", "nowhere", "--dry-run"]) == 0
    line = capsys.readouterr().out.strip()
    assert line == (
        f"toy: 4 runs of {results}/toy/records.csv, 0 uploaded before, 4 to upload: about 0.4 min"
        " (5 requests a run, 50 a minute)"
    )
    assert server.requests == [] and sorted(results.rglob("*")) == before


def test_published_records_are_uploaded_only_when_asked_for(
    server: WandbServer, results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    published = tmp_path / "published"
    published.mkdir()
    (results / "toy/records.csv").rename(published / "toy.csv")
    monkeypatch.setenv("STUDY_RECORDS", str(published))
    for more in ([], ["--dry-run"]):
        assert command(results, *more) == 2
        line = capsys.readouterr().err
        assert f"{results}/toy/records.csv: is not there" in line
        assert f"--committed for the 4 published runs of {published}/toy.csv" in line
    assert command(results, "--dry-run", "--committed") == 0
    assert f"4 runs of published, {published}/toy.csv, 0 uploaded before" in capsys.readouterr().out
    assert server.requests == [] and list((results / "toy").iterdir()) == []


def test_the_folders_are_those_that_the_study_was_sent_to(
    server: WandbServer, results: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUDY_RESULTS", str(results.parent / "elsewhere"))
    remember("toy", Sent("mine", str(results.parent / "runs"), str(results)))
    assert main(["toy", "--dry-run"]) == 0
    assert f"4 runs of {results}/toy/records.csv" in capsys.readouterr().out


def test_project_and_entity_of_the_environment_hold(
    server: WandbServer, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    monkeypatch.setenv("WANDB_ENTITY", "team")
    assert command(results) == 0
    assert {run.project for run in server.runs.values()} == {"mine"}


def test_the_command_uploads_once_and_updates_later(
    server: WandbServer, results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(results) == 0
    assert "4 runs uploaded" in capsys.readouterr().out
    for config in make_runs(tmp_path / "runs", 4, 6):
        assert_complete(server.runs[f"toy-{_key(config)}"], config, tmp_path / "runs", "toy")
    n = len(server.requests)
    assert command(results) == 0 and len(server.requests) == n
    assert "4 uploaded before, 0 to upload" in capsys.readouterr().out
    # The mirror of `study run` and the export agree: neither writes the other's runs again.
    done = mirror(make_runs(tmp_path / "runs", 4, 6), MEASURES, tmp_path / "runs", "toy", "offline", results)
    assert (done.written, done.skipped) == (0, 4)
    assert command(results, "--again", "--project", "another") == 0
    assert {run.project for run in server.runs.values()} == {"another"}


def _key(config: object) -> str:
    from study.config import RunConfig, run_key

    assert isinstance(config, RunConfig)
    return run_key(config)


def test_what_comes_back_is_the_frame_that_went(server: WandbServer, tmp_path: Path) -> None:
    configs = make_runs(tmp_path / "runs", 4, 5, stops=STOPS)
    rows = [row for config in configs for row in run_rows(config, tmp_path / "runs", MEASURES)]
    write_table(tmp_path / "results/toy/records.csv", rows)
    assert command(tmp_path / "results") == 0
    back = tmp_path / "back.csv"
    assert main(["toy", "--read-back", str(back)]) == 0
    went = read_records(tmp_path / "results/toy/records.csv")
    pd.testing.assert_frame_equal(read_records(back), went, check_like=True, check_exact=True)
    assert len(went) == 4 * len(STOPS) and went["measure.train_loss"].isna().sum() == len(STOPS)


def test_records_without_runs_are_uploaded_without_curves(server: WandbServer, results: Path) -> None:
    assert main(["toy", "--results", str(results), "--runs", "nowhere", "--rate", "6000"]) == 0
    assert len(server.runs) == 4
    assert all(run.rows == [] and "measure__relative_flatness" in run.summary for run in server.runs.values())


def test_an_upload_that_fails_says_why_and_the_same_command_goes_on(
    home: Path, results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with WandbServer(forbid="UpsertBucket") as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        assert command(results) == 1
        assert capsys.readouterr().err.count("not uploaded: toy-") == 4
        server.forbid = None
        assert command(results) == 0
    assert len(server.runs) == 4 and Outbox(results / "toy").waiting() == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--rate", "0"], "--rate: 0.0"),
        (["--rate", "nan"], "--rate: nan"),
        (["--parallel", "0"], "--parallel: 0"),
        ([], "no API key"),
    ],
)
def test_a_mistake_is_one_line(
    home: Path, results: Path, arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["toy", "--results", str(results), *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and says in error and error.count("\n") == 1


def test_an_unknown_study_and_a_project_without_its_runs(
    server: WandbServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["nothing", "--results", str(tmp_path)]) == 2
    assert "nothing: records: none found" in capsys.readouterr().err
    with pytest.raises(TrackingError, match=PROJECT):
        read_back("toy", tmp_path / "back.csv")
    assert not (tmp_path / "back.csv").exists()


def test_two_uploads_of_one_study_do_not_run_side_by_side(
    server: WandbServer, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (results / "toy" / "wandb_upload.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert command(results) == 2
    assert "one at a time" in capsys.readouterr().err
    assert server.requests == []
