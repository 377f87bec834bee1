"""What cannot be trained is refused in one line by the plan and by a shard, before anything is written."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from study.__main__ import main
from study.choice import Choice
from study.config import ConfigError, RunConfig, config_from_dict
from study.models.registry import MODELS, Model
from study.run import run_shard
from study.training import trainable
from study.training.trainable import check_trainable
from tests.support.entries import registered


class Noisy(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return functional.dropout(super().forward(x), 0.5, self.training)


def shared_dropout() -> nn.Module:
    layer = nn.Dropout(0.5)
    return nn.Sequential(nn.Linear(64, 8), layer, nn.ReLU(), layer, nn.Linear(8, 10))


def tied() -> nn.Module:
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    model[2].weight = model[0].weight
    return model


def normed(momentum: float | None = 0.1) -> nn.Module:
    return nn.Sequential(nn.Linear(64, 8), nn.BatchNorm1d(8, momentum=momentum), nn.ReLU(), nn.Linear(8, 10))


def shared_statistics() -> nn.Module:
    layer = nn.BatchNorm1d(8, affine=False)
    return nn.Sequential(nn.Linear(64, 8), layer, nn.ReLU(), layer, nn.Linear(8, 10))


@pytest.mark.parametrize(
    ("network", "n_train", "words"),
    [
        (lambda: Noisy(64, 10), 64, "model: 'odd': allowed: .*draws random numbers in training, allowed: nn.Dropout"),
        (shared_dropout, 64, "model: 'odd': allowed: .*dropout layer 1 2 times, allowed: a layer of its own"),
        (tied, 64, "model: 'odd': allowed: .*0.weight and 2.weight are one tensor, allowed: each of its own"),
        (shared_statistics, 64, "model: 'odd': allowed: .*1.running_mean and 3.running_mean are one tensor"),
        (lambda: normed(None), 64, r"model: 'odd': allowed: networks that torch.func.vmap can train.*\.item\(\)"),
        (lambda: nn.Linear(63, 10), 64, "model: 'odd': allowed: .*shapes cannot be multiplied"),
        (normed, 65, "batch_size: 32: 65 training images leave a batch of 1, allowed with model odd: 2 or more"),
    ],
)
def test_a_network_that_cannot_be_trained(
    network: Callable[[], nn.Module], n_train: int, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = f"{{model: odd, n_train: {n_train}, batch_size: 32, stops: [epoch_1]}}"
    (tmp_path / "s.yaml").write_text(f"fixed: {text}\nmeasures: [train_loss]\n")
    with registered(MODELS, "odd", Model(lambda shape, n_classes, hidden: network())):
        assert main(["plan", str(tmp_path / "s.yaml"), "--runs", str(tmp_path / "runs")]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        with pytest.raises(ValueError, match=words) as caught:
            config = {"model": "odd", "n_train": n_train, "batch_size": 32, "stops": ["epoch_1"]}
            run_shard([config_from_dict(config)], ["train_loss"], runs_root=tmp_path / "runs")
    assert str(caught.value) in error
    assert not (tmp_path / "runs").exists()


def test_a_network_too_large_for_the_machine_is_one_line() -> None:
    with pytest.raises(ConfigError, match=r"model: 'mlp': allowed: networks that fit into this machine's memory"):
        check_trainable(RunConfig(hidden=(10**15,)), None)


@pytest.mark.parametrize("n_train", [64, 66])
def test_a_norm_layer_needs_two_images(n_train: int, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(f"fixed: {{model: odd, n_train: {n_train}}}\nmeasures: [train_loss]\n")
    with registered(MODELS, "odd", Model(lambda shape, n_classes, hidden: normed())):
        assert main(["plan", str(tmp_path / "s.yaml"), "--runs", str(tmp_path / "runs")]) == 0


class Told(nn.Module):
    """A network that says where its inputs are, and may need their numbers."""

    def __init__(self, content: bool) -> None:
        super().__init__()
        self.layer, self.norm, self.content = nn.Linear(64, 10), nn.BatchNorm1d(10), content
        self.one = torch.ones(())  # no buffer: it stays where it is
        self.devices: list[str] = []

    def forward(self, x: Tensor) -> Tensor:
        self.devices.append(x.device.type)
        return self.norm(self.layer(x)) + (self.one * torch.ones(10) if self.content else 0)


@pytest.mark.parametrize(
    ("large", "content", "devices"),
    [(0, False, ["cpu", "meta"]), (10**9, False, ["cpu", "cpu"]), (0, True, ["cpu", "meta", "cpu"])],
)
def test_of_a_large_network_the_shapes_are_followed(
    large: int, content: bool, devices: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainable, "LARGE", large)
    network = Told(content)
    with registered(MODELS, "odd", Model(lambda shape, n_classes, hidden: network)):
        check_trainable(RunConfig(model=Choice("odd")), None)
    assert network.devices == devices  # first of two inputs alone, which tells what dropout sees


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (lambda: normed(None), r"networks that torch.func.vmap can train.*\.item\(\)"),
        (lambda: Noisy(64, 10), "draws random numbers in training"),
        (lambda: nn.Linear(63, 10), "shapes cannot be multiplied"),
    ],
)
def test_a_large_network_is_refused_for_what_a_small_one_is(
    network: Callable[[], nn.Module], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainable, "LARGE", 0)
    with (
        registered(MODELS, "odd", Model(lambda shape, n_classes, hidden: network())),
        pytest.raises(ConfigError, match=words),
    ):
        check_trainable(RunConfig(model=Choice("odd")), None)


def test_a_last_batch_of_one_is_refused_of_a_large_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainable, "LARGE", 0)
    with (
        registered(MODELS, "odd", Model(lambda shape, n_classes, hidden: normed())),
        pytest.raises(ConfigError, match="65 training images leave a batch of 1"),
    ):
        check_trainable(RunConfig(model=Choice("odd")), 65)
