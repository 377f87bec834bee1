"""Gradients behind max-pooling, which stand at a few places of each channel, and products that take only those.

Of 2 x 2 pixels three have no gradient, in any column. A convolution's per-sample gradient then takes a quarter of the
multiplications, of patches that are copied out for the places of each channel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Live:
    """Gradients of k columns in images (n, k, C, height, width): `values` at `places`, which may repeat, else 0."""

    values: Tensor  # (n, k, C, P)
    places: Tensor  # (n, C, P): which pixel of its channel, row by row
    size: tuple[int, int]  # height, width

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, at: slice) -> Live:
        return Live(self.values[at], self.places[at], self.size)

    def of(self, values: Tensor) -> Live:
        """Other values at the same places."""
        return Live(values, self.places, self.size)


Delta = Tensor | Live


def dense(delta: Delta) -> Tensor:
    """All numbers, (n, k, ...)."""
    if isinstance(delta, Tensor):
        return delta
    values = delta.values
    empty = values.new_zeros(*values.shape[:3], delta.size[0] * delta.size[1])
    places = delta.places[:, None].expand_as(values)
    return empty.scatter_add_(3, places, values).unflatten(3, delta.size)


def takes(module: nn.Module) -> TypeGuard[nn.Conv2d]:
    """Whether `gradient_at` is for this layer: a convolution of one group, without dilation, padded with zeros."""
    if not isinstance(module, nn.Conv2d):
        return False
    return module.groups == 1 and module.padding_mode == "zeros" and set(module.dilation) == {1}


def gradient_at(module: nn.Conv2d, x: Tensor, delta: Live, at_once: int) -> Tensor:
    """G of each sample and column, (C, n, k, d), with d in the order (kernel's column, its row, input channel).

    `at_once`: how many patches to copy at a time.
    """
    pieces, starts = _pieces(module, x, delta)
    values = delta.values.permute(2, 0, 1, 3).contiguous().flatten(0, 1)  # (C n, k, P)
    gradient = values.new_empty(*values.shape[:2], pieces.shape[1])
    n = max(1, at_once // starts.shape[1])
    for start in range(0, len(starts), n):
        at = slice(start, start + n)
        patches = pieces.index_select(0, starts[at].flatten()).view(-1, starts.shape[1], pieces.shape[1])
        torch.bmm(values[at], patches, out=gradient[at])
    return gradient.unflatten(0, (-1, len(x)))


def reordered(of_inputs: Tensor, kernel: Sequence[int]) -> Tensor:
    """Something of each weight (..., d) of a flattened kernel, in the order of `gradient_at`."""
    return of_inputs.unflatten(-1, (-1, *kernel)).movedim(-3, -1).transpose(-3, -2).flatten(-3)


def restored(of_inputs: Tensor, kernel: Sequence[int]) -> Tensor:
    """The reverse of `reordered`."""
    height, width = kernel
    return of_inputs.unflatten(-1, (width, height, -1)).transpose(-3, -2).movedim(-1, -3).flatten(-3)


def _pieces(module: nn.Conv2d, x: Tensor, delta: Live) -> tuple[Tensor, Tensor]:
    """All patches, as rows (., d), and which of them each place sees, (C n, P).

    With all rows that a kernel sees of a column side by side, a patch is a contiguous piece, which overlaps the next
    pixel's: none is written out before it is asked for.
    """
    if any(module._reversed_padding_repeated_twice):
        x = F.pad(x, module._reversed_padding_repeated_twice)
    (height, width), (down, right) = module.kernel_size, module.stride
    by_column = x.permute(0, 3, 2, 1).contiguous().unfold(2, height, down)  # (n, width, rows, channels, height)
    seen = by_column.permute(0, 2, 1, 4, 3).contiguous()  # (n, rows, width, height, channels)
    n, n_rows, n_across, n_down, channels = seen.shape
    piece = n_down * channels
    pieces = seen.as_strided((n * n_rows * n_across - width + 1, width * piece), (piece, 1))
    places = delta.places.transpose(0, 1).contiguous()
    first = torch.arange(0, delta.size[1] * right, right) + n_across * torch.arange(n_rows)[:, None]
    starts = first.flatten().index_select(0, places.flatten()).view_as(places)
    starts += torch.arange(0, n * n_rows * n_across, n_rows * n_across)[:, None]
    return pieces, starts.flatten(0, 1)
