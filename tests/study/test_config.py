"""Identity: a config's key never moves, and a wrong config is refused in one line."""

import dataclasses
import json

import pytest

from study.choice import Choice
from study.config import FIRST, SEAMS, ConfigError, RunConfig, config_from_dict, config_to_dict, run_key
from study.hyperparameter import hyperparameters


def test_frozen_keys() -> None:
    """These keys name folders of runs that exist. A change here orphans every run: mend the code, not the test."""
    assert run_key(RunConfig()) == "44136fa355b3"
    assert run_key(RunConfig(lr=0.03, momentum=0.9, max_epochs=400, batch_size=10, seed=2)) == FROZEN_DIGITS
    mnist = RunConfig(dataset="mnist", hidden=(50, 50, 50, 30), init="xavier_normal", lr=0.02, batch_size=1000,
                      stops=("loss_0.1", "loss_0.05", "epoch_100", "epoch_400"), max_epochs=400)  # fmt: skip
    assert run_key(mnist) == FROZEN_MNIST


def test_a_model_without_options_is_its_name() -> None:
    """As when it was a field of names: no key moves, and a row has no column more."""
    assert config_from_dict({"model": {"mlp": {}}}) == config_from_dict({"model": "mlp"}) == RunConfig()
    config = config_from_dict({"dataset": "mnist", "model": "lenet5"})
    assert (
        run_key(config) == run_key(config_from_dict({"dataset": "mnist", "model": {"lenet5": None}})) == FROZEN_LENET5
    )
    assert config_to_dict(config)["model"] == "lenet5"
    for one in (config, RunConfig()):
        assert hyperparameters(one)["model"] == one.model.name
        assert not any(name.startswith("model.") for name in hyperparameters(one))
    nin = config_from_dict({"dataset": "mnist", "model": {"nin": {"depth": 3}}})
    assert {**hyperparameters(nin), "model": "nin", "model.depth": 3, "model.dropout": 0.0} == hyperparameters(nin)


FROZEN_LENET5 = "b7934b86f602"
FROZEN_DIGITS = "23f11760dd00"
FROZEN_MNIST = "be272c5457c1"


def test_key_ignores_spelling() -> None:
    """PyYAML reads 1e-3 as a string and 1 as an integer: the key is that of the number."""
    plain = config_from_dict({"lr": 0.001, "init_gain": 1.0, "momentum": 0.9})
    assert run_key(plain) == run_key(config_from_dict({"momentum": 0.9, "init_gain": 1, "lr": "1e-3"}))


def test_every_plain_field_moves_the_key() -> None:
    other = RunConfig(dataset="mnist", n_train=100, label_noise=0.1, model=Choice("lenet5"), hidden=(5,),
                      init="xavier_normal", init_gain=2.0, optimizer=Choice("adam"), lr=0.2, momentum=0.5,
                      weight_decay=0.1, batch_size=7, loss="squared_error", stops=("epoch_1",), max_epochs=3,
                      checks_per_epoch=2, seed=1, lr_factor=0.5, n_validation=5)  # fmt: skip
    keys = {run_key(RunConfig())}
    plain = [f for f in dataclasses.fields(RunConfig) if f.name in FIRST or f.name not in SEAMS]
    for field in plain:
        keys.add(run_key(dataclasses.replace(RunConfig(), **{field.name: getattr(other, field.name)})))
    assert len(keys) == 1 + len(plain)


def test_round_trip() -> None:
    config = RunConfig(hidden=(3, 4), stops=("loss_0.1", "epoch_3"))
    assert config_from_dict(json.loads(json.dumps(config_to_dict(config)))) == config


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"learning_rate": 0.1}, ("learning_rate", "unknown field", "lr")),
        ({"lr": "fast"}, ("lr", "'fast'", "a number")),
        ({"lr": -1}, ("lr", "-1", "> 0")),
        ({"lr": float("nan")}, ("lr", "nan", "> 0")),
        ({"lr": True}, ("lr", "True", "a number")),
        ({"seed": 1.5}, ("seed", "1.5", "an integer")),
        ({"batch_size": 0}, ("batch_size", "0", "> 0")),
        ({"batch_size": 301}, ("batch_size", "301", "300")),
        ({"n_train": 301}, ("n_train", "301", "300")),
        ({"dataset": "imagenet"}, ("dataset", "'imagenet'", "digits")),
        ({"model": "alexnet"}, ("model", "'alexnet'", "lenet5")),
        ({"model": "lenet5"}, ("model", "'lenet5'", "channels")),
        ({"hidden": 64}, ("hidden", "64", "a list")),
        (
            {"dataset": "mnist", "model": "lenet5", "hidden": [32]},
            ("hidden: [32]: is not read by model lenet5, allowed with it: the default, [64, 64]",),
        ),
        ({"lr": 10**400}, ("lr", "allowed: a number")),
        ({"batch_size": 10**400}, ("batch_size", "an integer > 0")),
        ({"hidden": [64, 0]}, ("hidden", "[64, 0]", "positive")),
        ({"hidden": ["64"]}, ("hidden", "'64'", "a list of positive widths")),
        ({"stops": []}, ("stops", "[]", "at least one")),
        ({"stops": ["loss<0.1"]}, ("stops", "'loss<0.1'", "loss_0.01")),
        ({"stops": ["loss_0"]}, ("stops", "'loss_0'", "loss_0.01")),
        ({"stops": ["epoch_200"]}, ("stops", "'epoch_200'", "max_epochs = 100")),
        ({"stops": ["loss_0.1", "loss_0.1"]}, ("stops", "each once")),
        ({"momentum": 1.0}, ("momentum", "1.0", "< 1")),
        ({"optimizer": "adam", "momentum": 0.9}, ("momentum", "0.9", "adam")),
        ({"optimizer": "nesterov"}, ("momentum", "0.0", "nesterov", "0 < momentum < 1")),
        ({"optimizer": {"adam": {"beta1": 1}}}, ("optimizer.adam.beta1", "0 <= number < 1")),
        ({"optimizer": {"sgd": {"decay": "none"}}}, ("optimizer.sgd.decay", "coupled, decoupled")),
        ({"lr_factor": 0}, ("lr_factor", "> 0")),
        ({"loss": "hinge"}, ("loss", "'hinge'", "cross_entropy")),
        ({"seed": -1}, ("seed", "-1", ">= 0")),
    ],
)
def test_wrong_values(values: dict[str, object], words: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as caught:
        config_from_dict(values)
    text = str(caught.value)
    assert "\n" not in text
    for word in words:
        assert word.replace(">= 0", "0 <=") in text
