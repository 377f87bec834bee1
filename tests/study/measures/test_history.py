"""Measures of the curve of training: what was known when a network was there, and why there is none."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from study.__main__ import main
from study.audit.write import make
from study.config import run_key
from study.grid import load_study
from study.measures import MeasureContext, compute
from study.measuring import _history
from study.storage.atomic import read_json
from study.storage.paths import RunPaths

TEXT = """
fixed: {n_train: 100, hidden: [8], batch_size: 10, lr: 0.2, max_epochs: 9, checks_per_epoch: 5,
  stops: [epoch_2, loss_1, epoch_9]}
measures: ["steps_to_loss(loss=1)", "steps_between_losses(loss=2,factor=2)", steps_to_loss]
"""


def test_a_stop_knows_the_curve_until_then_and_says_what_was_not_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("s.yaml").write_text(TEXT)
    assert main(["run", "s.yaml", "--wandb", "off"]) == 0
    capsys.readouterr()
    study = load_study("s.yaml")
    paths = RunPaths(Path("runs"), run_key(study.runs[0]))
    ends = [json.loads(line) for line in paths.epochs.read_text().splitlines()]
    met = read_json(paths.outcome)["reached"]["loss_1"]
    first = next(row["step"] for row in ends if row["train_loss"] <= 2)
    assert first < met["step"] < next(row["step"] for row in ends if row["train_loss"] <= 1), "within an epoch"
    for stop in ("loss_1", "epoch_9"):
        taken = [read_json(paths.stop(stop).measure(label))["value"] for label in study.measures[:2]]
        assert taken == [met["step"], met["step"] - first]
    early = paths.stop("epoch_2")
    assert met["step"] > 20 and read_json(early.measure("steps_to_loss(loss=1)"))["value"] is None
    said = early.error("steps_to_loss(loss=1)").read_text()
    assert said.startswith("ValueError: loss: 1: was not reached until this stop: the lowest was 2.06")
    assert read_json(paths.stop("epoch_9").measure("steps_to_loss"))["value"] is None
    assert len(_history(paths, early)) == 2
    paths.epochs.rename("gone")
    assert _history(paths, early) == (), "the stops alone are no curve"
    plan = make(study, Path("runs"), 1, 10, every_measure=True)
    assert "train_loss" in plan.measures and not [label for label in plan.measures if label.startswith("steps")]


def test_a_network_without_a_curve_has_no_such_measure_and_a_part_or_a_copy_of_one_has_its() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).double().eval()
    x = torch.randn(6, 3).double()
    ctx = MeasureContext(model, {}, x, model(x).argmax(1), "cross_entropy")
    with pytest.raises(ValueError, match="history: none is known of this network"):
        compute("steps_to_loss", ctx)
    known = replace(ctx, history=((5, 0.3), (10, 0.09)))
    for other in (known, known.on_first(3), known.reparameterized("layerwise_1")):
        assert compute("steps_to_loss", other)["value"] == 10
