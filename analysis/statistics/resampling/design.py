"""What an interval for new levels resamples: the levels of the axes that a grid crosses.

Source: Owen, The pigeonhole bootstrap, Annals of Applied Statistics 1, 2007, of two axes; Owen and Eckles,
arXiv:1106.2125, of any number: mildly conservative (of both the abstracts were read).

Networks of a grid are not independent, nor are its configurations: those that share a level share its effect. Here the
levels of each axis that has three or more are drawn with replacement, independently of the other axes, and a network
counts the product of how often its levels were drawn. Where there are few ways to do so (1,225 of 4 x 4 levels) all
are taken, each with its probability: no seed moves such an interval. Missing cells are absent. An axis that is nested
in others (learning rates of an optimizer) is drawn within each of their settings; an axis of two levels stays as it is.
Where one axis alone is drawn, and is nested in none, its levels are resampled as unrelated configurations are (see
resample).
Where none is drawn, or more than one resample in twenty has no value, there is no interval for new levels.

How often these intervals hold the truth is simulated on the designs of the published studies: `make bench-coverage`,
its table in the paper's appendix (tests/benchmarks/coverage.py).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from analysis.columns import codes, joined, pairs_of, varying, zipped
from analysis.statistics.resampling.resample import multiplicities

Floats = NDArray[np.float32]
Probabilities = NDArray[np.float64]
Ints = NDArray[np.int64]
LEAST = 3  # levels of an axis that is drawn: of two, half of all resamples would hold one alone; ours
NONE = "no axis has three levels in one setting"  # why there is no interval for new levels
MOST = 4096  # ways to draw all levels up to which each is taken; ours
_CHUNK = 250  # resamples at a time, to bound memory; ours


@dataclass(frozen=True)
class Axis:
    """An axis of a grid: each run's level (n,), numbered from 0, and the setting that each level is nested in."""

    name: str
    level: Ints
    stratum: Ints

    @property
    def is_drawn(self) -> bool:
        """Whether LEAST levels are there, in one of the settings that they are nested in."""
        return int(np.bincount(self.stratum).max()) >= LEAST


@dataclass(frozen=True)
class Design:
    """The runs of a grid: each one's configuration (n,), numbered from 0, and the axes."""

    configuration: Ints
    axes: tuple[Axis, ...]
    _parts: dict[bytes, Design] = field(default_factory=dict, repr=False, compare=False)

    def where(self, there: NDArray[np.bool_]) -> Design:
        """The design of some of the runs: of those, an axis may have fewer levels. Kept: many measures ask for it."""
        if there.all():
            return self
        asked = there.tobytes()
        if asked not in self._parts:
            levels = {axis.name: axis.level[there] for axis in self.axes}
            self._parts[asked] = _design(self.configuration[there], levels)
        return self._parts[asked]

    @cached_property
    def resampling(self) -> Resampling:
        """What is drawn: the levels of every axis that has enough of them."""
        drawn = tuple(axis for axis in self.axes if axis.is_drawn)
        if not drawn:
            return Resampling(np.zeros(len(self.configuration), dtype=np.int64), np.zeros((0, 1), dtype=np.int64), ())
        each = np.stack([axis.level for axis in drawn])
        cells, unit = np.unique(each, axis=1, return_inverse=True)
        return Resampling(unit.reshape(-1).astype(np.int64), cells, drawn)


@dataclass(frozen=True)
class Resampling:
    """What is drawn: units, which are settings of the drawn axes, `cells` (axes, units); `unit` (n,) is each run's."""

    unit: Ints
    cells: Ints
    axes: tuple[Axis, ...]

    @property
    def is_single(self) -> bool:
        """Whether units are the levels of one axis, nested in none, which can be left out one at a time."""
        return len(self.axes) == 1 and not self.axes[0].stratum.any()

    @property
    def names(self) -> tuple[str, ...]:
        """The axes whose levels are drawn; empty where there are none."""
        return tuple(axis.name for axis in self.axes)

    @cached_property
    def probability(self) -> Probabilities | None:
        """The probability of each of `chunks`, (B,), where all ways to draw are taken; None where some are, or none."""
        every = None if self.is_single or not self.axes else every_draw(self._strata, MOST)
        return every[1] if every else None

    def chunks(self, resamples: int, seed: int) -> Iterator[Floats]:
        """How often each unit counts, (units, B), a chunk at a time: in every way to draw, or in so many resamples.

        It depends on seed and numbers of levels alone, so that two measures of the same runs are drawn together.
        """
        if self.is_single:
            draws = [multiplicities(self.cells.shape[1], resamples, seed)]
        elif every := every_draw(self._strata, MOST):
            draws = every[0]
        else:
            draws = [drawn_levels(stratum, place, resamples, seed) for place, stratum in enumerate(self._strata)]
        for at in range(0, draws[0].shape[1], _CHUNK):
            each = [drawn[level, at : at + _CHUNK] for level, drawn in zip(self.cells, draws, strict=True)]
            yield np.prod(each, axis=0)

    @property
    def _strata(self) -> tuple[tuple[int, ...], ...]:
        return tuple(tuple(axis.stratum.tolist()) for axis in self.axes)


