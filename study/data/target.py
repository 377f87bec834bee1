"""The seam `target`: what is to be told apart, the data set's classes or groups of them.

An entry is `(n_classes, options) -> groups`: the new class of each of the data set's `n_classes` classes, from 0 on.
All labels are those: of training, test and validation images and of an extra set, before any noise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from study.choice import Choice, ConfigError, Option, Registry, Value, words

if TYPE_CHECKING:
    from torch import Tensor

Groups = tuple[int, ...]
Target = Callable[[int, Mapping[str, Value]], Groups]
TARGETS: Registry[Target] = Registry("target", vectors=False)


def target(name: str, **options: Option) -> Callable[[Target], Target]:
    """Register an entry under its name, with its options."""

    def register(function: Target) -> Target:
        TARGETS.add(name, function, options, described_by=function)
        return function

    return register


def groups(choice: Choice, n_classes: int) -> Groups:
    """The new class of each class. Raises ConfigError for classes that the data set has not."""
    return TARGETS[choice.name](n_classes, TARGETS.options(choice))


def relabelled(labels: Tensor, new: Groups) -> Tensor:
    """Labels (n,) with each class by its new one."""
    import torch

    return labels if new == tuple(range(len(new))) else torch.tensor(new, device=labels.device)[labels]


@target("classes")
def classes(n_classes: int, options: Mapping[str, Value]) -> Groups:
    """The data set's own classes."""
    return tuple(range(n_classes))


_CLASSES = 'upper_half (of the classes), or classes joined by -, in quotes: "5-6-7"'


@target("binary", positive=words("upper_half", bool, _CLASSES))
def binary(n_classes: int, options: Mapping[str, Value]) -> Groups:
    """Two classes: 1 is what is `positive`, 0 the rest; with loss `binary_cross_entropy` the network has one output."""
    text = str(options["positive"])
    upper = map(str, range((n_classes + 1) // 2, n_classes))
    names = list(upper) if text == "upper_half" else text.split("-")
    chosen = [c for c in range(n_classes) if str(c) in names]
    if [str(c) for c in chosen] != names or len(chosen) == n_classes:
        allowed = f"allowed: {_CLASSES}, growing, of the classes 0 to {n_classes - 1} and not all of them"
        raise ConfigError("target.binary.positive", text, allowed)
    return tuple(int(c in chosen) for c in range(n_classes))
