"""The seam `subset`: which images of the training split a run is trained on; and those that are held out of it.

An entry is `(labels, options) -> order`: an order (n,) of the images with these labels (n,), of which the first
`n_train` are trained on. It is the same for all runs, whatever their seed. The last `n_validation` images of the split,
as the data set has it, are held out before that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from study.choice import Check, Choice, ConfigError, Option, Registry, Value, integer
from study.data.dataset import Tensors, known, load
from study.seeds import generator_for

if TYPE_CHECKING:
    from torch import Tensor

More = Callable[[int], "tuple[Tensor, Tensor]"]
Subset = Callable[["Tensor", Mapping[str, Value]], "Tensor"]
SUBSETS: Registry[Subset] = Registry("subset", vectors=False)


def subset(name: str, *, check: Check | None = None, **options: Option) -> Callable[[Subset], Subset]:
    """Register an entry under its name, with its options and what it cannot go with."""

    def register(function: Subset) -> Subset:
        SUBSETS.add(name, function, options, described_by=function, check=check)
        return function

    return register


@subset("first")
def first(labels: Tensor, options: Mapping[str, Value]) -> Tensor:
    """The first `n_train` images, in the data set's order."""
    import torch

    return torch.arange(len(labels))


def _takes_some(options: Mapping[str, Value], run: Mapping[str, Any]) -> None:
    if not run["n_train"]:
        raise ConfigError("subset", "balanced", "allowed with n_train 0 (all images): first")


@subset("balanced", check=_takes_some, seed=integer(0))
def balanced(labels: Tensor, options: Mapping[str, Value]) -> Tensor:
    """`n_train` images drawn from `seed`, as many of each class or one more; a smaller `n_train` has some of them."""
    import torch

    order = torch.randperm(len(labels), generator=generator_for(int(options["seed"]), "subset"))
    rank = torch.empty_like(order)  # of each image among those of its class, in the drawn order
    for c in labels.unique():
        of_class = (labels[order] == c).nonzero().flatten()
        rank[of_class] = torch.arange(len(of_class))
    return order[rank.argsort(stable=True)]


def chosen(dataset: Choice, n_train: int, n_validation: int, choice: Choice, as_bytes: bool) -> tuple[Tensors, More]:
    """A data set with the training images of a run, and `more(k)`, the k images that follow them in the order.

    `n_train` 0: all that are not held out. Images stay bytes, where they are, if `as_bytes`. Raises ConfigError where
    there are too few images, or too few of a class.
    """
    plain = choice == Choice("first") and not n_validation
    data = load(dataset, n_train if plain else 0, as_bytes or not plain)
    n_left = (known(dataset).n_train if plain else len(data.train_y)) - n_validation
    n = n_train or n_left
    order = None if plain else SUBSETS[choice.name](data.train_y[:n_left], SUBSETS.options(choice))

    def more(k: int) -> tuple[Tensor, Tensor]:
        if n + k > n_left:
            raise ConfigError("n_train", n, f"allowed with {k} more images behind them: at most {n_left - k}")
        whole = load(dataset, n + k, as_bytes) if order is None else data
        which = slice(n, n + k) if order is None else order[n : n + k]
        return whole.train_x[which], whole.train_y[which]

    if order is None:
        return data, more
    _check_balance(choice, data.train_y[:n_left], data.train_y[order[:n]])
    held = (data.train_x[n_left:], data.train_y[n_left:]) if n_validation else (None, None)
    train_x, train_y = data.train_x[order[:n]], data.train_y[order[:n]]
    return replace(data, train_x=train_x, train_y=train_y, validation_x=held[0], validation_y=held[1]), more


def _check_balance(choice: Choice, every: Tensor, taken: Tensor) -> None:
    """Refuse a class of which all images are taken before others have as many."""
    if choice.name != "balanced":
        return
    n_classes = int(every.max()) + 1
    counts = taken.bincount(minlength=n_classes)
    if counts.max() - counts.min() > 1:
        least = every.bincount(minlength=n_classes)
        text = f"allowed with subset balanced: at most {int(least.min()) * n_classes}, {int(least.min())} of each class"
        raise ConfigError("n_train", len(taken), text)
