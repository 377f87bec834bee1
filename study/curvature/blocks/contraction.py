"""Sums over samples and columns of G G^T, by whichever of three contractions costs least; G itself is avoided if
it can be.

phi (n, g, d, P) are a layer's inputs and delta (n, k, g, o, P) the gradients in its outputs, n_out = g o.
Multiplications for one sample and k columns, where the normalized sum doubles all terms but the first of `gradient`:

    rows      P = 1:       n_out^2 k                        G G^T = ||phi||^2 delta delta^T
    gradient               n_out P d k + n_out^2 d k        G = delta phi^T, then G G^T
    patch     g = 1:       P^2 d + (n_out P^2 + n_out^2 P) k    delta (phi^T phi) delta^T

Products are in the dtype of phi and delta, in float32 where these are of 16 bits: float16 ends at 65,504.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

# Copying a number of a patch takes as long as so many multiplications, measured on LeNet5, whose products at places are
# small ones, too.
_COPIED = 16


@dataclass(frozen=True)
class Shape:
    """The sizes of one layer's contraction for one sample."""

    n_groups: int
    n_out: int
    d: int
    n_positions: int

    def method(self, k: int, needs_gradient: bool = False) -> str:
        """The cheapest contraction for k columns: "rows", "gradient" or "patch"."""
        if self.n_groups > 1:
            return "gradient"
        if self.n_positions == 1:
            return "rows"
        if needs_gradient:
            return "gradient"
        return "gradient" if self._gradient(k) <= self._patch(k) else "patch"

    def _gradient(self, k: int) -> int:
        return (self.n_out * self.n_positions * self.d + 2 * self.n_out**2 * self.d) * k

    def _patch(self, k: int) -> int:
        n, positions = self.n_out, self.n_positions
        return 2 * positions**2 * self.d + 2 * (n * positions**2 + n * n * positions) * k

    def pays_at(self, places: int, k: int) -> bool:
        """Whether it is cheaper to multiply at so many places of each output alone, of patches copied for each."""
        if self.n_groups > 1:
            return False
        n, d = self.n_out, self.d
        at_places = n * places * d * (k + _COPIED) + 2 * n * n * d * k
        return at_places < min(self._gradient(k), self._patch(k))

    def elements(self, k: int, needs_gradient: bool = False) -> int:
        """Numbers held at once for one sample and k columns, beyond the layer's input and delta."""
        positions, method = self.n_positions, self.method(k, needs_gradient)
        outputs = k * self.n_out * positions
        if method == "rows":
            return 2 * k * (self.n_out + (self.d if needs_gradient else 0))
        patches = self.n_groups * self.d * positions
        if method == "patch":
            return 2 * patches + 2 * positions**2 + 2 * outputs
        return patches + outputs + k * self.n_out * (2 * self.d + min(self.n_out, self.d))


@dataclass
class Sums:
    """Sums over samples and columns, float64."""

    raw: Tensor  # of G G^T (n_out, n_out)
    normalized: Tensor | None = None  # of G D^2 G^T, D = diag(1 / scale), leaving out a column of scale 0
    neurons: Tensor | None = None  # of (sum_s W[s, j] G[s, j])^2, (g, d)

    def add(self, other: Sums) -> None:
        """Add the sums of other samples or columns."""
        self.raw += other.raw
        if self.normalized is not None and other.normalized is not None:
            self.normalized += other.normalized
        if self.neurons is not None and other.neurons is not None:
            self.neurons += other.neurons

    def times(self, factor: float) -> Sums:
        """The sums multiplied by a number."""
        normalized = None if self.normalized is None else self.normalized * factor
        neurons = None if self.neurons is None else self.neurons * factor
        return Sums(self.raw * factor, normalized, neurons)


def contract(phi: Tensor, delta: Tensor, scale: Tensor | None, weight: Tensor | None = None) -> Sums:
    """The sums for some samples; `scale` (g, d) asks for the normalized, `weight` (n_out, d) for the neurons'."""
    phi, delta, weight = wide(phi), wide(delta), None if weight is None else wide(weight)
    _, k, n_groups, n_rows, n_positions = delta.shape
    shape = Shape(n_groups, n_groups * n_rows, phi.shape[2], n_positions)
    inverse = None if scale is None else inverse_of(scale, phi.dtype)
    method = shape.method(k, weight is not None)
    if method == "rows":
        return _rows(phi[:, 0, :, 0], delta[:, :, 0, :, 0], inverse, weight)
    if method == "patch":
        return _patch(phi[:, 0], delta[:, :, 0], inverse)
    gradient = per_sample_gradient(phi, delta)
    sums = Sums(_gram(gradient))
    if weight is not None:
        # Not einsum, which calls one small product after another: that took a sixth of LeNet5's time.
        along = (gradient * weight.view(n_groups, 1, n_rows, -1)).sum(3)
        sums.neurons = along.square().sum((0, 2), dtype=torch.float64)
    if inverse is not None:
        sums.normalized = _gram(gradient * inverse[:, None, None])
    return sums


