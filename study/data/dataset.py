"""Data sets: whole, in memory, as tensors, in a fixed order, with fixed subsets. None is named in this file."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from study.choice import Registry
from study.data.pixels import decoded

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Dataset:
    """What is known about a data set before it is loaded; `shape` is that of one input.

    `load` takes the number of training inputs to load, the first ones. `downloaded`: it reads files that are fetched
    before anything is trained.
    """

    n_train: int
    n_test: int
    n_classes: int
    shape: tuple[int, ...]
    load: Callable[[int], Tensors]
    downloaded: bool = False


@dataclass(frozen=True)
class Tensors:
    """Inputs (n, *shape), float32 or the bytes of images, and labels (n,) int64, for training and test.

    `n_own`: how many of the training set, the first ones, are the data set's own, the rest an extra set's; None: all.
    """

    train_x: torch.Tensor
    train_y: torch.Tensor
    test_x: torch.Tensor
    test_y: torch.Tensor
    n_own: int | None = None

    def to(self, device: str | torch.device) -> Tensors:
        """The same on another device."""
        moved = {name: getattr(self, name).to(device) for name in ("train_x", "train_y", "test_x", "test_y")}
        return replace(self, **moved)

    def decoded(self) -> Tensors:
        """The same with floats in the place of bytes."""
        return replace(self, train_x=decoded(self.train_x), test_x=decoded(self.test_x))


DATASETS: Registry[Dataset] = Registry("dataset")
Loader = Callable[[int], Tensors]


def dataset(
    name: str, *, n_train: int, n_test: int, n_classes: int, shape: tuple[int, ...], downloaded: bool = False
) -> Callable[[Loader], Loader]:
    """Register a data set by its loader, which imports torch itself: names are checked without it."""

    def register(load: Loader) -> Loader:
        DATASETS.add(name, Dataset(n_train, n_test, n_classes, shape, load, downloaded))
        return load

    return register


@functools.lru_cache(maxsize=1)
def load(dataset: str, n_train: int = 0) -> Tensors:
    """The data set with its first `n_train` training inputs (0: all), as floats; the test set is always whole."""
    known = DATASETS[dataset]
    return known.load(n_train or known.n_train).decoded()
