"""Data sets: whole, in memory, as tensors, in a fixed order, with fixed subsets. None is named in this file."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from study.choice import Choice, Option, Registry, Value
from study.data.pixels import decoded

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Dataset:
    """What is known about a data set before it is loaded; `shape` is that of one input.

    `load` takes the number of training inputs to load, the first ones. `downloaded`: it reads files that are fetched
    before anything is trained. `of`: what it is with other options. `bayes_error`: the least error that any classifier
    has on its own classes with clean labels, None where nobody knows.
    """

    n_train: int
    n_test: int
    n_classes: int
    shape: tuple[int, ...]
    load: Callable[[int], Tensors]
    downloaded: bool = False
    of: Callable[[Mapping[str, Value]], Dataset] | None = None
    bayes_error: float | None = None


@dataclass(frozen=True)
class Tensors:
    """Inputs (n, *shape), float32 or the bytes of images, and labels (n,) int64, for training and test.

    `validation_x` and `validation_y` are what is held out of the training split, None where nothing is. `n_own`: how
    many of the training set, the first ones, are the data set's own, the rest an extra set's; None: all.
    """

    train_x: torch.Tensor
    train_y: torch.Tensor
    test_x: torch.Tensor
    test_y: torch.Tensor
    validation_x: torch.Tensor | None = None
    validation_y: torch.Tensor | None = None
    n_own: int | None = None

    def inputs(self) -> dict[str, torch.Tensor]:
        """The inputs by field, of what there is."""
        return self._of("train_x", "test_x", "validation_x")

    def labels(self) -> dict[str, torch.Tensor]:
        """The labels by field, of what there is."""
        return self._of("train_y", "test_y", "validation_y")

    def _of(self, *names: str) -> dict[str, torch.Tensor]:
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def changed(self, tensors: Mapping[str, torch.Tensor]) -> Tensors:
        """The same with other tensors in these fields."""
        fields: dict[str, Any] = dict(tensors)
        return replace(self, **fields)

    def to(self, device: str | torch.device) -> Tensors:
        """The same on another device."""
        return self.changed({name: t.to(device) for name, t in (self.inputs() | self.labels()).items()})

    def decoded(self) -> Tensors:
        """The same with floats in the place of bytes."""
        return self.changed({name: decoded(x) for name, x in self.inputs().items()})


DATASETS: Registry[Dataset] = Registry("dataset", vectors=False)
Loader = Callable[[int], Tensors]
Maker = Callable[[Mapping[str, Value]], Dataset]


def dataset(
    name: str, *, n_train: int, n_test: int, n_classes: int, shape: tuple[int, ...], downloaded: bool = False
) -> Callable[[Loader], Loader]:
    """Register a data set by its loader, which imports torch itself: names are checked without it."""

    def register(load: Loader) -> Loader:
        found = Dataset(n_train, n_test, n_classes, shape, load, downloaded)
        DATASETS.add(name, found, described_by=load)
        return load

    return register


def generated(name: str, **options: Option) -> Callable[[Maker], Maker]:
    """Register a data set that is drawn here, by what makes it of its options."""

    def register(make: Maker) -> Maker:
        default = make({option: given.default for option, given in options.items()})
        DATASETS.add(name, replace(default, of=make), options, described_by=make)
        return make

    return register


def known(dataset: str | Choice) -> Dataset:
    """What is known about a data set, with its options. Raises ConfigError for one that is not there."""
    choice = DATASETS.choose(dataset)
    found = DATASETS[choice.name]
    return found.of(DATASETS.options(choice)) if found.of else found


@functools.lru_cache(maxsize=1)
def load(dataset: str | Choice, n_train: int = 0, as_bytes: bool = False) -> Tensors:
    """The data set with its first `n_train` training inputs (0: all), as floats; the test set is always whole.

    `as_bytes`: images stay bytes. Raises ValueError without its files.
    """
    spec = known(dataset)
    found = spec.load(n_train or spec.n_train)
    return found if as_bytes else found.decoded()
