"""Norm layers and dropout: running statistics and masks are each network's own, on disk, and as by hand."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from study.choice import Choice, number
from study.config import RunConfig, config_from_dict, run_key
from study.data.dataset import load
from study.hyperparameter import shard_shape
from study.loss import mean_loss_and_error
from study.models.registry import MODELS, Model
from study.run import run_shard
from study.seeds import generator_for
from study.storage.atomic import read_tensors
from study.storage.paths import RunPaths
from study.training.forward import StackedForward
from study.training.population import Population
from study.training.start import build_model
from tests.support.entries import all_registered, registered


@pytest.fixture(autouse=True)
def entries() -> Iterator[None]:
    with all_registered():
        yield


def configs(n: int = 2, **changes: object) -> list[RunConfig]:
    base = {"model": "norm_dropout", "hidden": [8], "momentum": 0.5, "batch_size": 50, "max_epochs": 4}
    return [config_from_dict({**base, "stops": ["epoch_2", "epoch_4"], "seed": s, **changes}) for s in range(n)]


def weights(root: Path, config: RunConfig, stop: str) -> dict[str, Tensor]:
    found: dict[str, Tensor] = read_tensors(RunPaths(root, run_key(config)).stop(stop).weights)
    return found


def test_what_is_measured_is_the_network_in_evaluation_mode(tmp_path: Path) -> None:
    """The file of weights has the running statistics, and with them the recorded loss."""
    (config,) = configs(1)
    report = run_shard([config], ["train_loss", "hessian_trace"], runs_root=tmp_path)
    assert not report.failed
    paths, data = RunPaths(tmp_path, run_key(config)), load("digits")
    model = build_model(config).eval()
    model.load_state_dict(weights(tmp_path, config, "epoch_4"))
    assert model[2].num_batches_tracked == 4 * 6
    loss = mean_loss_and_error(model, data.train_x, data.train_y, "cross_entropy")[0].item()
    stored = json.loads(paths.stop("epoch_4").measure("train_loss").read_text())["value"]
    outcome = json.loads(paths.outcome.read_text())
    assert loss == pytest.approx(stored, rel=1e-6) == outcome["reached"]["epoch_4"]["train_loss"]
    assert outcome["n_parameters"] == sum(p.numel() for p in model.parameters())
    assert read_tensors(paths.init).keys() == dict(model.named_parameters()).keys()


def test_a_cut_training_ends_at_the_same_bits(tmp_path: Path) -> None:
    runs = configs(3)
    run_shard(runs, [], runs_root=tmp_path / "whole")
    run_shard(runs[1:2], [], runs_root=tmp_path / "alone")
    calls = iter([True])
    assert run_shard(runs, [], runs_root=tmp_path / "cut", should_stop=lambda: next(calls, False)).interrupted
    run_shard(runs, [], runs_root=tmp_path / "cut")
    for root, some in (("cut", runs), ("alone", runs[1:2])):
        for run in some:
            a, b = (weights(tmp_path / part, run, "epoch_4") for part in ("whole", root))
            assert all(torch.equal(a[name], b[name]) for name in a)
    state = weights(tmp_path / "whole", runs[0], "epoch_4")
    assert not torch.equal(state["2.running_mean"], weights(tmp_path / "whole", runs[1], "epoch_4")["2.running_mean"])


def test_dropout_masks_are_the_network_s_own_draws(tmp_path: Path) -> None:
    """By hand: the masks of an epoch are drawn one step after another from (seed, layer, epoch)."""

    def network(shape: tuple[int, ...], n_classes: int, hidden: tuple[int, ...]) -> nn.Module:
        return nn.Sequential(nn.Linear(64, 6), nn.ReLU(), nn.Dropout(0.3), nn.Linear(6, n_classes))

    with registered(MODELS, "dropout", Model(network)):
        runs = configs(2, model="dropout", momentum=0.0, stops=["epoch_4"])
        run_shard(runs, [], runs_root=tmp_path)
        for config in runs:
            model, data = build_model(config), load("digits")
            optimizer = torch.optim.SGD(model.parameters(), config.lr)
            for epoch in range(4):
                draws = generator_for(config.seed, "noise.2", epoch)
                order = torch.randperm(300, generator=generator_for(config.seed, "order", epoch))
                for batch in order.split(50):
                    kept = (torch.rand(50, 6, generator=draws) >= 0.3) / 0.7
                    optimizer.zero_grad()
                    logits = model[3](model[1](model[0](data.train_x[batch])) * kept)
                    functional.cross_entropy(logits, data.train_y[batch]).backward()
                    optimizer.step()
            for name, p in weights(tmp_path, config, "epoch_4").items():
                torch.testing.assert_close(p, model.state_dict()[name], rtol=1e-4, atol=1e-5)


def test_each_network_of_a_stack_has_its_own_dropout_rate(tmp_path: Path) -> None:
    """In any order, alone, and where all of the stack that is left drops nothing; no dropout is the same bits."""

    def network(shape: tuple[int, ...], n_classes: int, hidden: tuple[int, ...], p: float) -> nn.Module:
        return nn.Sequential(nn.Linear(64, 6), nn.ReLU(), nn.Dropout(p), nn.Linear(6, n_classes))

    def without(shape: tuple[int, ...], n_classes: int, hidden: tuple[int, ...]) -> nn.Module:
        return nn.Sequential(nn.Linear(64, 6), nn.ReLU(), nn.Identity(), nn.Linear(6, n_classes))

    def trained(runs: list[RunConfig], folder: Path, mode: str = "stacked") -> list[dict[str, Tensor]]:
        paths = [RunPaths(folder, run_key(run)) for run in runs]
        population = Population(runs, paths, load("digits"), "cpu", mode, lambda: None)
        population.train(should_stop=lambda: False, on_epoch=lambda runs: None, save_every_seconds=1e9)
        return [weights(folder, run, run.stops[-1]) for run in runs]

    with registered(MODELS, "dropout", Model(network), p=number(0.0)), registered(MODELS, "none", Model(without)):
        ends = {0.5: 1, 0.0: 4, 0.2: 3}
        runs = [configs(1, model={"dropout": {"p": p}}, max_epochs=n, stops=[f"epoch_{n}"])[0] for p, n in ends.items()]
        assert len({shard_shape(run) for run in runs}) == 1
        together = trained(runs, tmp_path / "together")
        backwards = trained(runs[::-1], tmp_path / "backwards")[::-1]
        alone = [trained([run], tmp_path / "alone", "sequential")[0] for run in runs]
        (none,) = trained([replace(runs[1], model=Choice("none"))], tmp_path / "none", "sequential")
        assert all(torch.equal(none[name], alone[1][name]) for name in none)
    for one, same, other in zip(together, backwards, alone, strict=True):
        assert all(torch.equal(one[name], same[name]) for name in one)
        for name in one:
            torch.testing.assert_close(one[name], other[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mode", ["stacked", "sequential"])
def test_channels_are_dropped_whole(mode: str) -> None:
    template = nn.Sequential(nn.Conv2d(1, 5, 1), nn.Dropout2d(0.5), nn.Flatten(), nn.Linear(5 * 16, 2))
    forward = StackedForward(template, "cross_entropy", mode, torch.rand(1, 4, 4))
    assert forward.dropouts["1"].shape == (5, 1, 1)


def test_other_randomness_is_refused_before_the_first_step(tmp_path: Path) -> None:
    class Noisy(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return functional.dropout(super().forward(x), 0.5, self.training)

    with (
        registered(MODELS, "noisy", Model(lambda shape, n_classes, hidden: Noisy(64, n_classes))),
        pytest.raises(ValueError, match=r"model: Noisy: draws random numbers in training, allowed: nn\.Dropout"),
    ):
        run_shard(configs(1, model="noisy"), [], runs_root=tmp_path)
