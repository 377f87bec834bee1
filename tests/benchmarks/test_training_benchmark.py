"""The training benchmark compares like with like: the same steps, the same weights, the time of both."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from study.data.dataset import DATASETS
from study.measures.families.sharpness import sharpness_mean
from study.measures.perturbation.noise import stopped_mean
from tests.benchmarks import document, race, training
from tests.benchmarks.alone import Alone
from tests.benchmarks.race import Case

MLPS = Case("64 mlps, batch 10", (6,), 20, 4, {"hidden": [5], "momentum": 0.9, "batch_size": 10}, compared=2)
# One after another on a CPU, and one of two stands for both.
LENET5 = Case("lenet5 batch 4", (3, 32, 32), 8, 2, {"model": "lenet5", "batch_size": 4, "lr": 0.01}, compared=1)


def test_both_sides_take_the_same_steps_to_the_same_weights() -> None:
    result = race.run(MLPS, "cpu", 1, repeats=2)
    assert result.steps == 2 * 4  # 20 inputs in batches of 10; two rounds, a first epoch and a last
    assert len(result.rounds) == 2
    assert all(ours > 0 and alone > 0 for ours, alone in result.rounds)
    assert result.error < 1e-6
    # Two layers of 30 and 50 weights: forward, and backward to weights, and to inputs but for the first layer's.
    assert result.cost.flops == 20 * 2 * ((30 + 50) * 2 + 50 + (30 + 50))
    assert "benchmark_images" not in DATASETS


def test_a_side_that_takes_fewer_steps_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    epoch = Alone.epoch

    def lazy(network: Alone) -> None:
        epoch(network)
        network.steps -= 1

    monkeypatch.setattr(Alone, "epoch", lazy)
    with pytest.raises(ValueError, match=r"steps: ours \[6\], alone \[3\]: allowed: the same"):
        race.run(MLPS, "cpu", 1, repeats=1)


def test_a_row_says_when_results_differ(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(training, "cases", lambda device: [MLPS, LENET5])
    monkeypatch.setattr(
        training.arithmetic, "measured_device", lambda device, clock: training.arithmetic.Device(1e9, 1e9)
    )
    out = tmp_path / "training.json"
    assert training.main(["--repeats", "1", "--out", str(out)]) == 0
    rows = json.loads(out.read_text())["rows"]
    assert [row["case"] for row in rows] == ["64 mlps, batch 10", "lenet5 batch 4"]
    assert all({"case", "peer", "time_ratio", "memory_ratio", "error"} <= row.keys() for row in rows)
    assert [len(row["rounds"]) for row in rows] == [1, 2]
    for row in rows:
        ratios = [ours / alone for ours, alone in row["rounds"]]
        assert row["time_ratio"] == pytest.approx(sum(ratios) / len(ratios))  # the median of one or two
    assert training.table(rows).count("\n") == 4

    step = torch.optim.SGD.step

    def other(optimizer: torch.optim.SGD, closure: Any = None) -> Any:
        optimizer.param_groups[0]["lr"] = 1.0
        return step(optimizer, closure)

    monkeypatch.setattr(torch.optim.SGD, "step", other)
    assert training.main(["--repeats", "1", "--only", "64 mlps", "--out", str(out)]) == 1
    (row,) = json.loads(out.read_text())["rows"]
    assert "RESULTS DIFFER" in training.verdict(row, "cpu")


def test_cases_that_are_not_there_are_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert training.main(["--only", "vgg", "--out", str(tmp_path / "t.json")]) == 2
    assert capsys.readouterr().err.startswith("error: --only: 'vgg': allowed: 64 mlps, batch 10; ")


def test_rows_of_several_cases_are_their_mean() -> None:
    times = [training.times([(1.0, 4.0), (2.0, 4.0)], 3), training.times([(3.0, 4.0), (2.0, 12.0)], 3)]
    rows = [{"case": c, "networks": 3, "steps": 5, "error": 0.1, "flops_share": 0.5, "bytes_share": 0.5, **t}
            for c, t in zip("ab", times, strict=True)]  # fmt: skip
    row = training.together("both", rows)
    assert row["rounds"] == [[2.0, 4.0], [2.0, 8.0]]
    assert row["time_ratio"] == (2 / 4 + 2 / 8) / 2
    assert row["seconds"] == 6.0
    assert row["steps"] == 10


def test_targets_are_judged() -> None:
    row = {"case": "lenet5 batch 32", "error": 0.0, "tolerance": 1e-3, "time_ratio": 0.8}
    assert training.verdict(row, "cpu") == "at most 0.85: met"
    assert training.verdict({**row, "time_ratio": 0.9}, "cpu") == "at most 0.85: NOT MET"
    assert training.verdict({**row, "case": "lenet5 population 4"}, "cpu") == ""
    assert training.best_lenet5([row]).endswith("NOT MET")


@pytest.mark.parametrize(
    ("name", "folder"), [("training", "training"), ("measuring", "measures"), ("stopping", "measures")]
)
def test_the_table_that_is_shown_is_the_committed_one(name: str, folder: str) -> None:
    """Where this fails, paste what `python -m tests.benchmarks.document NAME` prints between the two markers."""
    readme = (Path(__file__).parents[2] / "study" / folder / "README.md").read_text()
    (shown,) = re.findall(rf"<!-- benchmark: tests/benchmarks/{name}.json -->\n(.*?)<!-- end -->", readme, re.DOTALL)
    file, said = document.SECTIONS[name]
    assert shown == said(json.loads(file.read_text()))


def test_what_is_said_of_stopping_is_what_was_measured() -> None:
    rows = [row for row in json.loads(document.STOPPING.read_text())["rows"] if "sharpness" in row["label"]]
    low = [f"{-100 * end(row['bias'] for row in rows):.1f}" for end in (max, min)]
    held = [f"{100 * end(row['held'] for row in rows):.0f}" for end in (min, max)]
    for said in (stopped_mean.__doc__, sharpness_mean.__doc__):
        words = " ".join(str(said).replace(" %", "%").split())
        assert f"{' to '.join(low)}% low" in words
        assert f"hold the truth in {' to '.join(held)}%" in words
    assert all(row["error"] < 0.07 for row in rows)


def test_rows_that_were_measured_anew_say_at_which_commit() -> None:
    measured = json.loads(document.TRAINING.read_text())
    for row in measured["rows"]:
        row.pop("commit", None)
    assert " at commit " not in document.training_section(measured)
    measured["rows"][0]["commit"] = "0123456789ab"
    first = document.training_section(measured).partition("\n")[0]
    assert first.endswith(f"; rows of `{measured['rows'][0]['case']}` at commit 0123456789ab:")
