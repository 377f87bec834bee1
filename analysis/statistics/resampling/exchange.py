"""Which runs stand in whose place: the orders of the levels of a grid's axes, and of the runs of a configuration.

Configurations of a grid are not exchangeable: those that share a level share its effect. Exchanged one by one, under no
relation at all p < .05 came out in 20 to 39% of simulated studies of 4 x 4 crossed levels. So the levels of each axis
are put into another order, independently of the other axes, and whole rows and columns of the grid move.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from analysis.columns import pairs_of
from analysis.statistics.resampling.design import Axis

Ints = NDArray[np.int64]
FULL = 0.5  # share of a grid's cells without which its levels cannot be exchanged: most would meet nothing; ours
_MOST_CELLS = 1_000_000


def orders(axes: Sequence[Axis], free: Sequence[bool]) -> int:
    """In how many orders the levels of the free axes can stand: no p lies below one over it."""
    sizes = [np.bincount(axis.stratum) for axis, is_free in zip(axes, free, strict=True) if is_free]
    return math.prod(math.factorial(int(n)) for each in sizes for n in each)


def coordinates(axes: Sequence[Axis]) -> tuple[Axis, ...]:
    """The axes that say which cell a run is in: without those in which another is nested, whose levels tell theirs."""
    return tuple(
        a for a in axes if not any(pairs_of(a.level, b.level) == len(b.stratum) > len(a.stratum) for b in axes)
    )


def cell_places(axes: Sequence[Axis]) -> tuple[Ints, Ints, str]:
    """Each run's cell (n,), the cells' levels (axes, cells), and why they cannot be exchanged, if so."""
    levels = np.stack([axis.level for axis in axes])
    cells, cell = np.unique(levels, axis=1, return_inverse=True)
    possible = math.prod(len(axis.stratum) for axis in axes)
    reason = ""
    if possible > _MOST_CELLS or cells.shape[1] < FULL * possible:
        reason = f"{cells.shape[1]:,} of the grid's {possible:,} cells are there: too few to exchange its levels"
    return cell.reshape(-1).astype(np.int64), cells, reason


def level_orders(
    axes: Sequence[Axis], free: Sequence[bool], cells: Ints, permutations: int, seed: int
) -> Iterator[Ints]:
    """Which cell stands in each cell's place, -1 where it is absent: (cells, B) a chunk; all orders where they are few.

    Levels move within the setting that they are nested in.
    """
    sizes = [len(axis.stratum) for axis in axes]
    at = np.full(sizes, -1, dtype=np.int64)
    at[tuple(cells)] = np.arange(cells.shape[1])
    few = orders(axes, free) <= max(permutations, 1)
    chosen = _every(axes, free) if few else _some(axes, free, permutations, seed)
    while chunk := list(itertools.islice(chosen, 250)):
        moved = [np.stack([order[k][level] for order in chunk], axis=1) for k, level in enumerate(cells)]
        yield at[tuple(moved)]


def _every(axes: Sequence[Axis], free: Sequence[bool]) -> Iterator[tuple[Ints, ...]]:
    yield from itertools.product(*(_orders_of(axis, f) for axis, f in zip(axes, free, strict=True)))


def _orders_of(axis: Axis, is_free: bool) -> list[Ints]:
    """All orders of an axis' levels, each within its setting."""
    n_levels = len(axis.stratum)
    if not is_free:
        return [np.arange(n_levels)]
    own = [np.flatnonzero(axis.stratum == s) for s in range(int(axis.stratum.max()) + 1)]
    found = []
    for together in itertools.product(*(itertools.permutations(levels.tolist()) for levels in own)):
        order = np.arange(n_levels)
        for levels, moved in zip(own, together, strict=True):
            order[levels] = moved
        found.append(order)
    return found


def _some(axes: Sequence[Axis], free: Sequence[bool], count: int, seed: int) -> Iterator[tuple[Ints, ...]]:
    generator = np.random.default_rng([seed, count, len(axes)])
    for _ in range(count):
        yield tuple(
            np.lexsort((generator.random(len(a.stratum)), a.stratum))[_place_in(a.stratum)]
            if is_free
            else np.arange(len(a.stratum))
            for a, is_free in zip(axes, free, strict=True)
        )


def _place_in(stratum: Ints) -> Ints:
    """Each level's place when levels are sorted by their setting."""
    return np.argsort(np.argsort(stratum, kind="stable"), kind="stable")


def run_orders(block: Ints, permutations: int, seed: int) -> Iterator[Ints]:
    """Which run stands in each run's place, exchanged within its block: (n, B) a chunk."""
    order = np.argsort(block, kind="stable")
    generator = np.random.default_rng([seed, len(block), permutations])
    for at in range(0, permutations, 250):
        keys = generator.random((len(block), min(250, permutations - at))) + block[order][:, None]
        source = np.empty(keys.shape, dtype=np.int64)
        source[order] = order[np.argsort(keys, axis=0, kind="stable")]
        yield source
