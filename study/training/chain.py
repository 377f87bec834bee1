"""Fully connected networks of a stack by hand: one batched product a layer, forward and backward, and no vmap.

The products, sums and derivatives are those that torch.func.vmap takes of the same layers, so the bits are, too. What
falls away are its calls, the gradient in the inputs, and the time that a loss takes whose classes are the last axis.
Measured for 64 digits networks, 64-64-64-10, on one core: .6 of the time of a step at batch 10, .7 at batch 100.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from study.models.activation import ACTIVATIONS
from study.seams.optimizer import Stack
from study.training.aligned import AlignedLinear, fits
from study.training.dropout import StackedDropout

Back = Callable[[Tensor, Stack], Tensor | None]  # a layer's derivative, which puts those in its parameters into a stack
ELEMENTWISE = frozenset(ACTIVATIONS.values())
FEW = 16  # outputs, fewer than a processor's register holds


@dataclass
class Pass:
    """One forward pass: the logits (networks, n, C), and what takes its derivatives, layer by layer."""

    logits: Tensor
    backs: list[Back] = field(default_factory=list)

    def backward(self, gradient: Tensor) -> Stack:
        """The gradients in all parameters by that in the logits."""
        found: Stack = {}
        passed: Tensor | None = gradient.contiguous()
        for back in reversed(self.backs):
            if passed is not None:
                passed = back(passed, found)
        return found


@dataclass(frozen=True)
class Chain:
    """Layers one after another, by their paths: linear, activation, dropout."""

    layers: Mapping[str, nn.Module]

    def fits(self, n: int) -> bool:
        """Whether n inputs a network need no zeros around them (aligned.py); a matter of the shapes of one network."""
        return all(fits(layer, n) for layer in self.layers.values() if isinstance(layer, nn.Linear))

    def evaluate(self, parameters: Stack, x: Tensor) -> Tensor:
        """Logits (networks, n, C) in evaluation mode of inputs (n, *shape) that all networks share."""
        h = x.flatten(1).expand(len(next(iter(parameters.values()))), -1, -1)
        for path, layer in self.layers.items():
            if isinstance(layer, nn.Linear):
                h = _product(h, layer, path, parameters)
            elif not isinstance(layer, StackedDropout):
                h = layer(h)
        return h

    def forward(self, parameters: Stack, masks: Stack, x: Tensor) -> Pass:
        """A pass in training mode of inputs (networks, n, *shape), with the masks of dropout layers that have one.

        The parameters are not to change before its `backward`.
        """
        h = x.flatten(2)
        backs: list[Back] = []
        for path, layer in self.layers.items():
            if isinstance(layer, nn.Linear):
                backs.append(_product_back(h, layer, path, parameters, first=not backs))
                h = _product(h, layer, path, parameters)
            elif isinstance(layer, StackedDropout):
                if (mask := masks.get(f"{path}.kept")) is not None:
                    h = h * mask
                    backs.append(_times(mask))
            elif type(layer) is nn.ReLU:
                h = h.relu()
                backs.append(_where_positive(h))
            else:
                h, back = _elementwise(layer, h)
                backs.append(back)
        return Pass(h, backs)


def chain_of(template: nn.Module) -> Chain | None:
    """The network as a chain, where it is one: an nn.Sequential of linear layers, activations of ours, dropout."""
    if type(template) is not nn.Sequential:
        return None
    layers = dict(template.named_children())
    first = next(iter(layers.values()), None)
    if isinstance(first, nn.Flatten) and (first.start_dim, first.end_dim) == (1, -1):
        layers.pop(next(iter(layers)))
    modules = list(layers.values())
    if not modules or not all(isinstance(end, nn.Linear) for end in (modules[0], modules[-1])):
        return None
    return Chain(layers) if all(map(_known, modules)) else None


def _known(layer: nn.Module) -> bool:
    if isinstance(layer, StackedDropout):
        return not layer.channels
    return type(layer) in ELEMENTWISE or type(layer) in (nn.Linear, AlignedLinear)


def _product(h: Tensor, layer: nn.Linear, path: str, parameters: Stack) -> Tensor:
    product = torch.bmm(h, parameters[f"{path}.weight"].mT)
    return product if layer.bias is None else product.add_(parameters[f"{path}.bias"].unsqueeze(1))


def _product_back(h: Tensor, layer: nn.Linear, path: str, parameters: Stack, *, first: bool) -> Back:
    def back(d: Tensor, found: Stack) -> Tensor | None:
        found[f"{path}.weight"] = _weight_gradient(h, d)
        if layer.bias is not None:
            found[f"{path}.bias"] = d.sum(1)
        return None if first else torch.bmm(d, parameters[f"{path}.weight"])  # nobody asks for that of the inputs

    return back


def _weight_gradient(h: Tensor, d: Tensor) -> Tensor:
    """d^T h. For few outputs as vmap takes it, (h^T d)^T: a CPU then rounds otherwise; for more it is as slow."""
    return torch.bmm(h.mT, d).mT if d.shape[-1] < FEW else torch.bmm(d.mT, h)


def _times(mask: Tensor) -> Back:
    return lambda d, found: d * mask


def _where_positive(h: Tensor) -> Back:
    return lambda d, found: torch.ops.aten.threshold_backward(d, h, 0)


def _elementwise(layer: nn.Module, h: Tensor) -> tuple[Tensor, Back]:
    with torch.enable_grad():
        own = h.requires_grad_()
        result = layer(own)
    return result.detach(), lambda d, found: torch.autograd.grad(result, own, d)[0]
