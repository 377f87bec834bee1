"""Tau-a, tau-b and Pearson of two vectors, with what intervals for new levels need of them.

Conventions. A missing value (NaN) leaves its run out of that one coefficient, whose n says so; an infinity is an
ordered value for every rank statistic and makes Pearson undefined. tau-a = mean over ordered pairs of sign(dm) sign(dg)
(Jiang et al. 2020): a constant measure scores 0. tau-b corrects for ties (scipy's kendalltau): a constant gives NaN.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.statistics.association.weighted import WITH_INTERVAL, WeightedSums
from analysis.statistics.resampling.design import NONE, Design, Resampling, unrelated
from analysis.statistics.resampling.resample import FEW, Interval, interval, p_of_zero

Floats = NDArray[np.float64]
A = TypeVar("A")
B = TypeVar("B")
RESAMPLES = 2000
_WORKERS = min(4, os.cpu_count() or 1)


@dataclass(frozen=True)
class Coefficients:
    """Coefficients of one measure with one target, with what intervals and paired differences need.

    Keyed by the names in WITH_INTERVAL: `point`, the value; `replicates`, (B,), empty where nothing was resampled,
    which `without` explains; `jackknife`, (levels,), empty where those of several axes were drawn (see design).
    `probability` (B,) is that of each replicate where they are all that can be drawn, else None: as many resamples.
    `note` says in words why a coefficient is undefined, `resampled` the axes whose levels were drawn.
    """

    n: int
    n_configurations: int
    point: dict[str, float]
    replicates: dict[str, Floats] = field(default_factory=dict)
    jackknife: dict[str, Floats] = field(default_factory=dict)
    probability: Floats | None = None
    note: str = ""
    resampled: tuple[str, ...] = ()
    without: str = "no resamples were asked"

    def p_of_zero(self, name: str) -> float:
        """p of a coefficient of zero, below .05 where the 95% interval leaves zero out (see resample.p_of_zero)."""
        return p_of_zero(lambda level: self.interval(name, level), self.draws)

    @property
    def draws(self) -> int:
        """How many resamples an interval is read from; 0 where it is of all draws, the jackknife's, or none."""
        count = len(next(iter(self.replicates.values()), ())) if self.probability is None else 0
        return count if len(next(iter(self.jackknife.values()), range(FEW))) >= FEW else 0

    def interval(self, name: str, level: float = 0.95) -> Interval:
        """Interval of one coefficient (see resample.interval); NaN bounds with a reason where there is none."""
        if name not in self.replicates:
            return Interval(np.nan, np.nan, self.without)
        return interval(self.point[name], self.replicates[name], self.jackknife.get(name), level, self.probability)


def tau(x: ArrayLike, y: ArrayLike, variant: str = "b") -> float:
    """Kendall's tau of two vectors (n,), without missing pairs; variant "a" or "b". Cost O(256 n)."""
    if variant not in ("a", "b"):
        raise ValueError(f"variant: {variant}: allowed are a, b")
    return coefficients(x, y, resamples=0).point[f"tau_{variant}"]


