"""Tau-a, tau-b and Pearson of two vectors under weights on configurations: all rows, resamples, all but one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from analysis.statistics.association.pairs import GroupSigns, PairSigns, dense_ranks, tie_form
from analysis.statistics.resampling.resample import multiplicities

Floats = NDArray[np.float64]
WITH_INTERVAL = ("tau_b", "tau_a", "pearson")
# With so few configurations, this share of the runs, and so few runs each, signs are first summed between them; ours.
_FEW, _SHARE, _LARGEST = 4096, 0.5, 64
_CHUNK = 250  # resamples at a time: keeps the working set of 10,000 runs near 10 MB an array; ours


@dataclass(frozen=True)
class _Ties:
    """Ranks whose ties are to be summed under every resample; equal when their bytes are."""

    content: bytes
    ranks: NDArray[np.int64] = field(compare=False)
    group: NDArray[np.int64] = field(compare=False)
    resamples: int
    seed: int


# All measures share the target's ties, and several targets a measure's.
@lru_cache(maxsize=32)
def _tie_forms(asked: _Ties) -> Floats:
    counts = multiplicities(int(asked.group.max()) + 1, asked.resamples, asked.seed)
    chunks = [counts[:, at : at + _CHUNK] for at in range(0, asked.resamples, _CHUNK)]
    return np.concatenate([tie_form(asked.ranks, c[asked.group]) for c in chunks])


class WeightedSums:
    """What tau-a, tau-b and Pearson are made of, under any weights on configurations."""

    def __init__(self, x: Floats, y: Floats, group: NDArray[np.int64]) -> None:
        self.group, self.ranks = group, (dense_ranks(x), dense_ranks(y))
        self.n_groups = int(group.max()) + 1
        is_few = self.n_groups <= min(_FEW, max(_SHARE * len(x), 256)) and np.bincount(group).max() <= _LARGEST
        self.between = GroupSigns(x, y, group) if is_few else None
        self.signs = None if is_few else PairSigns(x, y)
        columns = np.stack([_standard(x), _standard(y)], axis=1)
        products = [np.ones(len(x)), *columns.T, *(columns**2).T, columns[:, 0] * columns[:, 1]]
        self.moments = np.stack([self._by_group(p) for p in products])

    def all_rows(self) -> dict[str, Floats]:
        """Each coefficient of all rows; shape (1,)."""
        ones = np.ones((self.n_groups, 1), dtype=np.float32)
        return self._under(ones, [tie_form(ranks, ones[self.group]) for ranks in self.ranks])

    def resampled(self, resamples: int, seed: int) -> dict[str, Floats]:
        """Each coefficient in every bootstrap resample of configurations; shape (resamples,)."""
        counts = multiplicities(self.n_groups, resamples, seed)
        ties = [
            _tie_forms(_Ties(r.tobytes() + self.group.tobytes(), r, self.group, resamples, seed)) for r in self.ranks
        ]
        chunks = [slice(at, at + _CHUNK) for at in range(0, resamples, _CHUNK)]
        parts = [self._under(counts[:, c], [t[c] for t in ties]) for c in chunks]
        return {name: np.concatenate([p[name] for p in parts]) for name in WITH_INTERVAL}

    def _under(self, counts: NDArray[np.float32], ties: Sequence[Floats]) -> dict[str, Floats]:
        moments = self.moments @ counts.astype(np.float64)
        n = moments[0]
        return _taus(self._form(counts), n, n * (n - 1), *ties) | {"pearson": _pearson(moments)}

    def weighted(self, chunks: Iterable[NDArray[np.floating]]) -> dict[str, Floats]:
        """Each coefficient under weights on groups, (groups, B) a chunk, small non-negative integers; all B in order.

        A pair of runs counts the product of their weights, a run never with itself: in tau-a, too, where `resampled`
        counts two copies of a run as a pair without a sign. Cost: that of as many resamples.
        """
        parts = [self._weighted(chunk.astype(np.float32, copy=False)) for chunk in chunks]
        return {name: np.concatenate([p[name] for p in parts]) for name in WITH_INTERVAL}

    def _weighted(self, weights: NDArray[np.float32]) -> dict[str, Floats]:
        moments = self.moments @ weights.astype(np.float64)
        of_run = weights[self.group]
        ties = [tie_form(ranks, of_run) for ranks in self.ranks]
        pairs = moments[0] ** 2 - np.einsum("nb,nb->b", of_run, of_run, dtype=np.float64, casting="unsafe")
        return _taus(self._form(weights), moments[0], pairs, *ties) | {"pearson": _pearson(moments)}

    def _form(self, counts: NDArray[np.float32]) -> Floats:
        if self.between is not None:
            return self.between.form(counts)
        assert self.signs is not None
        return self.signs.form(counts[self.group])

    def _row_sums(self) -> Floats:
        """Each configuration's sum of s_ij over its runs i and all j; (configurations,)."""
        if self.between is not None:
            return self.between.sums.sum(axis=1, dtype=np.float64)
        assert self.signs is not None
        return self._by_group(self.signs.apply(np.ones((len(self.group), 1), dtype=np.float32))[:, 0])

    def leave_one_out(self) -> dict[str, Floats]:
        """Each coefficient without configuration c; shape (configurations,). From row sums, so without n^2 signs."""
        moments = self.moments.sum(axis=1, keepdims=True) - self.moments
        inside = _within(self.ranks, self.group, self.n_groups)
        rows = self._row_sums()
        ties = []
        for ranks, own in zip(self.ranks, inside[1:], strict=True):
            size = np.bincount(ranks).astype(np.float64)
            ties.append((size**2).sum() - 2 * self._by_group(size[ranks]) + own)
        n = moments[0]
        return _taus(rows.sum() - 2 * rows + inside[0], n, n * (n - 1), *ties) | {"pearson": _pearson(moments)}

    def _by_group(self, each: NDArray[np.floating]) -> Floats:
        return np.bincount(self.group, weights=each, minlength=self.n_groups).astype(np.float64)


