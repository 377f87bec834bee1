"""W&B's report: complete and the same every time without a server, saved in one place with one."""

import json
from pathlib import Path
from typing import Any

import pytest

from analysis.columns import measures
from analysis.load import InputError, load_study
from analysis.wandb_report import build, main, to_json
from study.names import wandb_name
from study.tracking.server import PROJECT
from tests.support.synthetic import synthetic_records
from tests.support.wandb_server import WandbServer, home, server

__all__ = ["home", "server"]  # fixtures


@pytest.fixture
def results(tmp_path: Path) -> Path:
    folder = tmp_path / "results" / "toy"
    folder.mkdir(parents=True)
    synthetic_records(n_seeds=1).to_csv(folder / "records.csv", index=False)
    return tmp_path / "results"


def panels(report: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    grids = [block for block in report["spec"]["blocks"] if block["type"] == "panel-grid"]
    every = [panel for grid in grids for panel in grid["metadata"]["panelBankSectionConfig"]["panels"]]
    return [panel for panel in every if panel["viewType"] == kind]


def test_without_a_server_it_is_json_with_every_part(home: Path, results: Path) -> None:
    assert main(["toy", "--results", str(results)]) == 0
    report = json.loads((results / "toy/wandb_report.json").read_text())
    frame = load_study("toy", results).records
    wanted = {f"summary:{wandb_name('measure.' + label)}" for label in measures(frame)}
    scatters = panels(report, "Scatter Plot")
    assert {panel["config"]["xAxis"] for panel in scatters} == wanted
    assert {panel["config"]["yAxis"] for panel in scatters} == {"summary:gap__loss"}
    (parallel,) = panels(report, "Parallel Coordinates Plot")
    columns = {column["accessor"] for column in parallel["config"]["columns"]}
    assert wanted <= columns
    assert {"config:lr.value", "config:batch_size.value", "config:init_gain.value", "summary:gap__loss"} <= columns
    assert "config:seed.value" not in columns and "config:dataset.value" not in columns
    assert len(panels(report, "Run Comparer")) == 1
    assert {tuple(panel["config"]["metrics"]) for panel in panels(report, "Run History Line Plot")} == {
        ("train_loss",), ("train_error",),
    }  # fmt: skip
    texts = [block["content"] for block in report["spec"]["blocks"] if block["type"] == "markdown-block"]
    assert any("| relative flatness |" in text for text in texts)
    for block in report["spec"]["blocks"]:
        if block["type"] == "panel-grid":
            (runs,) = block["metadata"]["runSets"]
            shown = {(f["key"]["name"], f["op"], f["value"]) for f in runs["filters"]["filters"]}
            assert shown == {("group", "=", "toy"), ("train__converged", "=", True)}


def test_the_same_records_give_the_same_report(home: Path, results: Path) -> None:
    source = load_study("toy", results)
    assert to_json(build(source, "me")) == to_json(build(source, "me"))


def test_saving_again_replaces_the_report(
    server: WandbServer, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["toy", "--results", str(results), "--save", "--entity", "me"]
    assert main(arguments) == 0
    address = capsys.readouterr().out.splitlines()[0]
    assert address.startswith(server.url) and PROJECT in address
    assert main(["toy", "--results", str(results)]) == 0, "a build without a server in between"
    assert main(arguments) == 0
    assert server.unknown == [] and len(server.views) == 1
    (view,) = server.views.values()
    assert (view["entityName"], view["projectName"], view["type"]) == ("me", PROJECT, "runs")
    saved, built = json.loads(view["spec"]), to_json(build(load_study("toy", results), "me"))["spec"]
    assert [block["type"] for block in saved["blocks"]] == [block["type"] for block in built["blocks"]]


def test_mistakes_are_one_line(
    home: Path, results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["toy", "--results", str(results), "--save"]) == 2
    assert capsys.readouterr().err.startswith("error: --save: entity: none")
    assert main(["nothing", "--results", str(results)]) == 2
    assert "nothing: records: none found" in capsys.readouterr().err
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    assert main(["toy", "--results", str(results), "--save", "--entity", "me"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "no API key" in error


def test_records_without_a_gap_are_refused(home: Path, results: Path) -> None:
    frame = synthetic_records(n_seeds=1)
    frame.drop(columns=[c for c in frame if c.startswith(("gap.", "test."))]).to_csv(
        results / "toy/records.csv", index=False
    )
    with pytest.raises(InputError, match="no measure with a target"):
        build(load_study("toy", results), "me")