def coefficients(
    x: ArrayLike,
    y: ArrayLike,
    over: Design | ArrayLike | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Coefficients:
    """Correlate two vectors (n,), resampling the levels of the axes of a design.

    `over`: the design, or numbers (n,) of configurations that share nothing (default: each run is one). The resamples
    depend on seed and numbers of levels alone, so that two measures of the same runs are resampled together. Cost
    O((cells^2 + n) resamples), a cell being a setting of the axes drawn; with more than 4,096 cells O(256 n resamples).
    Memory O(n 250).
    """
    a, b, there = complete(x, y)
    whole = over if isinstance(over, Design) else unrelated(np.arange(len(there)) if over is None else over)
    of_runs = whole.where(there)
    drawn = of_runs.resampling
    # Its own bytes, of all that the draws depend on: two designs of the same cells may be nested otherwise.
    parts = [a, b, of_runs.configuration, drawn.unit, drawn.cells, *(axis.stratum for axis in drawn.axes)]
    shapes = repr(([p.shape for p in parts], drawn.names, resamples, seed)).encode()
    digest = hashlib.blake2b(b"".join([shapes, *(p.tobytes() for p in parts)]), digest_size=16).digest()
    return _coefficients(_Question(digest, a, b, of_runs.configuration, drawn, resamples, seed))


def coefficients_of_many(
    pairs: Sequence[tuple[Floats, Floats]], over: Design | ArrayLike, resamples: int = RESAMPLES, seed: int = 0
) -> list[Coefficients]:
    """`coefficients` of each (x, y), two at a time where there are two cores; the numbers do not depend on that."""
    return spread(lambda p: coefficients(p[0], p[1], over, resamples, seed), pairs)


def under_weights(
    x: Floats, y: Floats, groups: NDArray[np.int64], chunks: Iterable[NDArray[np.float32]]
) -> Coefficients:
    """Coefficients of two or more runs without a missing value; a replicate for each column of weights on runs (n,).

    `groups` (n,) are their configurations, which are counted. See WeightedSums.weighted for weights and cost.
    """
    whole = coefficients(x, y, groups, resamples=0)
    return replace(whole, replicates=WeightedSums(x, y, np.arange(len(x))).weighted(chunks))


def spread(work: Callable[[A], B], items: Iterable[A]) -> list[B]:
    """`work` of each item, in order, over the cores: numpy computes outside Python's lock, so threads do."""
    with ThreadPoolExecutor(_WORKERS) as pool:
        return list(pool.map(work, items))


@dataclass(frozen=True)
class _Question:
    """Complete vectors to correlate; equal when their bytes are."""

    digest: bytes
    x: Floats = field(compare=False)
    y: Floats = field(compare=False)
    group: NDArray[np.int64] = field(compare=False)
    drawn: Resampling = field(compare=False)
    resamples: int = field(compare=False)
    seed: int = field(compare=False)


# Several tables and figures ask for the same coefficient: it is computed once. An answer of 10,000 runs is 100 kB.
@lru_cache(maxsize=2048)
def _coefficients(asked: _Question) -> Coefficients:
    x, y, group, drawn = asked.x, asked.y, asked.group, asked.drawn
    n_groups = int(group.max(initial=-1)) + 1
    if len(x) < 2:
        undefined = dict.fromkeys(WITH_INTERVAL, np.nan)
        why = f"undefined: {len(x)} run{'s' * (len(x) != 1)} with a value"
        return Coefficients(len(x), n_groups, undefined, note=why, without=why)
    sums = WeightedSums(x, y, drawn.unit if drawn.axes else group)
    point = {name: float(v[0]) for name, v in sums.all_rows().items()}
    note = _why_undefined(x, y)
    if np.isnan(point["pearson"]) and not note:
        note = "Pearson NaN: the values differ by rounding alone"
    found = Coefficients(len(x), n_groups, point, note=note, resampled=drawn.names)
    if not asked.resamples or not drawn.axes:
        return found if drawn.axes else replace(found, without=NONE)
    if drawn.is_single:
        return replace(found, replicates=sums.resampled(asked.resamples, asked.seed), jackknife=sums.leave_one_out())
    replicates = sums.weighted(drawn.chunks(asked.resamples, asked.seed))
    return replace(found, replicates=replicates, probability=drawn.probability)


def complete(x: ArrayLike, y: ArrayLike) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """The runs at which neither x nor y is NaN: x and y of those, and which of all (n,) they are."""
    a, b = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape:
        raise ValueError(f"x and y: {a.shape} and {b.shape}: two vectors of one length are allowed")
    there = ~(np.isnan(a) | np.isnan(b))
    return a[there], b[there], there


def scaled(x: Floats) -> Floats:
    """A vector (n,) times a power of two, so that squares neither overflow nor vanish; no digit changes."""
    largest = float(np.abs(x).max(initial=0.0))
    return np.asarray(np.ldexp(x, -int(np.frexp(largest)[1]))) if 0 < largest < np.inf else x


def _why_undefined(x: Floats, y: Floats) -> str:
    reasons = [f"tau-b NaN: the {name} is constant" for name, v in (("measure", x), ("target", y)) if (v == v[0]).all()]
    infinite = int((np.isinf(x) | np.isinf(y)).sum())
    if infinite:
        reasons.append(f"Pearson NaN: {infinite} infinite values")
    return "; ".join(reasons)