def design(frame: pd.DataFrame) -> Design:
    """The design of a records frame of one stop. The seed is no axis; what was only changed together is one."""
    levels = {name: codes(frame, [name]) for name in varying(frame)}
    return _design(joined(list(levels.values()), len(frame)), levels)  # as columns.configurations numbers them


def unrelated(groups: ArrayLike) -> Design:
    """Configurations that share nothing, numbered by `groups` (n,)."""
    number = np.unique(np.asarray(groups), return_inverse=True)[1].reshape(-1).astype(np.int64)
    return _design(number, {"configuration": number})


@lru_cache(maxsize=16)
def every_draw(strata: tuple[tuple[int, ...], ...], most: int) -> tuple[list[Floats], Probabilities] | None:
    """Every way to draw the levels of some axes: how often each level is drawn, (levels, B) an axis, and probabilities.

    As `drawn_levels` draws them. None where there are more than `most`; the arrays are shared and read-only.
    """
    drawn = [(place, own) for place, stratum in enumerate(strata) for own in _settings(stratum) if len(own) >= LEAST]
    if math.prod(math.comb(2 * len(own) - 1, len(own)) for _, own in drawn) > most:
        return None
    ways = [_ways(len(own)) for _, own in drawn]
    which = np.indices([len(chance) for _, chance in ways]).reshape(len(ways), -1)
    probability = np.prod([chance[i] for (_, chance), i in zip(ways, which, strict=True)], axis=0)
    counts = [np.ones((len(stratum), len(probability)), dtype=np.float32) for stratum in strata]
    for (place, own), (way, _), i in zip(drawn, ways, which, strict=True):
        counts[place][own] = way[i].T
    for each in (*counts, probability):
        each.flags.writeable = False
    return counts, probability


def _settings(stratum: tuple[int, ...]) -> list[Ints]:
    """The levels of each setting that an axis is nested in."""
    return [np.flatnonzero(np.equal(stratum, setting)) for setting in range(max(stratum) + 1)]


def _ways(k: int) -> tuple[Ints, Probabilities]:
    """How often each of k levels is drawn in k draws: every way (B, k), and its multinomial probability (B,)."""
    drawn = itertools.combinations_with_replacement(range(k), k)
    ways = np.array([np.bincount(each, minlength=k) for each in drawn])
    orders = [math.factorial(k) // math.prod(map(math.factorial, way)) for way in ways.tolist()]
    return ways, np.array(orders) / k**k


@lru_cache(maxsize=16)
def drawn_levels(stratum: tuple[int, ...], place: int, resamples: int, seed: int) -> Floats:
    """How often each level of an axis is drawn, among those of its stratum; shape (levels, resamples).

    Levels of a stratum with fewer than LEAST stay, each once. `place`: two axes of four levels are not drawn alike. It
    depends on its arguments alone: every measure of a grid asks for the same. The array is shared and read-only.
    """
    generator = np.random.default_rng([seed, place, len(stratum), resamples])
    counts = np.ones((len(stratum), resamples), dtype=np.float32)
    for own in _settings(stratum):
        if len(own) >= LEAST:
            counts[own] = generator.multinomial(len(own), np.full(len(own), 1 / len(own)), size=resamples).T
    counts.flags.writeable = False
    return counts


def _design(configuration: Ints, levels: Mapping[str, Ints]) -> Design:
    number = np.unique(configuration, return_inverse=True)[1].reshape(-1).astype(np.int64)
    each = zipped(levels)
    axes = []
    for name, level in each.items():
        n_levels, first = int(level.max()) + 1, np.unique(level, return_index=True)[1]
        parents = [p[first] for p in each.values() if p.max() + 1 < n_levels == pairs_of(level, p)]
        stratum = np.zeros(n_levels, dtype=np.int64)
        if parents:
            stratum = np.unique(np.stack(parents), axis=1, return_inverse=True)[1].reshape(-1)
        axes.append(Axis(name, level, stratum))
    return Design(number, tuple(axes))
