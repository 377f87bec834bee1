"""Weights that act on the outputs where autograd does not see it: under no_grad, or behind a detach."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from .batches import Inputs
from .network import Network

UNSEEN = (
    "acts on the outputs where autograd does not see it (a forward pass under torch.no_grad(), or a detach() behind it)"
)


def unseen(network: Network, inputs: Inputs, names: Iterable[str]) -> list[str]:
    """Which of these parameters, of which autograd knows nothing, the outputs for some samples depend on all the same.

    Each is changed and put back; one forward pass each.
    """
    names = list(names)
    if not names:
        return []
    with torch.no_grad():
        before = network(inputs)
        return [name for name in names if _acts(network, inputs, name, before)]


def _acts(network: Network, inputs: Inputs, name: str, before: Tensor) -> bool:
    values = network.parameters[name].data  # so that graphs which hold the parameter stay valid
    kept = values.clone()
    noise = torch.randn(values.shape, generator=torch.Generator().manual_seed(0)).to(values)
    try:
        values.add_(noise * (values.std(correction=0) + 0.1))
        after = network(inputs)
    finally:
        values.copy_(kept)
    return not torch.allclose(after, before, rtol=1e-3, atol=1e-5 * float(before.abs().max()), equal_nan=True)


def check_reached(network: Network, inputs: Inputs, names: Iterable[str]) -> None:
    """Raise ValueError if the outputs depend on one of these parameters and autograd says that they do not."""
    names = list(names)
    outputs = network(inputs)
    gradients: Iterable[Tensor | None] = [None] * len(names)
    if outputs.requires_grad:
        weights = [network.parameters[name] for name in names]
        gradients = torch.autograd.grad(outputs, weights, torch.ones_like(outputs), allow_unused=True)
    silent = [name for name, gradient in zip(names, gradients, strict=True) if gradient is None]
    for name in unseen(network, inputs, silent):
        raise ValueError(f"parameter {name!r} {UNSEEN}; leave it out")
