"""The test loss along the curve: what it says is right, and nothing else knows of it."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from study.config import RunConfig, config_from_dict, run_key
from study.run import run_shard
from study.storage.paths import RunPaths
from study.tracking.wandb_run import read_epochs
from tests.support.entries import all_registered

STOPS = ["epoch_1", "epoch_3"]


@pytest.fixture(autouse=True)
def entries() -> Iterator[None]:
    with all_registered():
        yield


def configs(model: str) -> list[RunConfig]:
    base = {"model": model, "hidden": [8], "n_train": 60, "momentum": 0.5, "batch_size": 20, "max_epochs": 3}
    return [config_from_dict({**base, "stops": STOPS, "seed": seed}) for seed in range(2)]


def files(root: Path) -> dict[str, object]:
    """What runs leave, without clocks and without the test's columns."""
    found: dict[str, object] = {}
    for path in sorted(p for p in root.rglob("*") if p.is_file()):
        name = str(path.relative_to(root))
        if path.name == "epochs.jsonl":
            rows = [json.loads(line) for line in path.read_text().splitlines()]
            found[name] = [{k: v for k, v in row.items() if not k.startswith("test_")} for row in rows]
        elif path.suffix == ".json":
            found[name] = {k: v for k, v in json.loads(path.read_text()).items() if k != "seconds"}
        else:
            found[name] = path.read_bytes()
    return found


@pytest.mark.parametrize("model", ["mlp", "norm_dropout"])
def test_every_bit_is_the_same_with_and_without_it(model: str, tmp_path: Path) -> None:
    runs = configs(model)
    for name, test_curve in (("without", False), ("with", True)):
        run_shard(runs, ["train_loss", "weight_norm_squared"], runs_root=tmp_path / name, test_curve=test_curve)
    assert len(files(tmp_path / "with")) > 10 and files(tmp_path / "with") == files(tmp_path / "without")
    for config in runs:
        assert all("test_loss" not in row for row in read_epochs(RunPaths(tmp_path / "without", run_key(config))) or [])
        paths = RunPaths(tmp_path / "with", run_key(config))
        rows = read_epochs(paths) or []
        assert [row["epoch"] for row in rows if "test_loss" in row] == [1, 2, 3]
        for row, stop in ((rows[0], STOPS[0]), (rows[2], STOPS[1])):
            test = json.loads(paths.stop(stop).evaluation.read_text())["test"]
            assert row["test_loss"] == pytest.approx(test["loss"], rel=1e-5)
            assert row["test_error"] == pytest.approx(test["error"], abs=1.5 / test["n"])


def test_labels_are_those_that_the_stops_are_evaluated_by(tmp_path: Path) -> None:
    """Each network's own draw, where the labels of test images are noisy too."""
    noise = {"uniform": {"fraction": 1.0, "test": "yes"}}
    base = {"hidden": [8], "n_train": 60, "batch_size": 20, "max_epochs": 3, "stops": STOPS, "labels": noise}
    runs = [config_from_dict({**base, "seed": seed}) for seed in range(2)]
    for key in run_shard(runs, [], runs_root=tmp_path, test_curve=True).trained:
        paths = RunPaths(tmp_path, key)
        rows = read_epochs(paths) or []
        for row, stop in ((rows[0], STOPS[0]), (rows[2], STOPS[1])):
            test = json.loads(paths.stop(stop).evaluation.read_text())["test"]
            assert row["test_loss"] == pytest.approx(test["loss"], rel=1e-5)
