"""Max-pooling over 2 x 2 pixels without branches, equal to torch's for all numbers, for the training loop on a CPU.

torch's own kernel asks of every pixel whether it is the largest so far, and a processor cannot guess the answer.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

LARGE = 2**15  # numbers from which the gradient is faster here, too: for less, its calls cost more; measured


class HalvingPool(nn.MaxPool2d):
    """nn.MaxPool2d(2): the same values and gradients, but that the gradient of a NaN may reach another of its pixels.

    Measured on one core, 64 x 6 x 28 x 28: 0.06 ms in place of 1.2 where no gradient is wanted. With a gradient it is
    torch's own, unless `first_order` is set by who takes one plain gradient of it (0.5 ms in place of 1.3, both ways):
    that path knows no second derivative and no vmap.
    """

    def __init__(self) -> None:
        super().__init__(2)
        self.first_order = False

    def forward(self, x: Tensor) -> Tensor:
        """Inputs (..., height, width) to (..., height // 2, width // 2)."""
        if x.device.type != "cpu" or x.ndim not in (3, 4) or not x.numel() or x.shape[-1] % 2 or x.shape[-2] % 2:
            return super().forward(x)
        if not torch.is_grad_enabled():
            return halved(x)
        if self.first_order and self.pays(x):
            pooled: Tensor = _Halving.apply(x)
            return pooled
        return super().forward(x)

    @staticmethod
    def pays(x: Tensor) -> bool:
        """Whether `halved` and its gradient are faster than torch's own for images (n, channels, height, width)."""
        even = not x.shape[-1] % 2 and not x.shape[-2] % 2
        return even and x.numel() >= LARGE and x.dtype == torch.float32 and x.device.type == "cpu"


def halved(x: Tensor) -> Tensor:
    """The largest of each 2 x 2 pixels, (..., height / 2, width / 2)."""
    rows = torch.maximum(x[..., ::2, :], x[..., 1::2, :])
    return torch.maximum(rows[..., ::2], rows[..., 1::2])


def halved_in_pairs(x: Tensor) -> tuple[Tensor, Tensor]:
    """The largest of each two pixels of a row, (..., height, width / 2), and that of 2 x 2, for `halved_gradient`."""
    pairs = torch.maximum(x[..., ::2], x[..., 1::2])
    return pairs, torch.maximum(pairs[..., ::2, :], pairs[..., 1::2, :])


def halved_gradient(x: Tensor, pairs: Tensor, gradient: Tensor) -> Tensor:
    """The gradient in x: the first pixel that holds the maximum takes it, row by row, as in torch."""
    # Bits and a mask of all ones or none: a product would make NaN of infinities, where() takes three times longer.
    of_pairs, result = torch.empty_like(pairs), torch.empty_like(x)
    bits, halfway, places = (t.view(torch.int32) for t in (gradient.contiguous(), of_pairs, result))
    upper = (pairs[..., ::2, :] >= pairs[..., 1::2, :]).int().neg_()
    torch.bitwise_and(bits, upper, out=halfway[..., ::2, :])
    torch.bitwise_and(bits, upper.bitwise_not_(), out=halfway[..., 1::2, :])
    left = (x[..., ::2] >= x[..., 1::2]).int().neg_()
    torch.bitwise_and(halfway, left, out=places[..., ::2])
    torch.bitwise_and(halfway, left.bitwise_not_(), out=places[..., 1::2])
    return result


class _Halving(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        pairs, largest = halved_in_pairs(x)
        ctx.save_for_backward(x, pairs)
        return largest

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        x, pairs = ctx.saved_tensors
        return halved_gradient(x, pairs, gradient)
