"""A training that breaks down: what it had met before stays, what it had not is missing."""

import itertools
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from study.__main__ import main
from study.config import run_key
from study.grid import load_study
from study.run import run_shard
from study.storage.atomic import read_json, read_tensors
from study.storage.paths import RunPaths
from study.storage.rows import read_table
from study.training.epochs import Epochs

YAML = """
fixed: {n_train: 60, hidden: [6], batch_size: 10, checks_per_epoch: 3, max_epochs: 4, stops: [STOPS]}
measures: [train_loss, param_norm]
"""
BROKEN_AT = 12  # the last step of the second epoch


@pytest.fixture
def breaks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights overflow with the last step of an epoch, after the checks within it."""
    check = Epochs.check

    def broken(self: Epochs, which: Sequence[int], at_epoch_end: bool = False) -> list[tuple[float, float]]:
        if self.runs[0].step == BROKEN_AT:
            for p in self.state.parameters.values():
                p.mul_(float("inf"))
        return check(self, which, at_epoch_end)

    monkeypatch.setattr(Epochs, "check", broken)


def files(root: Path) -> dict[str, bytes]:
    """All that a run keeps, without how long it took."""
    found = {}
    for path in sorted(p for p in root.rglob("*") if p.is_file() and ".leases" not in p.parts):
        content = path.read_bytes()
        if path.suffix == ".json":
            content = json.dumps({k: v for k, v in json.loads(content).items() if k != "seconds"}).encode()
        found[str(path.relative_to(root))] = content
    return found


def met_within(folder: Path) -> str:
    """A loss stop that is met by a check within the second epoch, and not at the end of the first."""
    path = folder / "plain.yaml"
    path.write_text(YAML.replace("STOPS", "epoch_4"))
    (config,) = load_study(path).runs
    run_shard([config], [], runs_root=folder / "plain")
    first = json.loads(RunPaths(folder / "plain", run_key(config)).epochs.read_text().splitlines()[0])
    return f"loss_{0.999 * first['train_loss']!r}"


def test_one_that_has_met_every_stop_is_finished(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(YAML.replace("STOPS", stop := met_within(tmp_path)))
    (config,) = load_study(path).runs
    request.getfixturevalue("breaks")
    words = [str(path), "--runs", str(tmp_path / "runs"), "--results", str(tmp_path / "results"), "--wandb", "off"]
    assert main(["run", *words]) == 0
    paths = RunPaths(tmp_path / "runs", run_key(config))
    outcome = read_json(paths.outcome)
    assert outcome["status"] == "finished" and outcome["end"] == {"epoch": 2, "step": 12, "train_loss": None}
    assert 6 < outcome["reached"][stop]["step"] < BROKEN_AT
    assert all(tensor.isfinite().all() for tensor in read_tensors(paths.stop(stop).weights).values())
    (row,) = read_table(tmp_path / "results/s/records.csv")
    assert (row["train.status"], row["train.converged"]) == ("finished", "True")
    assert float(row["train.loss"]) == pytest.approx(outcome["reached"][stop]["train_loss"])
    assert row["test.error"] and row["measure.train_loss"] and row["measure.param_norm"]

    asked: Callable[[], int] = itertools.count().__next__
    folder = tmp_path / "cut"
    assert run_shard(
        [config], load_study(path).measures, runs_root=folder, should_stop=lambda: asked() == 0
    ).interrupted
    assert not RunPaths(folder, run_key(config)).outcome.exists()
    run_shard([config], load_study(path).measures, runs_root=folder)
    assert files(folder) == files(tmp_path / "runs"), "gone on with after the first epoch, to the same bits"


def test_one_that_has_not_met_every_stop_is_diverged(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(YAML.replace("STOPS", f"{met_within(tmp_path)}, epoch_2"))
    (config,) = load_study(path).runs
    request.getfixturevalue("breaks")
    run_shard([config], [], runs_root=tmp_path / "runs")
    assert read_json(RunPaths(tmp_path / "runs", run_key(config)).outcome)["status"] == "diverged"
