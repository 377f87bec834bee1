"""Linear layers of a stack whose bits do not depend on where a network stands in it.

A CPU's matrix products round by where a matrix begins in memory, in steps of 16 bytes, and by another order where it is
a vector. In a stack the matrices of a network follow those of the one before, so each must be a multiple of 16 bytes.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

STEP = 4  # numbers of 4 bytes, or more, that fill 16


class AlignedLinear(nn.Linear):
    """nn.Linear, with zeros around inputs, weights and outputs where those of one network fill no such step.

    Costs next to nothing where they do. `whole`: its weights fill one and are no vector.
    """

    whole: bool

    def forward(self, x: Tensor) -> Tensor:
        """Inputs (..., in) to (..., out)."""
        if fits(self, x.numel() // self.in_features):
            return functional.linear(x, self.weight, self.bias)
        more, above = -self.in_features % STEP, -self.out_features % STEP
        bias = None if self.bias is None else functional.pad(self.bias, (0, above))
        weight = functional.pad(self.weight, (0, more, 0, above))
        return functional.linear(functional.pad(x, (0, more)), weight, bias)[..., : self.out_features]


def fits(layer: nn.Linear, n: int) -> bool:
    """Whether n inputs of one network, weights and outputs need no zeros around them; always of a layer as torch's."""
    if not isinstance(layer, AlignedLinear):
        return True
    return layer.whole and not n * layer.in_features % STEP and not n * layer.out_features % STEP


def align(template: nn.Module) -> None:
    """Make every linear layer of a network an AlignedLinear."""
    for module in template.modules():
        if type(module) is nn.Linear:
            sizes = module.in_features, module.out_features
            module.__class__ = AlignedLinear
            module.__dict__["whole"] = 1 not in sizes and not sizes[0] * sizes[1] % STEP
