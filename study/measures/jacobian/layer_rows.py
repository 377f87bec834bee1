"""Rows of the Jacobian in one layer's weights, kept as their two factors, and what is made of them without the rows.

A row is sum_t delta_t phi_t^T over the places t of a layer: the one of a linear layer on vectors, the tokens of one on
sequences, the pixels of a convolution.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

_NUMBERS = 2**23  # of rows that are spread out at once, 64 MB
_BLOCKS = 8  # of rows, of which products are taken on and above the diagonal alone; ours


@dataclass(frozen=True)
class LayerRows:
    """k rows of each of n samples: phi (n, t, d) and delta (n, k, t, n_out), float64."""

    phi: Tensor
    delta: Tensor

    @property
    def has_one_place(self) -> bool:
        """Whether each row is of rank one, and need not be spread out."""
        return self.phi.shape[1] == 1

    def spread(self) -> Iterator[Tensor]:
        """The rows as numbers, (n * k, some neurons * d) at a time."""
        import torch

        n, k, _, _ = self.delta.shape
        width = max(1, _NUMBERS // (n * k * self.phi.shape[2]))
        for part in self.delta.split(width, 3):
            yield torch.einsum("nkto,ntd->nkod", part, self.phi).reshape(n * k, -1)

    def gram(self) -> Tensor:
        """Inner products of all rows (n * k, n * k)."""
        n, k = self.delta.shape[:2]
        if not self.has_one_place:
            return self._gram_of_places() if self._has_few_places() else self._gram_of_spread()
        phi, delta = self.phi[:, 0], self.delta[:, :, 0].flatten(0, 1)
        return (delta @ delta.T).view(n, k, n, k).mul_((phi @ phi.T)[:, None, :, None]).reshape(n * k, n * k)

    def _has_few_places(self) -> bool:
        """Whether products place by place take at most a quarter of the multiplications, which are slower there."""
        (_, k, t, n_out), d = self.delta.shape, self.phi.shape[2]
        return 4 * (t * t * (d + k * n_out) + k * k * t * n_out) < k * k * n_out * d

    def _gram_of_places(self) -> Tensor:
        """Those with samples from each one on, sum_(t, t') <phi_t, phi_t'> <delta_t, delta_t'>, and the same below."""
        import torch

        n, k, t, n_out = self.delta.shape
        rows, columns = self.delta.reshape(n, k, t * n_out), self.delta.permute(0, 2, 3, 1).reshape(n, t, n_out * k)
        total = self.phi.new_zeros(n, k, n, k)
        for at in range(n):
            inner = (self.phi[at:].flatten(0, 1) @ self.phi[at].T).view(-1, t, t)
            carried = torch.bmm(inner.mT, columns[at:]).view(-1, t * n_out, k)
            total[at, :, at:] = torch.bmm(rows[at].expand(n - at, -1, -1), carried).transpose(0, 1)
        found = total.view(n * k, n * k)
        return found.triu() + found.triu(1).T

    def _gram_of_spread(self) -> Tensor:
        """Those above the diagonal, and the same below."""
        r = self.delta.shape[0] * self.delta.shape[1]
        total = self.phi.new_zeros(r, r)
        for part in self.spread():
            for at in range(0, r, -(-r // _BLOCKS)):
                above = total[at : at - (-r // _BLOCKS), at:]
                above.addmm_(part[at : at + len(above)], part[at:].T)
        return total.triu() + total.triu(1).T

    def diagonal(self) -> Tensor:
        """The sum over rows of each weight's squared number (n_out, d)."""
        import torch

        if not self.has_one_place:
            return torch.cat([part.square().sum(0) for part in self.spread()]).view(self.delta.shape[3], -1)
        return self.delta.square().sum((1, 2)).T @ self.phi[:, 0].square()

    def square_and_total(self) -> tuple[float, Tensor]:
        """The sum over rows of their squared lengths, and that of the rows themselves (n_out, d)."""
        import torch

        if self.has_one_place:
            lengths = self.phi.square().sum((1, 2))[:, None] * self.delta.square().sum((2, 3))
            return float(lengths.sum()), torch.einsum("nkto,ntd->od", self.delta, self.phi)
        square, totals = 0.0, []
        for part in self.spread():
            square += float(part.square().sum())
            totals.append(part.sum(0))
        return square, torch.cat(totals).view(self.delta.shape[3], -1)
