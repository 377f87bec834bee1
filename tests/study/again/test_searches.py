"""Searches: twice the steps laid beside the steps, and perturbations of the folded network or of that as trained."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from study.__main__ import main
from study.again.searches import doubled, steps_of
from study.measures import MEASURES, MeasureContext, compute, is_search
from study.measures.perturbation.ascent import Point, ascend
from study.models.pooling import HalvingPool
from study.storage.rows import read_table

YAML = """
fixed: {{hidden: [4], n_train: 60, batch_size: 30, max_epochs: 2, stops: [epoch_2]}}
grid: {{lr: [0.05, 0.1, 0.2]}}
measures: {measures}
"""


def normed() -> MeasureContext:
    """A network with batch-norm, its statistics and scales not those of the start."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3))
    initial = {name: p.detach().clone() for name, p in model.named_parameters()}
    x = torch.randn(32, 4)
    labels = x[:, :3].argmax(1)
    optimizer = torch.optim.SGD(model.parameters(), 0.2)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), labels).backward()
        optimizer.step()
    return MeasureContext(model.eval(), initial, x, labels, "cross_entropy", "a key")


FOLDING = [label for label, measure in MEASURES.items() if "folded" in measure.options]


def test_folding_is_an_option_of_every_measure_that_perturbs() -> None:
    perturbing = [m.label for m in MEASURES.values() if m.label.startswith(("pac_bayes", "sharpness", "keskar"))]
    assert sorted(perturbing) == sorted(FOLDING)


def test_a_measure_of_the_folded_network_is_that_of_the_network_that_folding_makes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("study.measures.families.pac_bayes.MOST_DRAWS", 10)
    monkeypatch.setattr("study.measures.families.sharpness.DRAWS", (4, 4))
    ctx = normed()
    start = {name: p.detach().float() for name, p in ctx.folded_initial.named_parameters()}
    other = MeasureContext(ctx.folded.float(), start, ctx.x, ctx.labels, ctx.loss, ctx.key)
    ctx = normed()
    for label in FOLDING:
        values = {folded: compute(f"{label}(folded={folded})", ctx)["value"] for folded in ("true", "false")}
        alike = compute(label, other)["value"]
        assert values["true"] == pytest.approx(alike, rel=1e-2) != values["false"], label
        default = str(MEASURES[label].options["folded"].default)
        assert compute(label, ctx)["value"] == values.get(default, values["false"])
    assert len(ctx.model) == 4 and isinstance(ctx.model[1], nn.BatchNorm1d)


def test_folding_is_refused_where_there_is_nothing_to_fold(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(YAML.format(measures='["keskar(folded=true)"]'))
    assert main(["plan", str(path), "--runs", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    why = "folded: 'Sequential': has no batch-norm to fold, allowed: the measure without it"
    assert said == f"error: measures: 'keskar(folded=true)': no network has it: {why}\n"
    path.write_text(YAML.format(measures='["keskar(folded=false)"]'))
    assert main(["plan", str(path), "--runs", str(tmp_path)]) == 0, "the default under another name"


def test_the_steps_of_a_label_and_twice_as_many() -> None:
    assert (steps_of("keskar"), doubled("keskar")) == (20, "keskar(steps=40)")
    assert doubled("sharpness_max(rho=0.25,steps=5)") == "sharpness_max(rho=0.25,steps=10)"
    assert doubled("pac_bayes_flatness(noise=common)") == "pac_bayes_flatness(noise=common,steps=8)"
    assert doubled("sharpness_orig(steps=10)") == "sharpness_orig", "the default needs no name"
    assert is_search("pac_bayes_mag_init") and not is_search("sharpness_mean") and not is_search("train_loss")


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("STUDY_COMMIT", "123456789012")
    monkeypatch.setenv("STUDY_RECORDS", str(tmp_path / "published"))
    path = tmp_path / "s.yaml"
    told = [str(path), "--runs", str(tmp_path / "runs"), "--results", str(tmp_path / "results")]
    path.write_text(YAML.format(measures="[train_loss]"))
    assert main(["searches", *told]) == 2
    assert "s.yaml: measures by no search, allowed: one of pac_bayes_flatness" in capsys.readouterr().err
    path.write_text(YAML.format(measures="[train_loss, keskar, sharpness_max]"))
    assert main(["searches", *told]) == 2
    assert "holds no finished run of s" in capsys.readouterr().err
    assert main(["run", *told, "--wandb", "off"]) == 0
    capsys.readouterr()
    assert main(["searches", *told, "--networks", "0"]) == 2
    assert capsys.readouterr().err == "error: --networks: 0: allowed: an integer > 0\n"
    assert main(["searches", *told, "--networks", "2"]) == 0
    rows, records = (read_table(tmp_path / f"results/s/{name}.csv") for name in ("searches", "records"))
    by_lr = {record["hp.lr"]: record for record in records}
    assert [row["key"] for row in rows] == [by_lr[lr]["key"] for lr in ("0.05", "0.2") for _ in range(2)]
    for row in rows:
        record = next(record for record in records if record["key"] == row["key"])
        assert row["value"] == record[f"measure.{row['measure']}"] and row["steps"] == "20"
        once, twice = float(row["value"] or "nan"), float(row["value_twice"] or "nan")
        assert row["relative_change"] == "" or float(row["relative_change"]) == (twice - once) / once
    assert any(row["relative_change"] for row in rows)
    assert main(["publish", *told]) == 0
    assert read_table(tmp_path / "published/s.searches.csv") == rows


def test_an_ascent_takes_no_gradient_that_it_does_not_use() -> None:
    asked = []

    class Counted(torch.autograd.Function):
        @staticmethod
        def forward(ctx: object, x: torch.Tensor) -> torch.Tensor:
            return -(x - 3).square().sum()

        @staticmethod
        def backward(ctx: object, gradient: torch.Tensor) -> torch.Tensor:
            asked.append(1)
            return gradient * torch.ones(2)

    start, scale = torch.zeros(2), torch.ones(2)
    origin = Point(Counted.apply, start)
    first = ascend(Counted.apply, start, scale, "linf", 6, origin=origin)
    assert first == -8 and len(asked) <= 6
    before = len(asked)
    assert ascend(Counted.apply, start, scale, "linf", 6, origin=origin) == first
    assert len(asked) - before < before, "where both begin, it is taken once"


def test_a_search_leaves_pooling_as_it_was() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 2, 3), HalvingPool(), nn.Flatten(), nn.Linear(18, 3)).eval()
    x = torch.randn(16, 1, 8, 8)
    initial = {name: p.detach().clone() for name, p in model.named_parameters()}
    compute("keskar", MeasureContext(model, initial, x, torch.arange(16) % 3, "cross_entropy"))
    assert model[1].first_order is False
