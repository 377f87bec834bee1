"""Data sets drawn here from a seed, without files: a Gaussian mixture of known Bayes error, and a teacher network."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from study.choice import ConfigError, Value, integer, number
from study.data.dataset import Dataset, Tensors, generated
from study.seeds import generator_for

if TYPE_CHECKING:
    from torch import Tensor

N_TRAIN, N_TEST = 10_000, 10_000  # ours
Draw = Callable[[int], "tuple[Tensor, Tensor]"]


@functools.lru_cache
def bayes_error(n_classes: int, separation: float) -> float:
    """The least error that any classifier has on the Gaussian mixture: the error of the nearest centre.

    1 - int phi(z - a) Phi(z)^(C - 1) dz with a = separation / sqrt(2): the coordinate of the own class is the largest.
    For two classes it is Phi(-separation / 2). By the trapezoidal rule, exact to 1e-14.
    """
    centre, step = separation / math.sqrt(2), 1 / 32
    right = 0.0
    for k in range(-320, 321):
        z = centre + k * step
        below = math.erfc(-z / math.sqrt(2)) / 2
        right += step * math.exp(-((k * step) ** 2) / 2) / math.sqrt(2 * math.pi) * below ** (n_classes - 1)
    return 1 - right


def _dataset(dimension: int, n_classes: int, draw: Draw, error: float) -> Dataset:
    def load(n_train: int) -> Tensors:
        x, y = draw(N_TRAIN + N_TEST)
        return Tensors(x[:N_TRAIN][:n_train], y[:N_TRAIN][:n_train], x[N_TRAIN:], y[N_TRAIN:])

    return Dataset(N_TRAIN, N_TEST, n_classes, (dimension,), load, bayes_error=error)


@generated(
    "gaussian_mixture",
    dimension=integer(20, least=2), n_classes=integer(10, least=2), separation=number(4.0, least=0, stacked=False),
    seed=integer(0),
)  # fmt: skip
def gaussian_mixture(options: Mapping[str, Value]) -> Dataset:
    """Classes as likely as each other, unit Gaussians around centres that are all `separation` from each other."""
    dimension, n_classes, seed = (int(options[name]) for name in ("dimension", "n_classes", "seed"))
    separation = float(options["separation"])
    if n_classes > dimension:
        path, allowed = "dataset.gaussian_mixture.n_classes", f"allowed: at most the dimension, {dimension}"
        raise ConfigError(path, n_classes, allowed)

    def draw(n: int) -> tuple[Tensor, Tensor]:
        import torch

        generator = generator_for(seed, "gaussian_mixture")
        y = torch.randint(n_classes, (n,), generator=generator)
        x = torch.randn(n, dimension, generator=generator)
        x[torch.arange(n), y] += separation / math.sqrt(2)  # the centre of class c lies on axis c
        return x, y

    return _dataset(dimension, n_classes, draw, bayes_error(n_classes, separation))


@generated(
    "teacher", dimension=integer(20, least=1), n_classes=integer(10, least=2), width=integer(20, least=1),
    seed=integer(0),
)  # fmt: skip
def teacher(options: Mapping[str, Value]) -> Dataset:
    """Normal inputs, and as classes the largest output of a random ReLU network of one hidden layer: no Bayes error."""
    dimension, n_classes, width, seed = (int(options[name]) for name in ("dimension", "n_classes", "width", "seed"))

    def draw(n: int) -> tuple[Tensor, Tensor]:
        import torch

        generator = generator_for(seed, "teacher")
        first = torch.randn(dimension, width, generator=generator, dtype=torch.float64)
        last = torch.randn(width, n_classes, generator=generator, dtype=torch.float64)
        x = torch.randn(n, dimension, generator=generator)
        outputs = (x.double() @ first).relu() @ last
        return x, ((outputs - outputs.mean(0)) / outputs.std(0)).argmax(1)  # so that every class is there

    return _dataset(dimension, n_classes, draw, 0.0)
