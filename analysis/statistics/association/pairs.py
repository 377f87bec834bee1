"""Signs of all pairs of runs, summed under weights without forming the n x n matrix.

Kendall's tau is a quadratic form in s_ij = sign(x_i - x_j) sign(y_i - y_j). A bootstrap over configurations only
changes how often a row counts, so every resample is w^T s w with the same s: sorted once, applied to all resamples in
a few matrix products. Exact: every intermediate is an integer below 2^24, which float32 holds without rounding.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
_BLOCK = 160  # rows a block: balances the two dense parts (n x block) with the grid of blocks ((n / block)^2); ours
_LARGEST = 2**24


def dense_ranks(x: ArrayLike) -> NDArray[np.int64]:
    """Rank from 0, equal values sharing a rank; infinities are ordinary, ordered values. Shape (n,). O(n log n)."""
    array = np.asarray(x, dtype=np.float64)
    if np.isnan(array).any():
        raise ValueError("x: NaN: a missing value must be taken out before it is ranked")
    return np.unique(array, return_inverse=True)[1].reshape(-1).astype(np.int64)


class PairSigns:
    """The matrix s_ij = sign(x_i - x_j) sign(y_i - y_j), as an operator.

    Rows are cut into blocks of x-rank and of y-rank that never split a tie. Pairs in one x-block, and pairs in one
    y-block but two x-blocks, are summed densely; for all others both signs depend on the blocks alone.
    Cost of `apply` on n rows and B weight vectors: O(n B block); memory O(n B).
    """

    def __init__(self, x: ArrayLike, y: ArrayLike, block: int = _BLOCK) -> None:
        self._x, self._y = dense_ranks(x), dense_ranks(y)
        if self._x.shape != self._y.shape:
            raise ValueError(f"y: {self._y.shape}: the shape of x, {self._x.shape}, is needed")
        self._in_x, self._x_blocks = _blocks(self._x, block)
        self._in_y, self._y_blocks = _blocks(self._y, block)
        self._dense = [(rows, self._signs(rows)) for rows in self._x_blocks if _varies(self._x[rows])]
        for rows in self._y_blocks:
            if _varies(self._y[rows]) and len(self._x_blocks) > 1:
                other = self._in_x[rows][:, None] != self._in_x[rows][None, :]
                self._dense.append((rows, self._signs(rows) * other))

    def apply(self, weights: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return s @ weights for weights (n, B) of small non-negative integers; shape (n, B)."""
        _check_exact(weights)
        weights = weights.astype(np.float32, copy=False)
        out = self._between(weights)
        for rows, signs in self._dense:
            out[rows] += signs @ weights[rows]
        return out

    def form(self, weights: NDArray[np.floating]) -> Floats:
        """Return w^T s w for each column w of weights (n, B); shape (B,)."""
        return _dot(weights, self.apply(weights))

    def _signs(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        x, y = self._x[rows], self._y[rows]
        return (np.sign(x[:, None] - x[None, :]) * np.sign(y[:, None] - y[None, :])).astype(np.float32)

    def _between(self, weights: NDArray[np.float32]) -> NDArray[np.float32]:
        n_x, n_y, n_b = len(self._x_blocks), len(self._y_blocks), weights.shape[1]
        if n_x < 2 or n_y < 2:
            return np.zeros_like(weights)
        cells = np.zeros((n_x, n_y, n_b), dtype=np.float32)
        for b, rows in enumerate(self._x_blocks):
            member = (self._in_y[rows][None, :] == np.arange(n_y)[:, None]).astype(np.float32)
            cells[b] = member @ weights[rows]
        along_x = (_order(n_x) @ cells.reshape(n_x, -1)).reshape(n_x, n_y, n_b)
        both = np.matmul(_order(n_y), along_x)
        return both[self._in_x, self._in_y]


def tie_form(ranks: NDArray[np.int64], weights: NDArray[np.floating]) -> Floats:
    """Sum over groups of equal rank of (the group's weight)^2, for each column of weights (n, B); shape (B,)."""
    n_groups = int(ranks.max(initial=-1)) + 1
    if n_groups == len(ranks):
        return np.einsum("nb,nb->b", weights, weights, dtype=np.float64, casting="unsafe")
    order = np.argsort(ranks, kind="stable")
    starts = np.searchsorted(ranks[order], np.arange(n_groups))
    groups = np.add.reduceat(weights[order], starts, axis=0)
    return np.einsum("gb,gb->b", groups, groups, dtype=np.float64, casting="unsafe")


class GroupSigns:
    """The matrix S_gh = sum of s_ij over the runs i of group g and j of group h: (G, G), for weights on groups alone.

    Built from all n^2 / 2 signs, a group or more at a time; then `form` does not know the runs any more. Cost: O(n^2)
    once, and O(G^2 B / 2) for B weight vectors; memory 4 G^2 + 3 n max(rows, largest group) bytes. Exact, as
    `PairSigns` is.
    """

    def __init__(self, x: ArrayLike, y: ArrayLike, group: NDArray[np.int64], rows: int = 64) -> None:
        order = np.argsort(group, kind="stable")
        of_run = group[order]
        n_groups = int(group.max()) + 1
        starts = np.searchsorted(of_run, np.arange(n_groups + 1))
        if (np.diff(starts) == 0).any():
            raise ValueError("group: numbers with a gap: every number from 0 to the largest needs a run")
        ranks = [dense_ranks(v)[order].astype(np.int32) for v in (x, y)]
        is_small = float(np.diff(starts).max()) ** 2 < _LARGEST
        self.sums = np.zeros((n_groups, n_groups), dtype=np.float32 if is_small else np.float64)
        first = 0
        while first < n_groups:
            last = max(first + 1, int(np.searchsorted(starts, starts[first] + rows, "right")) - 1)
            own, all_before = slice(starts[first], starts[last]), slice(0, starts[last])
            signs = _signs_of(ranks[0][own], ranks[0][all_before])
            signs *= _signs_of(ranks[1][own], ranks[1][all_before])
            by_row = np.empty((last - first, starts[last]), dtype=np.int32)
            for g in range(first, last):  # numpy's reduceat along the rows takes ten times as long
                of_group = signs[starts[g] - starts[first] : starts[g + 1] - starts[first]]
                of_group.sum(axis=0, dtype=np.int32, out=by_row[g - first])
            piece = np.add.reduceat(by_row, starts[:last], axis=1)
            self.sums[first:last, :last], self.sums[:last, first:last] = piece, piece.T
            first = last

    def form(self, weights: NDArray[np.floating], block: int = 256) -> Floats:
        """Return w^T S w for each column w of weights (G, B) of small non-negative integers; shape (B,)."""
        largest = float(np.abs(self.sums).max(initial=0)) * float(weights.sum(axis=0).max(initial=0))
        weights = weights.astype(np.float32 if largest < _LARGEST else np.float64, copy=False)
        sums = self.sums.astype(weights.dtype, copy=False)
        total = np.zeros(weights.shape[1])
        for start in range(0, len(weights), block):
            own = slice(start, start + block)
            total += _dot(weights[own], sums[own, own] @ weights[own])
            if start:
                total += 2 * _dot(weights[own], sums[own, :start] @ weights[:start])
        return total


def _signs_of(a: NDArray[np.int32], b: NDArray[np.int32]) -> NDArray[np.int8]:
    greater = np.greater(a[:, None], b[None, :]).view(np.int8)
    greater -= np.less(a[:, None], b[None, :]).view(np.int8)
    return greater


def _dot(a: NDArray[np.floating], b: NDArray[np.floating]) -> Floats:
    return np.einsum("nb,nb->b", a, b, dtype=np.float64, casting="unsafe")


def _check_exact(weights: NDArray[np.floating]) -> None:
    if weights.sum(axis=0).max(initial=0) >= _LARGEST:
        raise ValueError(f"weights: sum {weights.sum(axis=0).max()}: below {_LARGEST} is exact and allowed")


def _order(n: int) -> NDArray[np.float32]:
    index = np.arange(n)
    return np.sign(index[:, None] - index[None, :]).astype(np.float32)


def _varies(ranks: NDArray[np.int64]) -> bool:
    return len(ranks) > 1 and bool((ranks != ranks[0]).any())


def _blocks(ranks: NDArray[np.int64], size: int) -> tuple[NDArray[np.int64], list[NDArray[np.int64]]]:
    """Cut rows, in order of rank, into runs of at most `size` that keep ties together (a larger tie is one block)."""
    order = np.argsort(ranks, kind="stable")
    ends = np.flatnonzero(np.diff(ranks[order], append=-1)) + 1
    cuts, start, previous = [], 0, 0
    for end in ends.tolist():
        if end - start > size and previous > start:
            cuts.append(previous)
            start = previous
        previous = end
    blocks = [rows for rows in np.split(order, cuts) if len(rows)]
    member = np.empty(len(ranks), dtype=np.int64)
    for number, rows in enumerate(blocks):
        member[rows] = number
    return member, blocks
