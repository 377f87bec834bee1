"""Data sets that are drawn: a mixture whose Bayes error is known, and a teacher's labels."""

import math
from pathlib import Path

import pytest
import torch

from study.config import ConfigError, config_from_dict, run_key
from study.data.dataset import Tensors, known
from study.data.synthetic import bayes_error
from study.records import run_rows
from study.run import run_shard
from study.training.start import build_model, training_data


def drawn(**options: float) -> Tensors:
    return training_data(config_from_dict({"dataset": {"gaussian_mixture": options}}))


@pytest.mark.parametrize("separation", [0.0, 1.0, 2.5, 6.0])
def test_the_bayes_error_of_two_classes_is_known_in_closed_form(separation: float) -> None:
    assert bayes_error(2, separation) == pytest.approx(math.erfc(separation / 2 / math.sqrt(2)) / 2, abs=1e-13)
    assert bayes_error(7, 0.0) == pytest.approx(6 / 7, abs=1e-13)


@pytest.mark.parametrize(("n_classes", "separation"), [(2, 1.0), (5, 2.0), (20, 4.0)])
def test_the_nearest_centre_has_the_bayes_error(n_classes: int, separation: float) -> None:
    """The best classifier, on the test set; the centres are estimated here from the training images of each class."""
    data = drawn(n_classes=n_classes, separation=separation)
    centres = torch.stack([data.train_x[data.train_y == c].mean(0) for c in range(n_classes)])
    apart = torch.cdist(centres, centres)[~torch.eye(n_classes, dtype=torch.bool)]
    assert apart.mean().item() == pytest.approx(separation, rel=0.05)
    error = (torch.cdist(data.test_x, centres).argmin(1) != data.test_y).double().mean().item()
    expected = bayes_error(n_classes, separation)
    assert error == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / len(data.test_y)) + 0.003)


def test_a_draw_is_its_seed_s_and_a_smaller_one_its_beginning() -> None:
    config = config_from_dict({"dataset": "teacher", "n_train": 50})
    first, again = training_data(config), training_data(config_from_dict({"dataset": "teacher", "seed": 3}))
    assert torch.equal(first.train_x, again.train_x[:50]) and torch.equal(first.train_y, again.train_y[:50])
    other = training_data(config_from_dict({"dataset": {"teacher": {"seed": 1}}, "n_train": 50}))
    assert not torch.equal(first.train_x, other.train_x)
    assert run_key(config) != run_key(config_from_dict({"dataset": {"teacher": {"seed": 1}}, "n_train": 50}))


def test_a_teacher_s_classes_are_all_there_and_a_function_of_the_inputs() -> None:
    data = training_data(config_from_dict({"dataset": {"teacher": {"n_classes": 4, "dimension": 3, "width": 5}}}))
    assert (data.train_y.bincount(minlength=4) > 500).all()
    nearest = torch.cdist(data.test_x[:500], data.train_x).argmin(1)
    assert (data.train_y[nearest] == data.test_y[:500]).double().mean() > 0.9
    assert known("teacher").bayes_error == 0


def test_its_options_are_the_run_s(tmp_path: Path) -> None:
    mixture = {"gaussian_mixture": {"dimension": 6, "n_classes": 2, "separation": 3}}
    config = config_from_dict({
        "dataset": mixture, "loss": "binary_cross_entropy", "hidden": [4], "n_train": 100, "stops": ["epoch_1"],
    })  # fmt: skip
    assert build_model(config)(torch.zeros(1, 6)).shape == (1, 1)
    run_shard([config], ["relative_flatness"], runs_root=tmp_path)
    (row,) = run_rows(config, tmp_path, ["relative_flatness"])
    assert (row["hp.dataset"], row["hp.dataset.separation"], row["n.test"]) == ("gaussian_mixture", "3.0", "10000")
    with pytest.raises(ConfigError, match=r"gaussian_mixture.n_classes: 7: allowed: at most the dimension, 6"):
        config_from_dict({"dataset": {"gaussian_mixture": {"dimension": 6, "n_classes": 7}}})
