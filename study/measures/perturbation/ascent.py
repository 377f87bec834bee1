"""The worst perturbation within a ball: gradient ascent whose step halves where it no longer gains, as in auto-PGD."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

STEPS = 20
_MOMENTUM = 0.75  # the constants of auto-PGD, as recalled
_FIRST_CHECK, _SOONER, _LEAST = 0.22, 0.03, 0.06
_ENOUGH = 0.75  # of the steps since the last check must gain

Objective = Callable[["Tensor"], "Tensor"]


class Point:
    """The value of an objective at a place, and its gradient there, which is taken when it is first asked for."""

    def __init__(self, objective: Objective, at: Tensor) -> None:
        import torch

        self._at = at.detach().requires_grad_()
        with torch.enable_grad():
            self._result = objective(self._at)
        self.value = self._result.item()

    @functools.cached_property
    def gradient(self) -> Tensor:
        """Of the objective, by one backward pass."""
        import torch

        (found,) = torch.autograd.grad(self._result, self._at)
        return found


def ascend(
    objective: Objective, start: Tensor, scale: Tensor, norm: str, steps: int = STEPS,
    stop: Callable[[], bool] = bool, origin: Point | None = None,
) -> float:  # fmt: skip
    """The largest objective(start + scale * u) found in `steps` steps from u = 0, over ||u|| <= 1 in `norm`.

    `norm` is "linf" or "l2". It is the same for start and scale multiplied elementwise by one vector that leaves the
    objective, since steps are taken in u. Ends early where `stop` says so. `origin` is the objective at `start`, for
    who ascends from there more than once. Source: Croce and Hein 2020 (2003.01690), whose text was not read. Cost:
    `steps` + 1 forward passes and at most `steps` backward.
    """
    import torch

    u = previous = torch.zeros_like(start)
    point = origin or Point(objective, start)
    best, at_best = point, u
    checked = point.value
    step, halved, gains, since = 2.0, False, 0, 0
    checks = _checks(steps)
    for k in range(1, steps + 1):
        if stop() or not math.isfinite(point.value):
            break
        moved = _projected(u + step * _direction(point.gradient * scale, norm), norm)
        if k > 1:
            moved = _projected(u + _MOMENTUM * (moved - u) + (1 - _MOMENTUM) * (u - previous), norm)
        previous, u, last = u, moved, point.value
        point = Point(objective, start + scale * u)
        gains, since = gains + (point.value > last), since + 1
        if point.value > best.value:
            best, at_best = point, u
        if k in checks:
            halved = gains < _ENOUGH * since or (not halved and best.value == checked)
            if halved:
                step = step / 2
                point, u = best, at_best
                previous = u
            checked, gains, since = best.value, 0, 0
    return best.value


def _checks(steps: int) -> set[int]:
    """The steps after which the step size is looked at: ever closer together."""
    found, at, width = set(), _FIRST_CHECK, _FIRST_CHECK
    while at < 1:
        found.add(math.ceil(at * steps))
        width = max(width - _SOONER, _LEAST)
        at += width
    return found


def _direction(gradient: Tensor, norm: str) -> Tensor:
    return gradient.sign() if norm == "linf" else gradient / gradient.norm().clamp(min=1e-300)


def _projected(u: Tensor, norm: str) -> Tensor:
    return u.clamp(-1, 1) if norm == "linf" else u / u.norm().clamp(min=1)
