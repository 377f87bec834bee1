"""The shards of the training benchmark: networks of the studies, and larger ones."""

from __future__ import annotations

from typing import Any

from tests.benchmarks.race import Case

MNIST = {"model": "mlp", "hidden": [50, 50, 50, 30], "init": "xavier_normal", "lr": 0.02}
DIGITS = {"model": "mlp", "hidden": [64, 64], "momentum": 0.9}
MLPS, BATCHES = "64 mlps", (10, 30, 100)  # of the laptop study, as many networks of each
PAIRS = {4: 0.001, 32: 0.008, 64: 0.02, 512: 0.1}  # batch size and rate of the study of LeNet5
POPULATIONS = (1, 4, 16, 64, 256)
CIFAR = (3, 32, 32)
# How far apart weights of convolutions may be in the end: training amplifies rounding. Two trainings of LeNet5 by torch
# that differ by its kernels (oneDNN's or not) are 1.6e-3 apart after 5 epochs of batch 4.
ROUNDED = 1e-2


def cases(device: str) -> list[Case]:
    """All cases; on a GPU populations are larger, and few networks alone stand for all."""
    cuda = device.startswith("cuda")
    population, large = (144, 16) if cuda else (1, 1)
    found = [_mlp(name, 64, batch) for name, batch in zip(parts(), BATCHES, strict=True)]
    found += [_lenet5(f"lenet5 batch {batch}", batch, population, 1) for batch in PAIRS]
    found += [_convolutional("nin", "nin", large), _convolutional("resnet20", {"resnet": {"depth": 20}}, large)]
    found += [_mnist(100, 1000), _mnist(1000, 4000)]
    found += [_mlp(f"mlp population {n}", n, 30, min(n, 16)) for n in POPULATIONS]
    return found + [_lenet5(f"lenet5 population {n}", 32, n, min(n, 2)) for n in POPULATIONS if cuda or n <= 4]


def parts() -> list[str]:
    """The cases that make up the case "64 mlps"."""
    return [f"{MLPS}, batch {batch}" for batch in BATCHES]


def _mlp(name: str, networks: int, batch_size: int, compared: int = 0) -> Case:
    return Case(name, (64,), 300, networks, {**DIGITS, "batch_size": batch_size}, compared)


def _mnist(batch_size: int, n_train: int) -> Case:
    config = {**MNIST, "batch_size": batch_size}
    return Case(f"64 mlps of mnist, batch {batch_size}", (784,), n_train, 64, config, 16)


def _lenet5(name: str, batch_size: int, networks: int, compared: int) -> Case:
    config = {"model": "lenet5", "init": "xavier_normal", "batch_size": batch_size, "lr": PAIRS[batch_size]}
    # More images than a cache holds; an epoch takes a second.
    return Case(name, CIFAR, 2048, networks, config, compared, tolerance=ROUNDED)


def _convolutional(name: str, model: Any, networks: int) -> Case:
    config = {"model": model, "batch_size": 32, "lr": 0.01, "momentum": 0.9}
    return Case(name, CIFAR, 128, networks, config, 1, tolerance=ROUNDED)
