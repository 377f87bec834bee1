"""`python -m study audit` end to end: a plan, rows of every change, nothing twice, published with the records."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from study.__main__ import main
from study.audit.rows import compared
from study.storage.rows import read_table, write_rows

YAML = """
fixed: {hidden: [4, 3], n_train: 60, batch_size: 30, max_epochs: 2, stops: [epoch_2]}
grid: {lr: [0.05, 0.1]}
measures: [weight_norm_squared, relative_flatness, train_loss]
"""


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """A study that is trained and collected by code that counts as committed; its yaml and folders, as arguments."""
    monkeypatch.setenv("STUDY_COMMIT", "123456789012")
    monkeypatch.setenv("STUDY_RECORDS", str(tmp_path / "published"))
    (tmp_path / "s.yaml").write_text(YAML)
    words = [str(tmp_path / "s.yaml"), "--runs", str(tmp_path / "runs"), "--results", str(tmp_path / "results")]
    assert main(["audit", *words]) == 2
    said = capsys.readouterr().err
    assert "holds no finished run of s; allowed: run the study first" in said and said.count("\n") == 1
    assert main(["run", *words, "--wandb", "off"]) == 0
    return words


def test_the_command(told: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    for option in ("--networks", "--images", "--places"):
        assert main(["audit", *told, option, "0"]) == 2
        assert capsys.readouterr().err == f"error: {option}: 0: allowed: an integer > 0\n"
    assert main(["audit", *told, "--measures", "study"]) == 0
    said = capsys.readouterr().out
    assert "networks  1 of 2 finished" in said and "12 layer-wise, 12 neuron-wise, 2 permutation" in said
    path = tmp_path / "results/s/audit.csv"
    rows = read_table(path)
    assert len(rows) == 3 * 26 and {row["images"] for row in rows} == {"60"}
    assert list(rows[0])[:8] == ["key", "stop", "model", "images", "measure", "transform", "place", "factor"]
    assert all(float(row["output_difference"]) < 1e-12 for row in rows)
    recorded = {row["key"]: row for row in read_table(tmp_path / "results/s/records.csv")}
    norm = next(row for row in rows if row["measure"] == "weight_norm_squared")
    assert float(norm["before"]) == pytest.approx(float(recorded[norm["key"]]["measure.weight_norm_squared"]))
    for row in rows:  # the first layer's weights / a, the second's * a
        if (row["measure"], row["transform"], row["factor"]) == ("weight_norm_squared", "layer-wise", "1e3"):
            second = recorded[row["key"]]["measure.weight_norm_squared." + row["place"].split("-")[1]]
            assert float(row["after"]) == pytest.approx(1e6 * float(second), rel=1e-3)

    written = path.stat().st_mtime_ns
    assert main(["audit", *told, "--measures", "study", "--networks", "2"]) == 0
    assert "network 2 of 2" in (said := capsys.readouterr().out) and "network 1 of 2" not in said, "taken twice"
    assert path.stat().st_mtime_ns > written and rows == [r for r in read_table(path) if r["key"] == norm["key"]]

    assert main(["audit", *told, "--measures", "study", "--places", "1"]) == 0, (
        "of the first network at one place of two"
    )
    assert "6 layer-wise, 6 neuron-wise, 1 permutation" in capsys.readouterr().out
    assert len(read_table(path)) == 3 * 13 + 3 * 26
    assert main(["audit", *told, "--measures", "study", "--networks", "2"]) == 0
    capsys.readouterr()

    published = tmp_path / "published/s.audit.csv"
    assert main(["publish", *told]) == 0
    assert len(read_table(published)) == 2 * len(rows)
    assert main(["publish", *told]) == 0
    fresh = read_table(path)
    write_rows(path, [{**row, "after": "7.5"} if row == fresh[0] else row for row in fresh])
    assert main(["publish", *told]) == 2
    assert f"row {fresh[0]['key']} epoch_2 weight_norm_squared layer-wise" in capsys.readouterr().err
    write_rows(path, [{**row, "before": "7.5"} for row in fresh])
    assert main(["publish", *told, "--replace"]) == 2
    assert "is of other weights: its weight_norm_squared is 7.5, the records have" in capsys.readouterr().err
    write_rows(path, [{**row, "prov.commit": "123456789012-dirty"} for row in fresh])
    assert main(["publish", *told]) == 2
    assert "prov.commit: '123456789012-dirty': allowed: records of committed code" in capsys.readouterr().err
    assert len(read_table(published)) == 2 * len(rows)


def test_a_function_that_changed_is_refused(
    told: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def wrong(model: torch.nn.Module, *_: object) -> torch.nn.Module:
        from copy import deepcopy

        other = deepcopy(model)
        next(other.parameters()).data.mul_(1.5)
        return other

    monkeypatch.setattr("study.audit.changes.equivalent", wrong)
    assert main(["audit", *told, "--measures", "study"]) == 1
    said = capsys.readouterr()
    assert "refused: layer-wise fc1-fc2 1e-3: outputs differ by" in said.err
    assert read_table(tmp_path / "results/s/audit.csv") == []


def test_what_counts_as_no_change() -> None:
    assert compared((2.0, 0.1), (2.5, 0.1))["tolerance"][:8] == "0.282842", "four standard errors"
    assert compared((0.0, 0.0), (0.0, 0.0))["relative_change"] == "0.0"
    assert compared((0.0, 0.0), (-1.0, 0.0))["relative_change"] == "-inf"
    assert compared((-2.0, 0.0), (-3.0, 0.0)) == {
        "before": "-2.0", "after": "-3.0", "relative_change": "-0.5", "tolerance": "1e-06"
    }  # fmt: skip
    assert compared((float("nan"), 0.0), (1.0, 0.0))["relative_change"] == ""
