"""Noise on the weights: the largest that the training error bears, with a standard error."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from study.seeds import generator_for

if TYPE_CHECKING:
    from torch import Tensor

RISE = 0.1  # of the training error, as in the public code of Dziugaite et al. 2020
STANDARD_ERROR = 0.05  # of a value, at which drawing stops; ours
HALVINGS = 4  # of the interval of log2 sigma, 1 wide at first; what is left is interpolated; ours
_OCTAVES = 20  # on either side of the start, where a search ends without a value

Rises = Callable[[float, slice], "Tensor"]


def noise(like: Tensor, n: int) -> Iterator[Tensor]:
    """Standard normal vectors, one after the other: the same for all networks with as many parameters."""
    import torch

    generator = generator_for("common", "measure", "noise")
    for _ in range(n):
        yield torch.randn(like.shape, generator=generator).to(like)


@dataclass(frozen=True)
class Level:
    """log2 of the noise at which the training error has risen by RISE, and its standard error over the draws."""

    log2_sigma: float
    standard_error: float


def largest_noise(rises: Rises, start: float, draws: int, most: int, halvings: int = HALVINGS) -> Level:
    """The level at which the mean over draws of rises(log2 sigma, draws) goes over RISE, sought from `start` on.

    Each draw is the same noise at every level. `draws` are taken first, then as many again until the standard error of
    1 / sigma^2 is STANDARD_ERROR of it, `most` in all. Raises ValueError where no noise reaches it, or any exceeds it.
    """
    import torch

    visited: dict[float, Tensor] = {}

    def rise(at: float) -> float:
        if at not in visited:
            visited[at] = rises(at, slice(0, draws))
        return float(visited[at].mean())

    _approach(rise, start, halvings)
    while True:
        found = _level(visited)
        n = len(next(iter(visited.values())))
        if 2 * math.log(2) * found.standard_error <= STANDARD_ERROR or n >= most:
            return found
        near = sorted(visited, key=lambda at: abs(at - found.log2_sigma))[: halvings + 3]
        more = slice(n, min(2 * n, most))
        visited = {at: torch.cat([visited[at], rises(at, more)]) for at in near}


def _level(visited: dict[float, Tensor]) -> Level:
    """The crossing of the mean curve, and the jackknife over its draws."""
    import torch

    at = sorted(visited)
    curves = torch.stack([visited[a] for a in at], 1)  # (draws, levels)
    n = len(curves)
    root = _crossing(at, curves.mean(0).tolist())
    others = [torch.cat([curves[:k], curves[k + 1 :]]).mean(0).tolist() for k in range(n)]
    jackknife = torch.tensor([_crossing(at, other) for other in others], dtype=torch.float64)
    return Level(root, math.sqrt((n - 1) * float(jackknife.var(unbiased=False))))


def _approach(rise: Callable[[float], float], start: float, halvings: int) -> None:
    """Ask for the rise at log2 sigmas ever closer to where it is RISE."""
    at = float(math.floor(start))
    while rise(at) > RISE:
        at -= 1
        if at < start - _OCTAVES:
            raise ValueError(f"sigma: {2.0**at:.3g}: the training error rises by more than {RISE} at any noise")
    while rise(at + 1) <= RISE:
        at += 1
        if at > start + _OCTAVES:
            raise ValueError(f"sigma: {2.0**at:.3g}: the training error does not rise by {RISE} at any noise")
    low, high = at, at + 1
    for beside in (low - 1, high + 1):  # the jackknife's crossings may lie there
        rise(beside)
    for _ in range(halvings):
        middle = (low + high) / 2
        low, high = (middle, high) if rise(middle) <= RISE else (low, middle)


def _crossing(at: list[float], rises: list[float]) -> float:
    """Where a curve first goes over RISE, linear between its points; its first or last point if it does not."""
    over = next((i for i, value in enumerate(rises) if value > RISE), len(at))
    if over in (0, len(at)):
        return at[min(over, len(at) - 1)]
    share = (RISE - rises[over - 1]) / (rises[over] - rises[over - 1])
    return at[over - 1] + share * (at[over] - at[over - 1])
