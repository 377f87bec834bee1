"""Factors Lambda = S S^T of the Hessian of a loss in the outputs, column by column, the largest columns first."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

# Random columns for each sample that certify what a tolerance left out. With fewer, more columns must be kept for the
# same bound; measured on a trained network with 100 classes, 3 to 6 cost about the same.
N_PROBES = 4
CONFIDENCE = 0.99


def softmax(logits: Tensor) -> Tensor:
    """The softmax of each row in float64, along the long axis: on a CPU 17 times faster than along rows of ten."""
    return logits.T.contiguous().double().softmax(0).T


def running_sum(x: Tensor) -> Tensor:
    """cumsum along the last axis, of which older versions of torch have none on a GPU that they call deterministic.

    Where deterministic algorithms are asked for, as a study does, theirs is an error there. Here each number adds the
    one 1, 2, 4, ... places before it.
    """
    if x.device.type == "cpu":
        return x.cumsum(-1)
    places = 1
    while places < x.shape[-1]:
        x = torch.cat([x[..., :places], x[..., places:] + x[..., :-places]], -1)
        places *= 2
    return x


@dataclass(frozen=True)
class SoftmaxFactor:
    """The Cholesky factor of diag(p) - p p^T with the classes taken by falling p, in closed form.

    With q_k the mass of the classes after the k-th, column k has a_k = sqrt(p_k q_k / q_{k-1}) at k and -p_i a_k / q_k
    at every i after k (Tanabe and Sagae 1992, JRSS B 54). What is left when the columns stop at r is the covariance of
    the remaining classes: nearly nothing where p is concentrated, as it is on a trained network.
    """

    p: Tensor  # (n, C) float64, falling
    order: Tensor  # (n, C): the class of each
    scale: float | Tensor  # of the loss, or (n, 1) of each sample

    @classmethod
    def of(cls, logits: Tensor, scale: float | Tensor = 1.0) -> SoftmaxFactor:
        """From the outputs (n, C) of the network."""
        order = logits.float().argsort(dim=1, descending=True, stable=True)  # any order gives a factor of all Lambda
        return cls(softmax(logits).gather(1, order), order, scale)

    def part(self, index: Tensor) -> SoftmaxFactor:
        """Of some of the samples."""
        scale = self.scale[index] if isinstance(self.scale, Tensor) else self.scale
        return SoftmaxFactor(self.p[index], self.order[index], scale)

    def _pivots(self) -> tuple[Tensor, Tensor]:
        """a_k and a_k / q_k of the C - 1 columns."""
        mass = running_sum(self.p.flip(1)).flip(1)  # q_{k-1}, summed from the small end: no cancellation
        before, after = mass[:, :-1], mass[:, 1:]
        pivot = (self.scale * self.p[:, :-1] * after / before.clamp_min(torch.finfo(mass.dtype).tiny)).sqrt()
        return pivot, torch.where(after > 0, pivot / after, 0.0)

    def sizes(self) -> Tensor:
        """The squared norm of each column, (n, C - 1); they add up to the trace of Lambda."""
        pivot, ratio = self._pivots()
        squares = running_sum(self.p.square().flip(1)).flip(1)
        return pivot.square() + (ratio * squares[:, 1:].sqrt()).square()  # ratio^2 alone may be infinite

    def columns(self, start: int, stop: int, dtype: torch.dtype = torch.float64) -> Tensor:
        """Columns start to stop - 1: (stop - start, n, C)."""
        largest = torch.finfo(dtype).max  # a ratio beyond it goes with p of 0 in this dtype: 0, not infinity times 0
        pivot, ratio = (value[:, start:stop].clamp_max(largest).to(dtype) for value in self._pivots())
        p = self.p.to(dtype)
        index = torch.arange(self.p.shape[1], device=self.p.device)
        chosen = index[start:stop, None]
        rows = -ratio[:, :, None] * p[:, None, :] * (index > chosen) + pivot[:, :, None] * (index == chosen)
        where = self.order[:, None, :].expand_as(rows)
        return torch.zeros_like(rows).scatter(2, where, rows).transpose(0, 1)

    def mixed(self, start: int, signs: Tensor) -> Tensor:
        """Columns start to C - 2 added up with the weights signs (m, n, C - 1): (m, n, C), at a cost of m n C."""
        pivot, ratio = self._pivots()
        signs = signs.clone()
        signs[:, :, :start] = 0
        zero = signs.new_zeros(*signs.shape[:2], 1)
        passed = torch.cat([zero, running_sum(signs * ratio)], 2)
        rows = torch.cat([signs * pivot, zero], 2) - self.p * passed
        return torch.zeros_like(rows).scatter(2, self.order.expand_as(rows), rows)


@dataclass(frozen=True)
class DiagonalFactor:
    """The factor of a diagonal Lambda: one column an output."""

    slope: Tensor  # (n, C) float64, falling
    order: Tensor

    @classmethod
    def of(cls, slope: Tensor) -> DiagonalFactor:
        """From the diagonal of Lambda, (n, C)."""
        return cls(*slope.double().sort(dim=1, descending=True, stable=True))

    def part(self, index: Tensor) -> DiagonalFactor:
        """Of some of the samples."""
        return DiagonalFactor(self.slope[index], self.order[index])

    def sizes(self) -> Tensor:
        """The squared norm of each column, (n, C)."""
        return self.slope

    def columns(self, start: int, stop: int, dtype: torch.dtype = torch.float64) -> Tensor:
        """Columns start to stop - 1: (stop - start, n, C)."""
        roots = self.slope.to(dtype).sqrt()[:, start:stop].T[:, :, None]
        empty = roots.new_zeros(stop - start, *self.slope.shape)
        return empty.scatter(2, self.order[:, start:stop].T[:, :, None], roots)

    def mixed(self, start: int, signs: Tensor) -> Tensor:
        """Columns start to C - 1 added up with the weights signs (m, n, C): (m, n, C)."""
        rows = signs * self.slope.sqrt()
        rows[:, :, :start] = 0
        return torch.zeros_like(rows).scatter(2, self.order.expand_as(rows), rows)


Factor = SoftmaxFactor | DiagonalFactor


class Sizes:
    """A histogram of column sizes over the data, from which a tolerance becomes a threshold."""

    _SMALLEST, _BINS_A_DECADE, _N_BINS = -30, 100, 4000

    def __init__(self) -> None:
        self.mass = torch.zeros(self._N_BINS, dtype=torch.float64)

    def add(self, sizes: Tensor) -> None:
        """Take in the sizes of some samples' columns."""
        sizes = sizes.flatten().cpu()
        bins = ((sizes.log10() - self._SMALLEST) * self._BINS_A_DECADE).clamp_(0, self._N_BINS - 1).long()
        self.mass.index_add_(0, bins, sizes)

    def threshold(self, tolerance: float) -> float:
        """The largest size under which all columns together hold at most this share of the trace of Lambda.

        0 where all columns that were counted are empty.
        """
        total = self.mass.sum()
        if not total:
            return 0.0
        share = self.mass.cumsum(0) / total
        below = int((share <= tolerance).sum())
        return 10.0 ** (self._SMALLEST + below / self._BINS_A_DECADE) if below else 0.0


def n_kept(sizes: Tensor, threshold: float) -> Tensor:
    """How many leading columns of each sample to keep so that every one left out is smaller than the threshold."""
    index = torch.arange(1, sizes.shape[1] + 1, device=sizes.device)
    return torch.where(sizes >= threshold, index, 0).amax(1) if sizes.shape[1] else index.new_zeros(len(sizes))


def certificate() -> float:
    """How many times the mean of n = N_PROBES Gaussian probes z^T A z bounds the trace of any positive A from above.

    Chernoff's bound at its worst case, a matrix of rank one: the mean falls under e Tr(A) with a probability of at most
    (e exp(1 - e))^(n / 2), whatever A is. Returns 1 / e for the probability 1 - CONFIDENCE.
    """
    target = 2 * math.log(1 - CONFIDENCE) / N_PROBES
    low, high = 1e-300, 1.0
    for _ in range(200):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if math.log(middle) + 1 - middle < target else (low, middle)
    return 1 / low
