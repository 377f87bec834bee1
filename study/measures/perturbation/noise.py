"""Noise on the weights: the largest that the training error bears, with a standard error."""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from study.measures.registry import Sampled

if TYPE_CHECKING:
    from torch import Tensor

    from study.measures.context import MeasureContext

RISE = 0.1  # of the training error, as in the public code of Dziugaite et al. 2020
STANDARD_ERROR = 0.05  # of a value, at which drawing stops; ours
HALVINGS = 4  # of the interval of log2 sigma, 1 wide at first; what is left is interpolated; ours
_OCTAVES = 20  # on either side of the start, where a search ends without a value

Rises = Callable[[float, slice], "Tensor"]


def noise(ctx: MeasureContext, like: Tensor, n: int) -> Iterator[Tensor]:
    """n standard normal vectors, one after the other: the same for all networks with as many parameters."""
    import torch

    generator = ctx.common_generator("noise")
    for _ in range(n):
        yield torch.randn(like.shape, generator=generator).to(like)


def stopped_mean(drawn: Iterable[float], least: int) -> Sampled:
    """The mean of draws, `least` at first and then until its standard error is STANDARD_ERROR of it, or none is left.

    To stop where the spread looks small has a price: by 3,000 resamples each of 600 draws of `sharpness_mean`, of four
    LeNet5 at two stops, the value comes out 0.3 to 1.4% low and two of its standard errors hold the truth in 87 to 93%
    (tests/benchmarks/stopping.json); of ten normal draws always they hold it in 92%. Raises ValueError for fewer draws.
    """
    import torch

    found: list[float] = []
    mean = error = math.nan
    for value in drawn:
        found.append(value)
        if len(found) >= least:
            values = torch.tensor(found, dtype=torch.float64)
            mean, error = float(values.mean()), float(values.std()) / math.sqrt(len(found))
            if error <= STANDARD_ERROR * abs(mean):
                break
    if len(found) < least:
        raise ValueError(f"{len(found)} draws, allowed: {least} or more")
    return Sampled(mean, error)


@dataclass(frozen=True)
class Level:
    """log2 of the noise at which the training error has risen by RISE, and its standard error over the draws."""

    log2_sigma: float
    standard_error: float


def largest_noise(
    rises: Rises, start: float, draws: int, most: int, halvings: int = HALVINGS, least: float = -1.0
) -> Level:
    """The level at which the mean over draws of rises(log2 sigma, draws) goes over RISE, sought from `start` on.

    Each draw is the same noise at every level. `draws` are taken first, then as many again until the standard error of
    1 / sigma^2 is STANDARD_ERROR of it, `most` in all; but only where something hangs on them: rises below the levels
    of a crossing are taken to be no larger. No rise is under `least`. Raises ValueError where no noise reaches RISE, or
    any exceeds it.
    """
    levels, n = _Levels(rises, least), draws
    at, near = _approach(lambda level: levels.is_over(level, draws), start, halvings)
    while True:
        found = _level(levels, sorted(at), n, near)
        if 2 * math.log(2) * found.standard_error <= STANDARD_ERROR or n >= most:
            return found
        near, n = found.log2_sigma, min(2 * n, most)
        at = sorted(at, key=lambda level: abs(level - near))[: halvings + 3]


class _Levels:
    """The rises at each level, of as many draws as were needed so far."""

    def __init__(self, rises: Rises, least: float) -> None:
        self._rises, self._least = rises, least
        self._taken: dict[float, Tensor] = {}

    def take(self, at: float, n: int) -> Tensor:
        """Those of the first n draws (n,)."""
        import torch

        taken = self._taken.get(at, torch.empty(0, dtype=torch.float64))
        if len(taken) < n:
            self._taken[at] = taken = torch.cat([taken, self._rises(at, slice(len(taken), n))])
        return taken[:n]

    def is_over(self, at: float, n: int) -> bool:
        """Whether the mean of n draws is over RISE, by no more of them than it takes to be sure."""
        for k in range(1, n):
            if float(self.take(at, k).sum()) + (n - k) * self._least > n * RISE + 1e-9:
                return True
        return float(self.take(at, n).mean()) > RISE

    def curves(self, at: list[float], n: int) -> Tensor:
        """All of them (n, levels), NaN where n draws are not taken."""
        import torch

        found = torch.full((n, len(at)), math.nan, dtype=torch.float64)
        for i, level in enumerate(at):
            if len(self._taken.get(level, ())) >= n:
                found[:, i] = self.take(level, n)
        return found


def _level(levels: _Levels, at: list[float], n: int, near: float) -> Level:
    """The crossing of the mean curve, expected near a level, and the jackknife over its n draws."""
    import torch

    above = bisect.bisect(at, near)
    wanted = {above - 1, above} & set(range(len(at)))
    while wanted:
        for i in wanted:
            levels.take(at[i], n)
        curves = levels.curves(at, n)
        mean = curves.mean(0).tolist()
        others = [torch.cat([curves[:k], curves[k + 1 :]]).mean(0).tolist() for k in range(n)]
        wanted = {place for place in map(_missing, (mean, *others)) if place is not None}
    jackknife = torch.tensor([_crossing(at, other) for other in others], dtype=torch.float64)
    return Level(_crossing(at, mean), math.sqrt((n - 1) * float(jackknife.var(unbiased=False))))


def _missing(rises: list[float]) -> int | None:
    """Where the next rise is to be taken for the crossing of a curve, NaN where it is not; None: nowhere."""
    over = next((i for i, value in enumerate(rises) if value > RISE), None)
    if over is not None:
        return over - 1 if over and math.isnan(rises[over - 1]) else None
    beyond = 1 + max(i for i, value in enumerate(rises) if not math.isnan(value))
    return beyond if beyond < len(rises) else None


def _approach(is_over: Callable[[float], bool], start: float, halvings: int) -> tuple[list[float], float]:
    """log2 sigmas ever closer to where the rise is RISE, and the middle of the last two; the farthest are not asked."""
    asked: dict[float, None] = {}

    def over(at: float) -> bool:
        asked[at] = None
        return is_over(at)

    at = float(math.floor(start))
    while over(at):
        at -= 1
        if at < start - _OCTAVES:
            raise ValueError(f"sigma: {2.0**at:.3g}: the training error rises by more than {RISE} at any noise")
    while not over(at + 1):
        at += 1
        if at > start + _OCTAVES:
            raise ValueError(f"sigma: {2.0**at:.3g}: the training error does not rise by {RISE} at any noise")
    low, high = at, at + 1
    asked |= dict.fromkeys((low - 1, high + 1))  # the jackknife's crossings may lie there
    for _ in range(halvings):
        middle = (low + high) / 2
        low, high = (low, middle) if over(middle) else (middle, high)
    return list(asked), (low + high) / 2


def _crossing(at: list[float], rises: list[float]) -> float:
    """Where a curve first goes over RISE, linear between its points; its first or last point if it does not."""
    over = next((i for i, value in enumerate(rises) if value > RISE), len(at))
    if over in (0, len(at)):
        return at[min(over, len(at) - 1)]
    share = (RISE - rises[over - 1]) / (rises[over] - rises[over - 1])
    return at[over - 1] + share * (at[over] - at[over - 1])