def contract_gradient(gradient: Tensor, inverse: Tensor | None, weight: Tensor | None = None) -> Sums:
    """The sums for gradients G (n_out, n, k, d) of one group; `inverse` (1, d) of the scale, `weight` (n_out, d)."""

    def gram(values: Tensor) -> Tensor:
        flat = values.flatten(2).transpose(0, 1)  # one product a sample: summed up in float64 between them
        return torch.bmm(flat, flat.mT).sum(0, dtype=torch.float64)

    sums = Sums(gram(gradient))
    if weight is not None:
        sums.neurons = (gradient * weight[:, None, None]).sum(0).square().sum((0, 1), dtype=torch.float64)[None]
    if inverse is not None:
        sums.normalized = gram(gradient * inverse[0])
    return sums


def contract_last(
    phi: Tensor, lambda_: tuple[Tensor, Tensor], scale: Tensor | None, weight: Tensor | None = None
) -> Sums:
    """The sums for a linear layer that gives the outputs: no column is sent back, T = sum_i ||phi_i||^2 Lambda_i.

    phi (n, d); lambda_ = a and b (n, C) of Lambda_i = diag(a_i) - b_i b_i^T.
    """
    phi, (a, b) = wide(phi), map(wide, lambda_)

    def weighted(by_sample: Tensor) -> Tensor:
        by_sample = by_sample.to(a.dtype)
        return (by_sample @ a).diag().double() - ((b * by_sample[:, None]).T @ b).double()

    sums = Sums(weighted(torch.linalg.vector_norm(phi, dim=1).square_()))  # no temporary, unlike vecdot
    if scale is not None:
        sums.normalized = weighted(phi.square() @ inverse_of(scale, phi.dtype)[0].square())
    if weight is not None:
        weight = weight.to(a.dtype)
        along = a @ weight.square() - (b @ weight).square()
        sums.neurons = (phi.square() * along).sum(0, dtype=torch.float64)[None]
    return sums


def wide(values: Tensor) -> Tensor:
    """The same, in float32 where it is of 16 bits."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def inverse_of(scale: Tensor, dtype: torch.dtype) -> Tensor:
    """1 / scale, 0 for a feature that does not vary."""
    return torch.where(scale > 0, 1 / scale, 0.0).to(dtype)


def per_sample_gradient(phi: Tensor, delta: Tensor) -> Tensor:
    """G of each sample and column: (n, g, k, o, d)."""
    n, k, n_groups, n_rows, n_positions = delta.shape
    flat = delta.transpose(1, 2).reshape(n * n_groups, k * n_rows, n_positions)
    product = torch.bmm(flat, phi.reshape(n * n_groups, -1, n_positions).transpose(1, 2))
    return product.view(n, n_groups, k, n_rows, -1)


def _rows(phi: Tensor, delta: Tensor, inverse: Tensor | None, weight: Tensor | None) -> Sums:
    squares = phi.square()
    n_out = delta.shape[2]
    flat = delta.flatten(0, 1)
    by_sample = [squares.sum(1)] if inverse is None else [squares.sum(1), squares @ inverse[0].square()]
    both = torch.cat([delta * value[:, None, None] for value in by_sample], 2)  # one product for T and T normalized
    product = (both.flatten(0, 1).T @ flat).double()
    sums = Sums(product[:n_out])
    if inverse is not None:
        sums.normalized = product[n_out:]
    if weight is not None:
        along = (flat @ weight).view(*delta.shape[:2], -1).square().sum(1)
        sums.neurons = (squares * along).sum(0, dtype=torch.float64)[None]
    return sums


def _patch(phi: Tensor, delta: Tensor, inverse: Tensor | None) -> Sums:
    n, k, n_out, n_positions = delta.shape
    rows = delta.reshape(n, k * n_out, n_positions)
    flat = _by_row(rows, k)

    def quadratic(inputs: Tensor) -> Tensor:
        gram = torch.bmm(inputs.transpose(1, 2), inputs)
        return (_by_row(torch.bmm(rows, gram), k) @ flat.T).double()

    return Sums(quadratic(phi), None if inverse is None else quadratic(phi * inverse[0][:, None]))


def _by_row(rows: Tensor, k: int) -> Tensor:
    n, _, n_positions = rows.shape
    return rows.view(n, k, -1, n_positions).permute(2, 0, 1, 3).flatten(1)


def _gram(gradient: Tensor) -> Tensor:
    n, n_groups, k, n_rows, d = gradient.shape
    if n_groups == 1 and n_rows <= d:
        blocks = gradient.view(n * k, n_rows, d)
        return torch.bmm(blocks, blocks.transpose(1, 2)).sum(0, dtype=torch.float64)
    flat = gradient.permute(1, 3, 0, 2, 4).reshape(n_groups * n_rows, -1)
    return (flat @ flat.T).double()
