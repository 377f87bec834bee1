"""Shifted test sets: what each does to images, that it is drawn once for all, and the gaps that come of a study."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from analysis.__main__ import main as analyse
from analysis.columns import about, targets
from analysis.load import read_records
from study.__main__ import main
from study.config import run_key
from study.data.dataset import load
from study.data.shift import SEVERITIES, SHIFTS, shifted
from study.grid import load_study
from study.loss import mean_loss_and_error
from study.storage.paths import RunPaths
from study.training.start import build_model


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return functional.interpolate(load("digits_images").test_x[:20] * 2 - 1, (32, 32), mode="bilinear")


@pytest.mark.parametrize("name", list(SHIFTS))
def test_a_shift_grows_keeps_the_range_and_is_the_same_twice(name: str, images: torch.Tensor) -> None:
    sets = [shifted(images, name, severity) for severity in SEVERITIES]
    distances = [(one - images).square().mean().item() for one in sets]
    assert distances == sorted(distances) and 0 < distances[0] < distances[-1]
    assert all(one.shape == images.shape and one.min() >= -1 and one.max() <= 1 for one in sets)
    torch.manual_seed(5)
    torch.testing.assert_close(shifted(images, name, 3), sets[2], rtol=0, atol=0)


def test_what_the_shifts_are() -> None:
    x = torch.zeros(2, 1, 32, 32)
    x[:, :, 10:20, 12:22] = 1
    assert shifted(x, "brightness", 2)[0, 0, 0, 0] == pytest.approx(0.1)
    assert shifted(x, "contrast", 5).mean() == pytest.approx(x.mean().item(), abs=1e-6)
    assert shifted(x, "blur", 5).sum() == pytest.approx(x.sum().item(), rel=1e-5)
    where = torch.arange(32.0)
    for one in shifted(x, "translation", 4):
        moved = torch.stack([(one[0].sum(axis) * where).sum() / one.sum() for axis in (0, 1)])
        centre = torch.tensor([16.5, 14.5])
        assert (moved - centre).norm() == pytest.approx(4, abs=0.05)
    assert shifted(x, "pixelate", 4)[0, 0, 8, 12] == shifted(x, "pixelate", 4)[0, 0, 11, 15]
    with pytest.raises(ValueError, match="inputs of one network, allowed: images"):
        shifted(torch.zeros(3, 5), "blur", 1)


YAML = """
fixed: {dataset: digits_images, hidden: [4], n_train: 60, batch_size: 20, max_epochs: 2, stops: [epoch_1, epoch_2]}
grid: {lr: [0.05, 0.1, 0.2]}
measures: [param_norm, train_loss]
"""


def test_gaps_of_a_study_that_is_trained_already(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("runs", "results"):
        monkeypatch.setenv(f"STUDY_{name.upper()}", str(tmp_path / name))
    path = tmp_path / "shifting.yaml"
    path.write_text(YAML)
    assert main(["run", str(path), "--wandb", "off"]) == 0
    keys = [run_key(config) for config in load_study(path).runs]
    weights = sorted((tmp_path / "runs").rglob("weights.pt"))
    before = [file.stat().st_mtime_ns for file in weights]
    path.write_text(YAML + "shifts: [blur, gaussian_noise]\n")
    study = load_study(path)
    assert [run_key(config) for config in study.runs] == keys
    assert main(["run", str(path), "--wandb", "off"]) == 0
    assert [file.stat().st_mtime_ns for file in weights] == before, "nothing is trained again"
    with (tmp_path / "results/shifting/records.csv").open(newline="") as file:
        row = next(csv.DictReader(file))
    config = next(c for c in study.runs if run_key(c) == row["key"])
    model = build_model(config)
    model.load_state_dict(torch.load(RunPaths(tmp_path / "runs", row["key"]).stop(row["stop"]).weights))
    data = load("digits_images")
    for severity in (1, 5):
        x = shifted(data.test_x, "blur", severity)
        loss, error = mean_loss_and_error(model.eval(), x, data.test_y, "cross_entropy")
        assert float(row[f"gap.shift.blur_{severity}.loss"]) == loss.item() - float(row["train.loss"])
        assert float(row[f"gap.shift.blur_{severity}.error"]) == error.item() - float(row["train.error"])
    each = [float(v) for name, v in row.items() if name.startswith("gap.shift.") and name.endswith("error")]
    assert len(each) == 11 and each[0] == pytest.approx(sum(each[1:]) / 10)
    assert not any("shift(" in name for name in row)
    frame = read_records(tmp_path / "results/shifting/records.csv")
    assert targets(frame)[:4] == ["gap.loss", "gap.error", "gap.shift.mean.loss", "gap.shift.mean.error"]
    assert targets(about(frame, "gap.shift.blur_3.error")) == ["gap.shift.blur_3.error"]
    for item in ("table shifting correlation", "table shifting granulated", "table shifting selection"):
        out = tmp_path / "table.csv"
        assert analyse([*item.split(), "--target", "gap.shift.blur_3.error", "--out", str(out)]) == 0
        with out.open(newline="") as file:
            assert {r["target"] for r in csv.DictReader(file)} == {"gap.shift.blur_3.error"}


@pytest.mark.parametrize(
    ("change", "said"),
    [(("fixed: {", "shifts: [fog]\nfixed: {"), "shifts: 'fog': allowed, each once: gaussian_noise"),
     (("fixed: {", "shifts: [blur, blur]\nfixed: {"), "shifts: 'blur': allowed, each once"),
     (("fixed: {dataset: digits_images", "shifts: [blur]\nfixed: {dataset: digits"), "'digits': holds no images")],
)  # fmt: skip
def test_a_mistake_is_one_line_at_plan(
    change: tuple[str, str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(YAML.replace(*change))
    assert main(["plan", str(path)]) == 2
    assert said in capsys.readouterr().err
