"""Slow, obvious twins: dense Hessians by autograd."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call


def mean_loss(name: str, label_smoothing: float = 0.0) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss of study.curvature.Loss, written out with torch's own functions."""
    if name == "cross_entropy":
        return lambda f, y: nn.functional.cross_entropy(f, y, label_smoothing=label_smoothing)
    if name == "binary_cross_entropy":
        return lambda f, y: nn.functional.binary_cross_entropy_with_logits(f, y, reduction="sum") / len(f)
    return lambda f, y: (f - y).square().sum() / len(f)


def hessian_block(model: nn.Module, inputs: Tensor | tuple, targets: Tensor, loss: Callable, parameter: str) -> Tensor:
    """The Hessian of the mean loss in one weight, as (n_out, d, n_out, d)."""
    args = inputs if isinstance(inputs, tuple) else (inputs,)
    weight = dict(model.named_parameters())[parameter].detach()

    def of_weight(value: Tensor) -> Tensor:
        return loss(functional_call(model, {parameter: value}, args), targets)

    n_out = len(weight)
    block = torch.autograd.functional.hessian(of_weight, weight)
    return block.reshape(n_out, weight.numel() // n_out, n_out, weight.numel() // n_out)


def trace_matrix(block: Tensor) -> Tensor:
    """T[s, s'] = Tr(H_{s,s'})."""
    return torch.einsum("sjtj->st", block)
