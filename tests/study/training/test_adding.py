"""To add a data set, a model or an optimizer is to write one file, or one entry: nothing else needs to know it."""

import sys
from pathlib import Path

import pytest

import study.data
import study.models
from slurm.launch import find_place
from slurm.request import Options, assign
from study.choice import import_entries
from study.config import run_key
from study.data.dataset import DATASETS
from study.grid import load_study, shards
from study.models.registry import MODELS
from study.records import collect, run_rows
from study.run import run_shard
from study.seams.optimizer import OPTIMIZERS, Optimizer, decay, descend
from study.storage.rows import read_table
from study.tracking.mirror import mirror
from study.tracking.offline import Mirrored
from study.tracking.wandb_run import WandbRun
from tests.support.entries import all_registered

DATA = """
from study.data.dataset import Tensors, dataset


@dataset("stripes", n_train=40, n_test=20, n_classes=2, shape=(1, 4, 4))
def stripes(n_train):
    import torch

    x = torch.rand(60, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0, 0].sum(-1) > 2).long()
    return Tensors(x[:40][:n_train], y[:40][:n_train], x[40:], y[40:])
"""
MODEL = """
from study.models.registry import model


@model("narrow", min_dimensions=3)
def narrow(shape, n_classes, hidden):
    from torch import nn

    return nn.Sequential(nn.Conv2d(1, hidden[0], 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * hidden[0], n_classes))
"""
STUDY = """
fixed: {dataset: stripes, model: narrow, hidden: [3], optimizer: signed, batch_size: 10, stops: [epoch_2]}
grid: {lr: [0.01, 0.02], init: [normal_0.1, default]}
measures: [train_loss]
"""


def test_one_file_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file dropped beside the others is found by its place; an optimizer is its pieces in one entry."""
    for package, name, text in ((study.data, "stripes", DATA), (study.models, "narrow", MODEL)):
        folder = tmp_path / package.__name__
        folder.mkdir()
        (folder / f"{name}.py").write_text(text)
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
        import_entries(package, skip=package.GROUND)
    OPTIMIZERS.add("signed", Optimizer((decay, lambda g, w, slots, c: g.sign(), descend)))
    try:
        (tmp_path / "s.yaml").write_text(STUDY)
        runs = load_study(tmp_path / "s.yaml").runs
        report = run_shard(runs, ["train_loss"], runs_root=tmp_path)
        assert sorted(report.trained) == sorted(map(run_key, runs)) and not report.failed
        rows = [run_rows(config, tmp_path, ["train_loss"])[0] for config in runs]
        assert {(r["hp.dataset"], r["hp.model"], r["hp.optimizer"]) for r in rows} == {("stripes", "narrow", "signed")}
        assert len({r["train.loss"] for r in rows}) == 4
    finally:
        OPTIMIZERS.remove("signed")
        DATASETS.remove("stripes")
        MODELS.remove("narrow")
        for module in ("study.data.stripes", "study.models.narrow"):
            sys.modules.pop(module, None)


def test_a_seam_that_a_study_changes_is_named_in_every_row(tmp_path: Path) -> None:
    """What an entry adds to the records: its name, and its options where they are its own."""
    strengths = "{objective: [plain, {norm_penalty: {strength: 1e-2}}]}"
    (tmp_path / "s.yaml").write_text(
        f"fixed: {{hidden: [3], batch_size: 100, stops: [epoch_1]}}\ngrid: {strengths}\nmeasures: [train_loss]\n"
    )
    with all_registered():
        study = load_study(tmp_path / "s.yaml")
        for shard in shards(study):
            run_shard(shard.runs, study.measures, runs_root=tmp_path / "runs")
        path, missing = collect(study, tmp_path / "runs", tmp_path / "results")
    rows = read_table(path)
    assert not missing and "hp.update" not in rows[0]
    assert {(r["hp.objective"], r["hp.objective.strength"]) for r in rows} == {("plain", ""), ("norm_penalty", "0.01")}


def test_wandb_is_shown_the_columns_of_the_study_and_a_job_knows_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plain run beside a changed one names its objective too, also where a job mirrors the plain runs alone."""
    shown: list[WandbRun] = []
    monkeypatch.setattr("study.tracking.mirror.write_offline", lambda runs, results: shown.extend(runs) or Mirrored())
    (tmp_path / "s.yaml").write_text(
        "fixed: {hidden: [3], batch_size: 100, stops: [epoch_1]}\ngrid: {objective: [plain, norm_penalty]}\n"
        "measures: [train_loss]\n"
    )
    with all_registered():
        study = load_study(tmp_path / "s.yaml")
        place = find_place(tmp_path / "s.yaml", "inline", tmp_path / "runs", tmp_path / "results")
        jobs = assign(place, Options(study.path, "inline"), shards(study))
        for shard in shards(study):
            run_shard(shard.runs, study.measures, runs_root=tmp_path / "runs")
        mirror(study.runs, study.measures, tmp_path / "runs", "s", "offline", tmp_path)
        for job in jobs:
            mirror(job.runs, study.measures, tmp_path / "runs", "s", "offline", tmp_path, seams=job.seams)
    assert sorted(run.config["objective"] for run in shown) == ["norm_penalty"] * 2 + ["plain"] * 2
    assert {len({run.digest()["rest"] for run in shown if run.id == one.id}) for one in shown} == {1}


def test_a_name_is_registered_once() -> None:
    with pytest.raises(ValueError, match=r"optimizer: 'sgd': is registered twice"):
        OPTIMIZERS.add("sgd", Optimizer(()))
