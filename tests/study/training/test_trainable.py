"""What cannot be trained is refused in one line by the plan and by a shard, before anything is written."""

from collections.abc import Callable
from pathlib import Path

import pytest
from torch import Tensor, nn
from torch.nn import functional

from study.__main__ import main
from study.config import ConfigError, RunConfig, config_from_dict
from study.models.registry import MODELS, Model
from study.run import run_shard
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
