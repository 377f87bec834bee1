"""The registry of architectures, and a network made from a few values. This file knows no architecture by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from study.choice import Choice, Option, Registry
from study.models.init import initialize
from study.seeds import seed_for

if TYPE_CHECKING:
    from torch import nn

Constructor = Callable[..., "nn.Module"]


@dataclass(frozen=True)
class Model:
    """A constructor (shape of one input, classes, hidden, **options) -> module; the fewest dimensions of an input.

    One that does not read `hidden` says so: runs that differ in it alone would be the same networks twice.
    """

    build: Constructor
    min_dimensions: int = 1
    reads_hidden: bool = True


MODELS: Registry[Model] = Registry("model")


def model(
    name: str, *, min_dimensions: int = 1, reads_hidden: bool = True, **options: Option
) -> Callable[[Constructor], Constructor]:
    """Register an architecture by its constructor, which imports torch itself: names are checked without it.

    Norm layers and dropout (nn.BatchNorm*d, nn.Dropout*) are trained as alone; see study/training/stack.py.
    """

    def register(build: Constructor) -> Constructor:
        MODELS.add(name, Model(build, min_dimensions, reads_hidden), options, described_by=build)
        return build

    return register


def build(
    chosen: Choice, shape: tuple[int, ...], n_classes: int, hidden: tuple[int, ...],
    *, init: str, gain: float, seed: int,
) -> nn.Module:  # fmt: skip
    """A network with its initial weights, drawn on the CPU from a run's own seed; the global RNG is kept."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_for(seed, "init"))
        network = MODELS[chosen.name].build(shape, n_classes, hidden, **MODELS.options(chosen))
        initialize(network, init, gain)
    return network
