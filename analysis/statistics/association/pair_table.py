"""How often the signs of two vectors' differences meet, by the groups of the two runs: counts over all pairs,
exactly."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from analysis.statistics.association.pairs import PairSigns, dense_ranks

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def pair_tables(x: Floats, y: Floats, groups: Sequence[Ints]) -> list[Floats]:
    """For each grouping (n,), count ordered pairs of two different runs by cell and signs; each (G, G, 3, 3).

    Entry [u, v, a, b]: pairs with the first run in u, the second in v, sign(x_i - x_j) = a - 1, sign(y_i - y_j) = b -
    1. Exact. From nine sums that a sorting or a blocked product gives, not from the pairs one by one.
    """
    if len(x) == 0:
        return [np.zeros((0, 0, 3, 3)) for _ in groups]
    rank_x, rank_y = dense_ranks(x), dense_ranks(y)
    both = codes_of(rank_x, rank_y)
    member = [_indicator(g) for g in groups]
    stacked = np.concatenate(member, axis=1)
    one = np.zeros(len(x), dtype=np.int64)
    operators = {
        "ab": PairSigns(x, y).apply(stacked).astype(np.float64),
        "a": _signed(one, rank_x, stacked),
        "b": _signed(one, rank_y, stacked),
        "a_in_y": _signed(rank_y, rank_x, stacked),
        "b_in_x": _signed(rank_x, rank_y, stacked),
    }
    tables, at = [], 0
    for group in member:
        part = slice(at, at + group.shape[1])
        at = part.stop
        sums = {name: group.T.astype(np.float64) @ applied[:, part] for name, applied in operators.items()}
        ties = {name: _pairs_tied(rank, group) for name, rank in (("x", rank_x), ("y", rank_y), ("xy", both))}
        tables.append(_table(sums, ties, group.sum(axis=0).astype(np.float64)))
    return tables


def codes_of(*ranks: Ints) -> Ints:
    """Number the distinct tuples of several rankings (n,)."""
    return np.unique(np.stack(ranks, axis=1), axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)


def _indicator(group: Ints) -> NDArray[np.float32]:
    present, number = np.unique(group, return_inverse=True)
    member = np.zeros((len(group), len(present)), dtype=np.float32)
    member[np.arange(len(group)), number.reshape(-1)] = 1
    return member


def _signed(within: Ints, rank: Ints, weights: NDArray[np.float32]) -> Floats:
    """Sum over j of [within_i = within_j] sign(rank_i - rank_j) w_j: weight below less weight above. Shape (n, B).

    Weights are zeros and ones, so that float32 holds every running sum exactly (see pairs.py).
    """
    if int(within.max()) + 1 == len(within):  # nothing is tied, so no two rows are compared
        return np.zeros(weights.shape)
    order = np.lexsort((rank, within))
    running = np.zeros((len(order) + 1, weights.shape[1]), dtype=np.float32)
    np.cumsum(weights[order], axis=0, out=running[1:])
    outer, inner = within[order], codes_of(within, rank)[order]
    first, last = np.searchsorted(outer, outer, "left"), np.searchsorted(outer, outer, "right")
    low, high = np.searchsorted(inner, inner, "left"), np.searchsorted(inner, inner, "right")
    sums = running[low] + running[high]
    sums -= running[first]
    sums -= running[last]
    out = np.empty_like(sums)
    out[order] = sums
    return out.astype(np.float64)


def _table(sums: dict[str, Floats], ties: dict[str, Floats], size: Floats) -> Floats:
    every = np.outer(size, size) - np.diag(size)
    tied = {name: t - np.diag(size) for name, t in ties.items()}
    a2, b2 = every - tied["x"], every - tied["y"]
    a2b2 = every - tied["x"] - tied["y"] + tied["xy"]
    a2b, ab2 = sums["b"] - sums["b_in_x"], sums["a"] - sums["a_in_y"]
    table = np.empty((*every.shape, 3, 3))
    for a in (-1, 1):
        for b in (-1, 1):
            table[..., a + 1, b + 1] = (a2b2 + a * ab2 + b * a2b + a * b * sums["ab"]) / 4
        table[..., a + 1, 1] = (a2 + a * sums["a"]) / 2 - table[..., a + 1, ::2].sum(-1)
    for b in (-1, 1):
        table[..., 1, b + 1] = (b2 + b * sums["b"]) / 2 - table[..., ::2, b + 1].sum(-1)
    table[..., 1, 1] = tied["xy"]
    return table


def _pairs_tied(rank: NDArray[np.int64], member: NDArray[np.float32]) -> Floats:
    """Ordered pairs (self-pairs included) of equal rank, by group of the first and of the second; (G, G)."""
    n_ranks = int(rank.max()) + 1
    if n_ranks == len(rank):
        return np.diag(member.sum(axis=0, dtype=np.float64))
    counts = np.stack([np.bincount(rank, weights=column, minlength=n_ranks) for column in member.T], axis=1)
    return np.asarray(counts.T @ counts, dtype=np.float64)
