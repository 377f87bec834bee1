"""Activations whose bits do not depend on where a number stands in a tensor, so not on the networks of a stack either.

torch computes the last numbers of a tensor, which fill no vector register, by other code than the rest: its GELU, SiLU,
Softplus and sigmoid then differ in the last bit. They are written here with functions that do not. ReLU, LeakyReLU and
Tanh of torch are such as they are.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class GELU(nn.GELU):
    """x times the normal distribution function of x, as torch.nn.GELU to rounding."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same."""
        return x * (0.5 * (1 + torch.erf(x * math.sqrt(0.5))))


class SiLU(nn.SiLU):
    """x sigmoid(x), as torch.nn.SiLU to rounding."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same."""
        return x / (1 + torch.exp(-x.clamp(min=-80)))  # below, exp would overflow and its derivative be NaN


class Softplus(nn.Softplus):
    """log(1 + exp(x)), as torch.nn.Softplus, which leaves x above 20 as it is."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same; the gradient at 0 is 1/2."""
        size = x.abs()
        return 0.5 * (x + size) + torch.log1p(torch.exp(-size))


ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU, "tanh": nn.Tanh, "gelu": GELU, "silu": SiLU, "leaky_relu": nn.LeakyReLU, "softplus": Softplus,
}  # fmt: skip
