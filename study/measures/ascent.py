"""The worst perturbation within a ball: gradient ascent whose step halves where it no longer gains, as in auto-PGD."""

from __future__ import annotations

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


def ascend(
    objective: Objective, start: Tensor, scale: Tensor, norm: str, steps: int = STEPS, stop: Callable[[], bool] = bool
) -> float:
    """The largest objective(start + scale * u) found in `steps` steps from u = 0, over ||u|| <= 1 in `norm`.

    `norm` is "linf" or "l2". It is the same for start and scale multiplied elementwise by one vector that leaves the
    objective, since steps are taken in u. Ends early where `stop` says so. Source: Croce and Hein 2020 (2003.01690),
    whose text was not read. Cost: `steps` + 1 forward and backward passes.
    """
    import torch

    def at(u: Tensor) -> tuple[float, Tensor]:
        given = (start + scale * u).requires_grad_()
        with torch.enable_grad():
            value = objective(given)
            (gradient,) = torch.autograd.grad(value, given)
        return value.item(), gradient * scale

    u = previous = torch.zeros_like(start)
    value, gradient = at(u)
    best = checked = (value, u, gradient)
    step, halved, gains, since = 2.0, False, 0, 0
    checks = _checks(steps)
    for k in range(1, steps + 1):
        if stop() or not math.isfinite(value):
            break
        moved = _projected(u + step * _direction(gradient, norm), norm)
        if k > 1:
            moved = _projected(u + _MOMENTUM * (moved - u) + (1 - _MOMENTUM) * (u - previous), norm)
        previous, u, last = u, moved, value
        value, gradient = at(u)
        gains, since = gains + (value > last), since + 1
        if value > best[0]:
            best = (value, u, gradient)
        if k in checks:
            if gains < _ENOUGH * since or (not halved and best[0] == checked[0]):
                step, halved = step / 2, True
                value, u, gradient = best
                previous = u
            else:
                halved = False
            checked, gains, since = best, 0, 0
    return best[0]


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
