"""Slices of the loss: right at the middle, the same per layer whatever the parameterization, different raw."""

import csv
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from study import slices
from study.__main__ import main
from study.storage.rows import read_table

YAML = "fixed: {hidden: [8, 6], max_epochs: 3, stops: [epoch_3]}\nmeasures: [train_loss]\n"


def test_slices(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "s.yaml"
    config.write_text(YAML)
    folders = ["--runs", str(tmp_path / "runs"), "--results", str(tmp_path / "results")]
    assert main(["slice", str(config), *folders]) == 2
    assert "holds no finished run of s" in capsys.readouterr().err
    assert main(["run", str(config), *folders, "--wandb", "off"]) == 0
    assert main(["slice", str(config), *folders]) == 0
    with (tmp_path / "results/s/slices.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 2 * 41
    path = tmp_path / "results/s/slices.csv"
    (weights,) = (tmp_path / "runs").glob("*/*/stops/epoch_3/weights.pt")
    written, content = path.stat().st_mtime_ns, path.read_bytes()
    assert main(["slice", str(config), *folders]) == 0
    assert path.stat().st_mtime_ns == written, "written again for the same weights"
    time.sleep(0.05)  # file times move in steps of some milliseconds
    weights.touch()
    assert main(["slice", str(config), *folders]) == 0
    assert path.stat().st_mtime_ns > written and path.read_bytes() == content
    curves = {}
    for row in rows:
        curves.setdefault((row["transform"], row["normalization"]), {})[float(row["alpha"])] = float(row["loss"])
    (record,) = read_table(tmp_path / "results/s/records.csv")
    for curve in curves.values():
        assert curve[0.0] == pytest.approx(float(record["train.loss"]), rel=1e-4)
    same = curves["none", "per layer"], curves["layerwise_1", "per layer"]
    assert same[0] == pytest.approx(same[1], rel=1e-3)
    apart = curves["none", "raw"], curves["layerwise_1", "raw"]
    assert max(abs(apart[0][a] - apart[1][a]) / apart[0][a] for a in apart[0]) > 0.1


def test_one_thread_computes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bits depend on how many do."""
    config = tmp_path / "s.yaml"
    config.write_text(YAML)
    folders = ["--runs", str(tmp_path / "runs"), "--results", str(tmp_path / "results")]
    assert main(["run", str(config), *folders, "--wandb", "off"]) == 0
    threads, plain = set(), slices.loss_along

    def counted(*given: Any) -> list[float]:
        threads.add(torch.get_num_threads())
        return plain(*given)

    monkeypatch.setattr(slices, "loss_along", counted)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert main(["slice", str(config), *folders]) == 0
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert threads == {1}
