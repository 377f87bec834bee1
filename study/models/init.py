"""Initial weights of every layer (not of norm layers); biases are zero but with "default", PyTorch's own for both."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from study.choice import Registry

if TYPE_CHECKING:
    from torch import Tensor, nn

Draw = Callable[["Tensor"], object]
INITS: Registry[Draw | None] = Registry("init")  # draws a weight in place; None keeps what the layer was made with


def init(name: str) -> Callable[[Draw], Draw]:
    """Register how a weight of two or more dimensions is drawn, in place, from the global generator."""

    def register(draw: Draw) -> Draw:
        INITS.add(name, draw)
        return draw

    return register


INITS.add("default", None)


@init("xavier_normal")
def xavier_normal(weight: Tensor) -> None:
    """Normal, variance 2 / (fan in + fan out) (Glorot and Bengio 2010)."""
    from torch import nn

    nn.init.xavier_normal_(weight)


@init("xavier_uniform")
def xavier_uniform(weight: Tensor) -> None:
    """Uniform, variance 2 / (fan in + fan out) (Glorot and Bengio 2010)."""
    from torch import nn

    nn.init.xavier_uniform_(weight)


@init("kaiming_uniform")
def kaiming_uniform(weight: Tensor) -> None:
    """Uniform, variance 2 / fan in (He et al. 2015)."""
    from torch import nn

    nn.init.kaiming_uniform_(weight)


@init("kaiming_normal")
def kaiming_normal(weight: Tensor) -> None:
    """Normal, variance 2 / fan in (He et al. 2015)."""
    from torch import nn

    nn.init.kaiming_normal_(weight)


@init("orthogonal")
def orthogonal(weight: Tensor) -> None:
    """Of orthonormal rows or columns, whichever are fewer, a convolution's kernels being rows (Saxe et al. 2013)."""
    from torch import nn

    nn.init.orthogonal_(weight)


@init("uniform_0.1")
def uniform(weight: Tensor) -> None:
    """Uniform on [-0.1, 0.1]."""
    weight.detach().uniform_(-0.1, 0.1)


@init("normal_0.1")
def normal(weight: Tensor) -> None:
    """Normal, standard deviation 0.1."""
    weight.detach().normal_(0.0, 0.1)


def initialize(model: nn.Module, name: str, gain: float) -> None:
    """Draw the weights of every layer anew (but for "default") and multiply them, not the biases, by `gain`."""
    import torch
    from torch import nn

    draw = INITS[name]
    for module in model.modules():
        weight, bias = getattr(module, "weight", None), getattr(module, "bias", None)
        if not isinstance(weight, nn.Parameter) or weight.ndim < 2:
            continue
        if draw:
            draw(weight)
            if isinstance(bias, nn.Parameter):
                nn.init.zeros_(bias)
        with torch.no_grad():
            weight.mul_(gain)
