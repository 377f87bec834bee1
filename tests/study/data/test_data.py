"""The data that networks see: fixed splits, real images, noise from the run's own seed; and one definition of loss."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from study.choice import Choice
from study.config import RunConfig
from study.data.dataset import DATASETS, load
from study.loss import evaluate, mean_loss_and_error
from study.models.init import INITS
from study.seeds import generator_for, seed_for
from study.training.start import build_model, training_labels


def test_digits_split_is_fixed() -> None:
    data = load("digits")
    assert (tuple(data.train_x.shape), tuple(data.test_x.shape)) == ((300, 64), (1497, 64))
    digest = hashlib.sha256(data.train_x.numpy().tobytes() + data.train_y.numpy().tobytes()).hexdigest()
    assert digest[:16] == "66d8d480fc2ac0b5"
    assert torch.equal(load("digits", 50).train_x, data.train_x[:50])
    assert torch.equal(load("digits", 500).train_x, data.train_x), "no test image is trained on"
    together = torch.cat([data.train_x, data.test_x])
    assert len({row.numpy().tobytes() for row in together}) == 1797


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10"])
def test_images_are_what_their_entry_says(name: str, image_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDY_DATA", str(image_root))
    spec, data = DATASETS[name], load(name, 100)
    whole = load(name)
    assert tuple(whole.train_x.shape) == (spec.n_train, *spec.shape)
    assert tuple(whole.test_x.shape) == (spec.n_test, *spec.shape)
    assert torch.equal(data.train_x, whole.train_x[:100])
    assert (whole.train_x.min(), whole.train_x.max()) == (-1, 1)
    assert whole.train_y.unique().tolist() == list(range(spec.n_classes))


def test_label_noise() -> None:
    clean = load("digits").train_y
    config = RunConfig(label_noise=0.2)
    noisy = training_labels(config, clean)
    assert (noisy != clean).sum() == 60
    assert torch.equal(noisy, training_labels(config, clean))
    assert not torch.equal(noisy, training_labels(replace(config, seed=1), clean))
    assert set(noisy.tolist()) <= set(range(10))
    assert torch.equal(training_labels(RunConfig(), clean), clean)


def test_seeds_are_frozen_and_apart() -> None:
    assert seed_for(0, "order", 3) == 2723741169552378311
    seeds = {seed_for(s, p, i) for s in range(20) for p in ("init", "order", "label_noise") for i in range(20)}
    assert len(seeds) == 20 * 3 * 20
    assert torch.rand(1, generator=generator_for(1, "x")) != torch.rand(1, generator=generator_for(2, "x"))


def test_loss_and_error_by_hand() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(23, 4), torch.randint(3, (23,))
    model = torch.nn.Linear(4, 3)
    for loss in ("cross_entropy", "squared_error"):
        total, wrong = 0.0, 0
        for i in range(23):
            f = model(x[i]).double()
            p = f.exp() / f.exp().sum()
            onehot = torch.tensor([float(c == y[i]) for c in range(3)], dtype=torch.float64)
            total += -p[y[i]].log().item() if loss == "cross_entropy" else ((f - onehot) ** 2).sum().item()
            wrong += int(f.argmax() != y[i])
        for chunk in (1, 5, 100):
            mean, error = mean_loss_and_error(model, x, y, loss, chunk)
            assert mean.item() == pytest.approx(total / 23, rel=1e-6)
            assert error.item() == pytest.approx(wrong / 23)


def test_evaluation_uses_the_labels_of_the_run() -> None:
    data, config = load("digits"), RunConfig(label_noise=0.3)
    model = build_model(config)
    clean, noisy = (
        evaluate(model, data, labels, "cross_entropy")
        for labels in (data.train_y, training_labels(config, data.train_y))
    )
    assert clean["train"]["loss"] != noisy["train"]["loss"]
    assert clean["test"] == noisy["test"]
    assert (clean["train"]["n"], clean["test"]["n"]) == (300, 1497)


@pytest.mark.parametrize("init", sorted(INITS))
def test_initial_weights(init: str) -> None:
    config = RunConfig(dataset="mnist", model=Choice("lenet5"), init=init, seed=3)
    rng = torch.get_rng_state()
    state = build_model(config).state_dict()
    assert torch.equal(rng, torch.get_rng_state())
    assert all(torch.equal(t, build_model(config).state_dict()[n]) for n, t in state.items())
    assert not torch.equal(state["fc1.weight"], build_model(replace(config, seed=4)).state_dict()["fc1.weight"])
    double = build_model(replace(config, init_gain=2.0)).state_dict()
    assert torch.equal(double["fc1.weight"], 2 * state["fc1.weight"])
    assert torch.equal(double["fc1.bias"], state["fc1.bias"])
    spread = {"default": (3 * 256) ** -0.5, "xavier_normal": (2 / 376) ** 0.5, "xavier_uniform": (2 / 376) ** 0.5,
              "kaiming_uniform": (2 / 256) ** 0.5, "kaiming_normal": (2 / 256) ** 0.5, "orthogonal": 256**-0.5,
              "uniform_0.1": 0.1 / 3**0.5, "normal_0.1": 0.1}[init]  # fmt: skip
    assert state["fc1.weight"].std().item() == pytest.approx(spread, rel=0.02)
    assert init == "default" or not state["fc1.bias"].any()
    rows, normal = state["fc1.weight"], state["fc1.weight"].abs().max() > 3 * spread
    assert (init == "orthogonal") == torch.allclose(rows @ rows.T, torch.eye(len(rows)), atol=1e-5)
    assert normal == (init.endswith("normal") or init in ("normal_0.1", "orthogonal")), "a uniform draw ends at 1.7"
