"""Slow, obvious twins: dense Hessians and Gauss-Newton matrices by autograd, one sample after another."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call

Inputs = Tensor | tuple[Tensor, ...]


def mean_loss(name: str, label_smoothing: float = 0.0) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss of study.curvature.Loss, written out with torch's own functions."""
    if name == "cross_entropy":
        return lambda f, y: nn.functional.cross_entropy(f, y, label_smoothing=label_smoothing)
    if name == "binary_cross_entropy":
        return lambda f, y: nn.functional.binary_cross_entropy_with_logits(f, y, reduction="sum") / len(f)
    return lambda f, y: (f - y).square().sum() / len(f)


def _as_function(model: nn.Module, inputs: Inputs, parameter: str) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    args = inputs if isinstance(inputs, tuple) else (inputs,)
    weight = dict(model.named_parameters())[parameter].detach()
    return lambda value: functional_call(model, {parameter: value}, args), weight


def _blocks(matrix: Tensor, weight: Tensor) -> Tensor:
    d = weight.numel() // len(weight)
    return matrix.reshape(len(weight), d, len(weight), d)


def hessian_block(model: nn.Module, inputs: Inputs, targets: Tensor, loss: Callable, parameter: str) -> Tensor:
    """The Hessian of the mean loss in one weight, as (n_out, d, n_out, d)."""
    outputs, weight = _as_function(model, inputs, parameter)
    return _blocks(torch.autograd.functional.hessian(lambda value: loss(outputs(value), targets), weight), weight)


def gauss_newton_block(model: nn.Module, inputs: Inputs, targets: Tensor, loss: Callable, parameter: str) -> Tensor:
    """The Gauss-Newton matrix of the mean loss in one weight, as (n_out, d, n_out, d): J^T (d2 loss / d f2) J."""
    outputs, weight = _as_function(model, inputs, parameter)
    jacobian = torch.autograd.functional.jacobian(outputs, weight).flatten(2).flatten(0, 1)
    f = outputs(weight).detach()
    curvature = torch.autograd.functional.hessian(lambda value: loss(value, targets), f)
    return _blocks(jacobian.T @ curvature.reshape(f.numel(), f.numel()) @ jacobian, weight)


def trace_matrix(block: Tensor) -> Tensor:
    """T[s, s'] = Tr(H_{s,s'})."""
    return torch.einsum("sjtj->st", block)
