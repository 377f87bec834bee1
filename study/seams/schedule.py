"""The seam `schedule`: learning rate and other coefficients over time.

An entry is `(coefficients, time) -> coefficients`. `coefficients[field][option]` holds a vector (networks,) or a plain
value: lr, momentum, weight_decay and the optimizer's options under "optimizer", the options of a seam, those of the
schedule itself among them, under its name. Momentum, weight_decay and the schedule's own numbers are there only where
not all are 0. It is asked before each step; what is unchanged may be returned as it is, what is changed is a new
mapping.

The entries here multiply one coefficient, `of`, by a factor: lr, momentum, weight_decay, or a number among the options
of the run's optimizer, update, objective or batch (the first that has it), e.g. rho of `sam`. Each starts with a linear
warm-up of `warmup` epochs: step k of its n steps takes k / n of the coefficient.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from study.choice import Check, ConfigError, Option, Registry, Value, integer, number, words
from study.seams.batch import BATCHES
from study.seams.objective import OBJECTIVES
from study.seams.optimizer import OPTIMIZERS
from study.seams.update import UPDATES

if TYPE_CHECKING:
    from torch import Tensor

Coefficients = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Time:
    """How far each network is: `epochs_done` and `max_epochs`, vectors (networks,); part of the epoch now running.

    `n_steps` is the number of steps in an epoch. `part` is a tensor () where the step is recorded to be replayed.
    """

    epochs_done: Tensor
    max_epochs: Tensor
    part: float | Tensor
    n_steps: int

    @property
    def epochs(self) -> Tensor:
        """Epochs trained before this step, with the fraction of the one now running, (networks,)."""
        return self.epochs_done + self.part


Schedule = Callable[[Coefficients, Time], Coefficients]
SCHEDULES: Registry[Schedule] = Registry("schedule")


def schedule(name: str, *, check: Check | None = None, **options: Option) -> Callable[[Schedule], Schedule]:
    """Register an entry under its name, with its options and what it cannot go with."""

    def register(function: Schedule) -> Schedule:
        SCHEDULES.add(name, function, options, described_by=function, check=check)
        return function

    return register


_MOVED: dict[str, Registry[Any]] = {
    "optimizer": OPTIMIZERS, "update": UPDATES, "objective": OBJECTIVES, "batch": BATCHES,
}  # fmt: skip
_COMMON = {
    "of": words(
        "lr", str.isidentifier, "lr, momentum, weight_decay, or a number of the optimizer, update, objective or batch"
    ),
    "warmup": number(0.0, least=0),
}


def _fits(name: str, *, ends: Callable[[Mapping[str, Value]], float] | None = None, end: str = "") -> Check:
    """A check that `of` is a coefficient of the run, and that nothing begins when training is over."""

    def check(options: Mapping[str, Value], run: Mapping[str, Any]) -> None:
        fields = {"lr", "weight_decay"} | (
            {"momentum"} if OPTIMIZERS[run["optimizer"].name].momentum != "none" else set()
        )
        own = fields.union(*(r.stacked(run[field]) for field, r in _MOVED.items()))
        if options["of"] not in own:
            raise ConfigError(f"schedule.{name}.of", options["of"], "allowed in this run: " + ", ".join(sorted(own)))
        last = {"warmup": options["warmup"], **({end: ends(options)} if ends else {})}
        for option, epochs in last.items():
            if float(epochs) >= run["max_epochs"]:
                text = f"allowed: less than max_epochs = {run['max_epochs']}"
                raise ConfigError(f"schedule.{name}.{option}", options[option], text)

    return check


def _epochs(at: str) -> list[int]:
    """The epochs in "60-80-90"."""
    return [int(epoch) for epoch in at.split("-")]


def _growing(at: str) -> bool:
    parts = at.split("-")
    if not all(part.isascii() and part.isdigit() and part[0] != "0" for part in parts):
        return False
    return all(a < b for a, b in zip([0, *_epochs(at)], _epochs(at), strict=False))


@schedule("constant", check=_fits("constant"), **_COMMON)
def constant(coefficients: Coefficients, time: Time) -> Coefficients:
    """All as the config says, from the first step, or from the end of the warm-up, to the last."""
    return _times(coefficients, time, None)


@schedule(
    "step", check=_fits("step", ends=lambda options: float(options["every"]), end="every"),
    every=integer(30, least=1, stacked=True), factor=number(0.1, least=0), **_COMMON,
)  # fmt: skip
def step(coefficients: Coefficients, time: Time) -> Coefficients:
    """Times `factor` after every `every` epochs, as torch.optim.lr_scheduler.StepLR; the defaults are ours."""
    own = coefficients["schedule"]
    return _times(coefficients, time, own.get("factor", 0.0) ** (time.epochs_done // own["every"]))


@schedule(
    "drops", check=_fits("drops", ends=lambda options: _epochs(str(options["at"]))[-1], end="at"),
    at=words("60-80", _growing, "epochs that grow, in quotes, e.g. '60-80-90'"), factor=number(0.1, least=0), **_COMMON,
)  # fmt: skip
def drops(coefficients: Coefficients, time: Time) -> Coefficients:
    """Times `factor` after each of the epochs `at`, as torch.optim.lr_scheduler.MultiStepLR; the defaults are ours."""
    own = coefficients["schedule"]
    n_drops = sum((time.epochs_done >= epoch).double() for epoch in _epochs(own["at"]))
    return _times(coefficients, time, own.get("factor", 0.0) ** n_drops)


@schedule("cosine", check=_fits("cosine"), floor=number(0.0, least=0), **_COMMON)
def cosine(coefficients: Coefficients, time: Time) -> Coefficients:
    """From the end of the warm-up to max_epochs along half a cosine, a new value each step, to `floor` times itself."""
    own = coefficients["schedule"]
    floor, warmup = own.get("floor", 0.0), own.get("warmup", 0.0)
    part = ((time.epochs - warmup) / (time.max_epochs - warmup)).clamp(min=0)
    return _times(coefficients, time, floor + (1 - floor) * (1 + (math.pi * part).cos()) / 2)


def _times(coefficients: Coefficients, time: Time, factor: Tensor | None) -> Coefficients:
    """The coefficient `of` times a factor and the warm-up, in float64 and rounded once."""
    own = coefficients["schedule"]
    if "warmup" in own:
        done = ((time.epochs + 1 / time.n_steps) / own["warmup"]).clamp(max=1)
        factor = done if factor is None else done * factor
    if factor is None:
        return coefficients
    for field in _MOVED:
        if (value := coefficients[field].get(own["of"])) is not None:
            return {**coefficients, field: {**coefficients[field], own["of"]: (value * factor).to(value.dtype)}}
    return coefficients  # it is 0 in every network