def _taus(form: Floats, n: Floats, pairs: Floats, ties_x: Floats, ties_y: Floats) -> dict[str, Floats]:
    with np.errstate(invalid="ignore", divide="ignore"):
        tau_a = np.where(pairs > 0, form / pairs, np.nan)
        untied = (n**2 - ties_x) * (n**2 - ties_y)
        tau_b = np.where(untied > 0, form / np.sqrt(untied), np.nan)
    return {"tau_b": tau_b, "tau_a": tau_a}


def _pearson(moments: Floats) -> Floats:
    n, x, y, xx, yy, xy = moments
    with np.errstate(invalid="ignore", divide="ignore"):
        spread_x, spread_y = xx / n - (x / n) ** 2, yy / n - (y / n) ** 2
        r = (xy / n - x * y / n**2) / np.sqrt(spread_x * spread_y)
    # The columns have mean 0 and standard deviation 1: a spread of 1e-12 is rounding, so the resample is constant.
    return np.where((spread_x > 1e-12) & (spread_y > 1e-12), np.clip(r, -1, 1), np.nan)


def _standard(x: Floats) -> Floats:
    """Centre and scale, which changes no correlation but keeps the sums of squares exact; NaN for an infinity."""
    if not np.isfinite(x).all():
        return np.full_like(x, np.nan)
    scale = np.abs(x).max()
    centred = x / scale - np.mean(x / scale) if scale > 0 else x
    spread = centred.std()
    return centred / spread if spread > 1e-14 else np.zeros_like(x)


def _within(ranks: tuple[NDArray[np.int64], ...], group: NDArray[np.int64], n_groups: int) -> tuple[Floats, ...]:
    """Sums over ordered pairs inside one configuration: of s_ij, of [x tied], of [y tied] (a run ties with itself)."""
    if np.bincount(group).max() > _LARGEST:
        rows = [np.flatnonzero(group == g) for g in range(n_groups)]
        ones = [np.ones((len(r), 1), dtype=np.float32) for r in rows]
        inside = [PairSigns(ranks[0][r], ranks[1][r]).form(w)[0] for r, w in zip(rows, ones, strict=True)]
        ties = [[tie_form(dense_ranks(of[r]), w)[0] for r, w in zip(rows, ones, strict=True)] for of in ranks]
        return np.array(inside), np.array(ties[0]), np.array(ties[1])
    order = np.argsort(group, kind="stable")
    x, y, g = ranks[0][order], ranks[1][order], group[order]
    signs = np.zeros(n_groups)
    tied_x = np.bincount(g, minlength=n_groups).astype(np.float64)
    tied_y = tied_x.copy()
    for step in range(1, int(tied_x.max())):
        both = np.flatnonzero(g[step:] == g[:-step])
        i, j = both, both + step
        signs += 2 * np.bincount(g[i], weights=np.sign(x[i] - x[j]) * np.sign(y[i] - y[j]), minlength=n_groups)
        tied_x += 2 * np.bincount(g[i], weights=x[i] == x[j], minlength=n_groups)
        tied_y += 2 * np.bincount(g[i], weights=y[i] == y[j], minlength=n_groups)
    return signs, tied_x, tied_y
