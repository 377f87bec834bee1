"""The seam `update`: what is done around one of the optimizers to move the weights.

An entry is `(step) -> None` and moves `step.parameters` in place; no tensor here records gradients. What it keeps from
step to step are buffers of a parameter's shape (`like`, zero at first) or of one number a network (`counters`): it
names them where it registers, and they are saved, stacked and compacted with the optimizer's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from study.choice import Option, Registry
from study.seams.optimizer import Optimizer

if TYPE_CHECKING:
    from study.seams.noise import Noise
    from study.seams.optimizer import Stack


@dataclass(frozen=True)
class Step:
    """One batch of every network of a stack.

    `gradients(parameters)` is that of the objective on this batch, at these or at other weights, with the same dropout;
    norm layers take their statistics from its first call only. `move(gradients)` is the optimizer's step. `state` holds
    buffer -> parameter name -> stack; `options` vectors (networks,) or plain values; `noise` each network's own draws.
    """

    parameters: Stack
    gradients: Callable[[Stack], Stack]
    move: Callable[[Stack], None]
    state: dict[str, Stack]
    options: Mapping[str, Any]
    noise: Noise


@dataclass(frozen=True)
class Update:
    """An entry and the buffers that it keeps."""

    apply: Callable[[Step], None]
    buffers: Optimizer


UPDATES: Registry[Update] = Registry("update")


def update(
    name: str, *, like: tuple[str, ...] = (), counters: tuple[str, ...] = (), **options: Option
) -> Callable[[Callable[[Step], None]], Callable[[Step], None]]:
    """Register an entry under its name, with its buffers and options."""

    def register(function: Callable[[Step], None]) -> Callable[[Step], None]:
        UPDATES.add(name, Update(function, Optimizer((), like, counters)), options, described_by=function)
        return function

    return register


@update("plain")
def plain(step: Step) -> None:
    """The optimizer itself."""
    step.move(step.gradients(step.parameters))
