"""Measures on fewer images than a network was trained on: other values in files of their own, said in the row."""

import pickle
from pathlib import Path

import pytest

from study.__main__ import main
from study.config import run_key
from study.grid import load_study
from study.measures import compute
from study.measuring import context_at
from study.names import images_of
from study.run import run_shard
from study.storage.atomic import read_json
from study.storage.paths import RunPaths, records_file
from study.storage.rows import read_table
from study.training.start import training_data

TEXT = """
fixed: {n_train: 100, hidden: [8], batch_size: 10, lr: 0.2, max_epochs: 20, stops: [epoch_20]}
measures: [train_loss, distance_from_init, sharpness_orig]
shifts: [blur]
"""


def test_a_study_measures_on_some_images_beside_one_that_measures_on_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("all.yaml").write_text(TEXT.replace("shifts: [blur]\n", ""))
    Path("some.yaml").write_text(
        TEXT.replace("shifts: [blur]\n", "measured_images: 20\nreparameterize: [factor_1e1]\n")
    )
    for name in ("all", "some"):
        assert main(["run", f"{name}.yaml", "--wandb", "off"]) == 0
    capsys.readouterr()
    (whole,), (part,) = (read_table(records_file(name)) for name in ("all", "some"))
    assert whole["key"] == part["key"], "trained once"
    assert part["n.measured"] == "20" and "n.measured" not in whole
    assert part["train.loss"] == whole["train.loss"], "losses and gaps are of all images"
    assert part["measure.distance_from_init"] == whole["measure.distance_from_init"]

    study = load_study("some.yaml")
    config, paths = study.runs[0], RunPaths(Path("runs"), run_key(study.runs[0]))
    files = paths.stop("epoch_20")
    ctx = context_at(config, paths, "epoch_20", training_data(config).decoded())
    some = ctx.on_first(20)
    assert len(some.x) == 20 and some.n_train == 100 == some.reparameterized("factor_1e1").n_train
    for label in ("train_loss", "train_loss@factor_1e1", "sharpness_orig"):
        assert part[f"measure.{label}"] == repr(compute(label, some)["value"])
    assert part["measure.train_loss"] != whole["measure.train_loss"]
    assert (
        read_json(files.folder / "images_20/train_loss.json")["value"]
        != read_json(files.measure("train_loss"))["value"]
    )
    assert run_shard(study.runs, study.measures, runs_root="runs").measured == 0, "nothing is taken again"


@pytest.mark.parametrize("images", [0, 101])
def test_images_out_of_range_are_one_line(images: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(TEXT.replace("shifts: [blur]", f"measured_images: {images}"))
    assert main(["plan", str(path)]) == 2
    said = capsys.readouterr().err.strip()
    assert f"measured_images: {images}: allowed: an integer > 0, at most the 100 training images" in said
    assert len(said.splitlines()) == 1


def test_shifted_test_sets_are_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(TEXT.replace("fixed: {", "measured_images: 20\nfixed: {dataset: fashion_mnist, "))
    measures = load_study(path).measures
    assert [images_of(label) for label in measures] == [20, 20, 20, 0]
    assert [images_of(label) for label in pickle.loads(pickle.dumps(measures))] == [20, 20, 20, 0], "as a job gets them"
