"""Networks that are layers one after another, by hand: products forward and backward, without vmap and autograd.

For fully connected networks products, sums and derivatives are those that torch.func.vmap takes of the same layers, and
so are the bits; convolutions are equal within rounding, and of one network alone. What falls away are calls, the
gradient in the inputs, and the time that a loss takes whose classes are the last axis. Measured on one core: 64 digits
networks (64-64-64-10) take .6 of the time of a step at batch 10, .7 at batch 100.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from study.models.activation import ACTIVATIONS
from study.models.pooling import HalvingPool
from study.seams.optimizer import Stack
from study.training import products
from study.training.aligned import AlignedLinear, fits
from study.training.dropout import StackedDropout
from study.training.products import Back

ELEMENTWISE = frozenset(ACTIVATIONS.values())


@dataclass
class Pass:
    """One forward pass: the logits (networks, n, C), and the derivatives of its layers."""

    logits: Tensor
    backs: list[Back]

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
    """Layers one after another, by their paths."""

    layers: Mapping[str, nn.Module]

    @property
    def convolves(self) -> bool:
        """Whether it is for a stack of one."""
        return any(isinstance(layer, nn.Conv2d | HalvingPool) for layer in self.layers.values())

    def fits(self, n: int) -> bool:
        """Whether n inputs a network need no zeros around them (aligned.py); a matter of the shapes of one network."""
        return all(fits(layer, n) for layer in self.layers.values() if isinstance(layer, nn.Linear))

    def evaluate(self, parameters: Stack, x: Tensor) -> Tensor:
        """Logits (networks, n, C) in evaluation mode of inputs (n, *shape) that all networks share."""
        return self.forward(parameters, {}, x.expand(len(next(iter(parameters.values()))), *x.shape)).logits

    def forward(self, parameters: Stack, masks: Stack, x: Tensor) -> Pass:
        """A pass of inputs (networks, n, *shape), with the masks of dropout layers that drop something.

        The parameters are not to change before its `backward`.
        """
        h, before = x, None
        backs: list[Back] = []
        ahead = zip(self.layers.items(), [*list(self.layers.values())[1:], None], strict=True)
        for (path, layer), behind in ahead:
            mask = masks.get(f"{path}.kept")
            if isinstance(layer, StackedDropout) and mask is None:
                continue
            if isinstance(layer, nn.Linear):
                h, back = products.linear(h, layer, path, parameters, first=not backs)
            elif isinstance(layer, nn.Conv2d) and products.pools(h, layer, behind):
                h, back = products.pooled_convolution(h, layer, path, parameters, first=not backs)
                next(ahead)  # the pool
            elif isinstance(layer, nn.Conv2d):
                h, back = products.convolution(h, layer, path, parameters, first=not backs)
            elif isinstance(layer, nn.Flatten):
                h, back = products.flatten(h)
                if not backs:
                    continue
            elif isinstance(layer, HalvingPool):
                h, back = products.pooling(h)
            elif mask is not None:
                h, back = products.times(h, mask)
            elif type(layer) is nn.ReLU:
                h, back = products.relu(h, overwrites=isinstance(before, nn.Linear | nn.Conv2d))
            else:
                h, back = products.elementwise(layer, h)
            backs.append(back)
            before = layer
        return Pass(h, backs)


def chain_of(template: nn.Module) -> Chain | None:
    """The network as a chain, where it is one: an nn.Sequential of the layers here, from a weighted one to a linear."""
    if not isinstance(template, nn.Sequential) or type(template) is not nn.Sequential:
        return None
    layers: dict[str, nn.Module] = dict(zip(template._modules, template, strict=True))  # one that is there twice, twice
    modules = list(layers.values())
    if not all(map(_known, modules)):
        return None
    weighted = [module for module in modules if not isinstance(module, nn.Flatten)]
    if not weighted or not isinstance(weighted[0], nn.Linear | nn.Conv2d) or not isinstance(modules[-1], nn.Linear):
        return None
    flattened = [i for i, module in enumerate(modules) if isinstance(module, nn.Flatten)]
    spatial = [i for i, module in enumerate(modules) if isinstance(module, nn.Conv2d | HalvingPool)]
    first_linear = next(i for i, module in enumerate(modules) if isinstance(module, nn.Linear))
    in_order = len(flattened) == 1 and max(spatial, default=-1) < flattened[0] < first_linear
    return Chain(layers) if in_order else None


def _known(layer: nn.Module) -> bool:
    if isinstance(layer, StackedDropout):
        return not layer.channels
    if isinstance(layer, nn.Flatten):
        return (layer.start_dim, layer.end_dim) == (1, -1)
    if type(layer) is nn.Conv2d:
        return layer.padding_mode == "zeros" and isinstance(layer.padding, tuple)
    return type(layer) in ELEMENTWISE or type(layer) in (nn.Linear, AlignedLinear, HalvingPool)
