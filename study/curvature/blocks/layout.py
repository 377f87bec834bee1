"""Where the samples are in what a layer is given: its rows, another axis, several rows each. Two runs tell."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..networks.companions import agree


@dataclass(frozen=True)
class Layout:
    """`count` rows a sample along `axis`: side by side, or (`is_apart`) with those of all others between them."""

    axis: int = 0
    count: int = 1
    is_apart: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether row i is sample i, as in most networks."""
        return self.axis == 0 and self.count == 1

    def fits(self, value: Tensor, n: int) -> bool:
        """Whether a tensor holds that many rows for n samples."""
        return value.ndim > self.axis and value.shape[self.axis] == n * self.count

    def by_sample(self, value: Tensor, n: int) -> Tensor:
        """A tensor of n samples as (n, count, ...)."""
        value = value.movedim(self.axis, 0)
        return value.unflatten(0, (self.count, n)).transpose(0, 1) if self.is_apart else value.unflatten(0, (n, -1))

    def rows(self, value: Tensor, n: int, at: slice) -> Tensor:
        """The rows of some of n samples, those of a sample side by side: (len(at) * count, ...)."""
        return value[at] if self.is_plain else self.by_sample(value, n)[at].flatten(0, 1)

    def folded(self, value: Tensor) -> Tensor:
        """Rows (n * count, ..., P) with those of a sample as further positions: (n, ..., count * P)."""
        return value if self.count == 1 else value.unflatten(0, (-1, self.count)).movedim(1, -2).flatten(-2)


@dataclass(frozen=True)
class Pair:
    """One use of a layer in two runs: its inputs in a chunk, and inputs and deltas of some samples run again.

    `deltas` are two, of all samples of the second run and of its sample number `only` alone.
    """

    module: nn.Module
    x: Tensor
    again: Tensor
    deltas: tuple[Tensor, Tensor]


def find_layout(pair: Pair, n: tuple[int, int], rows: Tensor, at: Tensor, only: int) -> Layout | None:
    """How `rows` of the n[0] samples are `at` of the n[1], where sample number `only` moves its own rows alone."""
    for layout in _candidates(pair, *n):
        x, again = layout.by_sample(pair.x, n[0]), layout.by_sample(pair.again, n[1])
        if agree(again[at], x[rows], x) and _moves_alone(layout, pair.deltas, n[1], only):
            return layout
    return None


def moves_others(pair: Pair, n: tuple[int, int], rows: Tensor, at: Tensor) -> bool:
    """Whether the rows are the samples, where no layout was found: then a sample moves those of others."""
    plain = Layout()
    return plain.fits(pair.x, n[0]) and plain.fits(pair.again, n[1]) and agree(pair.again[at], pair.x[rows], pair.x)


def _candidates(pair: Pair, n: int, n_again: int) -> Iterator[Layout]:
    """The one axis that is as many times as long as there are more samples, in both ways of taking several rows."""
    if pair.x.ndim != pair.again.ndim or not pair.x.numel():
        return
    for axis in range(_n_leading(pair.module, pair.x)):
        rest = [list(value.shape[:axis] + value.shape[axis + 1 :]) for value in (pair.x, pair.again)]
        count, left = divmod(pair.x.shape[axis], n)
        if not left and rest[0] == rest[1] and pair.again.shape[axis] == count * n_again:
            yield Layout(axis, count)
            if count > 1:
                yield Layout(axis, count, is_apart=True)


def _n_leading(module: nn.Module, x: Tensor) -> int:
    """How many axes of a layer's input may be that of the samples."""
    if isinstance(module, nn.Linear):
        return x.ndim - 1
    return x.ndim - len(module.normalized_shape) if isinstance(module, nn.LayerNorm) else 1


def _moves_alone(layout: Layout, deltas: tuple[Tensor, Tensor], n: int, only: int) -> bool:
    every, alone = (layout.by_sample(delta, n) for delta in deltas)
    expected = torch.zeros_like(every)
    expected[only] = every[only]
    return agree(alone, expected, every)
