"""The seam `schedule`: learning rate and other coefficients over time.

An entry is `(coefficients, time) -> coefficients`. `coefficients[field][option]` holds a vector (networks,) or a plain
value: lr, momentum and weight_decay under "optimizer" (but for lr, only where not all are 0), the options of a seam,
those of the schedule itself among them, under its name. It is asked before each step; what is unchanged may be returned
as it is, what is changed is a new mapping.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from study.choice import Option, Registry

if TYPE_CHECKING:
    from torch import Tensor

Coefficients = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Time:
    """How far each network is: `epochs_done` and `max_epochs`, vectors (networks,); part of the epoch now running."""

    epochs_done: Tensor
    max_epochs: Tensor
    part: float

    @property
    def epochs(self) -> Tensor:
        """Epochs trained before this step, with the fraction of the one now running, (networks,)."""
        return self.epochs_done + self.part


Schedule = Callable[[Coefficients, Time], Coefficients]
SCHEDULES: Registry[Schedule] = Registry("schedule")


def schedule(name: str, **options: Option) -> Callable[[Schedule], Schedule]:
    """Register an entry under its name, with its options."""

    def register(function: Schedule) -> Schedule:
        SCHEDULES.add(name, function, options, described_by=function)
        return function

    return register


@schedule("constant")
def constant(coefficients: Coefficients, time: Time) -> Coefficients:
    """All as the config says, from the first step to the last."""
    return coefficients
