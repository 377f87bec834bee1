"""The factors of a Lambda that is known as a matrix only, and may have eigenvalues of both signs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class DenseFactor:
    """The factor of any Lambda, by its eigenvectors: the positive part, or that of -Lambda."""

    values: Tensor  # (n, C) float64, falling, none negative
    vectors: Tensor  # (n, C, C), each column one of them

    @classmethod
    def both(cls, matrix: Tensor) -> tuple[DenseFactor, DenseFactor]:
        """The positive and the negative part of Lambda (n, C, C); what is rounding beside its norm counts as 0."""
        rounding = matrix.shape[1] * torch.finfo(matrix.dtype).eps
        if not matrix.isfinite().all():  # a network that has diverged: NaN, as of the other losses
            empty = torch.full_like(matrix[:, 0], math.nan).double()
            return cls(empty, matrix.double()), cls(torch.zeros_like(empty), matrix.double())
        values, vectors = torch.linalg.eigh(matrix.double())  # rising
        values = torch.where(values.abs() > rounding * values.abs().amax(1, keepdim=True), values, 0.0)
        return cls(values.clamp_min(0).flip(1), vectors.flip(2)), cls((-values).clamp_min(0), vectors)

    @property
    def n_columns(self) -> int:
        """How many columns are not empty in all samples."""
        return int((self.values != 0).any(0).sum())

    def part(self, index: Tensor) -> DenseFactor:
        """Of some of the samples."""
        return DenseFactor(self.values[index], self.vectors[index])

    def sizes(self) -> Tensor:
        """The squared norm of each column, (n, C)."""
        return self.values

    def columns(self, start: int, stop: int, dtype: torch.dtype = torch.float64) -> Tensor:
        """Columns start to stop - 1: (stop - start, n, C)."""
        columns = self.vectors[:, :, start:stop] * self.values[:, None, start:stop].sqrt()
        return columns.permute(2, 0, 1).to(dtype)

    def mixed(self, start: int, signs: Tensor) -> Tensor:
        """Columns start to C - 1 added up with the weights signs (m, n, C): (m, n, C)."""
        rows = signs * self.values.sqrt()
        rows[:, :, :start] = 0
        return torch.einsum("nck,mnk->mnc", self.vectors, rows)
