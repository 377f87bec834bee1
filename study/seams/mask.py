"""The seam `mask`: which weights live. The others are 0 from the start, whatever moves them.

An entry is `(network, data, options, generator) -> {parameter name: 0 or 1, in its shape} | None`: for one network
alone, with its initial weights, on a CPU, before the first step. A parameter that is not named lives whole. `data()`
gives the training inputs (n, *shape) and the run's labels (n,), `options` are plain values, `generator` is the run's
own. init.pt holds the masked weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from study.choice import Option, Registry, Value

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from study.seams.optimizer import Stack

Data = Callable[[], "tuple[Tensor, Tensor]"]
Mask = Callable[["nn.Module", Data, Mapping[str, Value], "torch.Generator"], "Stack | None"]
MASKS: Registry[Mask] = Registry("mask")


def mask(name: str, **options: Option) -> Callable[[Mask], Mask]:
    """Register an entry under its name, with its options."""

    def register(function: Mask) -> Mask:
        MASKS.add(name, function, options, described_by=function)
        return function

    return register


@mask("dense")
def dense(network: nn.Module, data: Data, options: Mapping[str, Value], generator: torch.Generator) -> None:
    """Every weight lives."""
