"""The stop `error_<number>`: the first end of an epoch whose error on the data set's own images is at most that."""

import json
from collections.abc import Sequence
from pathlib import Path

from study.config import RunConfig, config_from_dict, run_key
from study.loss import mean_loss_and_error
from study.run import run_shard
from study.storage.atomic import read_json, read_tensors
from study.storage.paths import RunPaths
from study.training.start import build_model, training_data
from tests.support.entries import all_registered

BASE = {"n_train": 60, "hidden": [12], "lr": 0.1, "momentum": 0.9, "batch_size": 20, "max_epochs": 60}


def run(folder: Path, changes: dict[str, object], stops: Sequence[str]) -> tuple[RunConfig, RunPaths]:
    config = config_from_dict({**BASE, **changes, "stops": list(stops)})
    run_shard([config], ["train_loss"], runs_root=folder)
    return config, RunPaths(folder, run_key(config))


def test_it_is_met_at_the_first_epoch_without_an_error(tmp_path: Path) -> None:
    _, paths = run(tmp_path, {}, ["error_0.1", "error_0"])
    curve = [json.loads(line) for line in paths.epochs.read_text().splitlines()]
    outcome = read_json(paths.outcome)
    assert outcome["status"] == "finished"
    for stop, most in (("error_0.1", 0.1), ("error_0", 0.0)):
        first = next(row for row in curve if row["train_error"] <= most)
        assert {"epoch": first["epoch"], "step": first["step"]}.items() <= outcome["reached"][stop].items()
        assert read_json(paths.stop(stop).evaluation)["train"]["error"] <= most
    assert outcome["reached"]["error_0.1"]["epoch"] < outcome["reached"]["error_0"]["epoch"]


def test_an_extra_set_does_not_count(tmp_path: Path) -> None:
    """Flipped labels that the network has not learned yet keep the error of the whole set up, not that of its own."""
    with all_registered():
        changes = {"extra": {"flipped": {"n": 20}}, "max_epochs": 30}
        config, every = run(tmp_path / "every", changes, [f"epoch_{e}" for e in range(1, 31)])
        data = training_data(config)
        assert (data.n_own, len(data.train_y)) == (60, 80)
        own, whole = {}, {}
        for epoch in range(1, 31):
            model = build_model(config).eval()
            model.load_state_dict(read_tensors(every.stop(f"epoch_{epoch}").weights))
            for errors, n in ((own, 60), (whole, 80)):
                errors[epoch] = mean_loss_and_error(model, data.train_x[:n], data.train_y[:n], config.loss)[1].item()
        _, paths = run(tmp_path / "stop", changes, ["error_0.15"])
    first = min(epoch for epoch, error in own.items() if error <= 0.15)
    assert whole[first] > 0.15
    assert read_json(paths.outcome)["reached"]["error_0.15"]["epoch"] == first
