"""A look at the network on two samples: is it what the exact pass supposes, and how much fits into the budget?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from study.curvature.contract import Shape, per_sample_gradient
from study.curvature.layers import Layer
from study.curvature.linear import hessian_is_gauss_newton
from study.curvature.network import Inputs, Network, select
from study.curvature.uses import Uses

# Backward holds the gradients of a few activations beside those that it was asked for: ReLU's, pooling's, a residual's.
_IN_FLIGHT = 4


@dataclass(frozen=True)
class Plan:
    """How many samples and columns to take at once so that a pass stays within a budget of bytes."""

    budget: int
    itemsize: int
    saved: int  # bytes that one sample's forward pass keeps
    n_outputs: int
    outputs: tuple[int, ...]  # numbers in each layer's output
    shapes: tuple[Shape | None, ...]  # None for a layer that the outputs do not depend on
    exact: tuple[bool, ...]
    needs_gradient: bool

    def working(self, k: int) -> int:
        """Bytes for one sample and k columns."""
        contraction = max((shape.elements(k, self.needs_gradient) for shape in self.shapes if shape), default=0)
        deltas = k * (sum(self.outputs) + _IN_FLIGHT * max(self.outputs))
        columns = 3 * 8 * k * self.n_outputs
        return self.saved + columns + self.itemsize * (deltas + contraction)

    def fixed(self) -> int:
        """Bytes for the sums of all layers: T, its normalized form and one product in flight."""
        sizes = [shape.n_out**2 for shape in self.shapes if shape]
        return 8 * (2 * sum(sizes) + 2 * max(sizes, default=0))

    def chunk(self, k: int) -> tuple[int, int]:
        """(samples, columns) to take at once when each sample has k columns; ValueError if not even (1, 1) fits."""
        free = 3 * self.budget // 4 - self.fixed()  # a quarter may hold recorded passes, see _first_pass
        columns = max(k, 1)
        while columns > 1 and self.working(columns) > free:
            columns = -(-columns // 2)
        if self.working(columns) > free:
            needed = 4 * (self.fixed() + self.working(1)) // 3 + 1
            raise ValueError(
                f"memory_budget {self.budget} bytes is too small: one sample and one column need {needed}, "
                f"{self.fixed()} of them the sums of all layers; raise it or measure fewer layers at a time"
            )
        return free // self.working(columns), columns


def look(network: Network, layers: Sequence[Layer], inputs: Inputs, budget: int, needs_gradient: bool) -> Plan:
    """Run a few samples, check what the exact pass supposes, and plan.

    Raises ValueError if a sample's output depends on the others in its batch, or if a layer's weight acts
    otherwise than through its own module (a weight used functionally, a subclass with a forward of its own).
    """
    uses = Uses(layers)
    with uses.recorded():
        outputs = network(inputs)
    _check_independent(network, inputs, outputs)
    weights = [network.parameters[layer.parameter] for layer in layers]
    exact = hessian_is_gauss_newton(outputs, weights)
    shapes = _check_gradients(layers, weights, uses, outputs)
    saved = _saved_bytes(network, select(inputs, slice(1)))
    sizes = tuple(sum(use.n_outputs for use in uses.of(index)) for index in range(len(layers)))
    return Plan(
        budget, outputs.element_size(), saved, outputs.shape[1], sizes, tuple(shapes), tuple(exact), needs_gradient
    )


def _check_independent(network: Network, inputs: Inputs, outputs: Tensor) -> None:
    alone = network(select(inputs, slice(1)))
    if not torch.allclose(alone, outputs[:1], rtol=1e-2, atol=1e-3 * float(outputs.detach().abs().max())):
        raise ValueError(
            "the output for a sample depends on the other samples of its batch (a batch-norm without running "
            "statistics?): the curvature of such a network has no sum over samples"
        )


def _check_gradients(layers: Sequence[Layer], weights: list[Tensor], uses: Uses, outputs: Tensor) -> list[Shape | None]:
    """Each layer's G, summed over samples, must be the gradient that autograd gives for its weight."""
    direction = torch.linspace(-1, 1, outputs.numel(), device=outputs.device).cos().view_as(outputs).to(outputs.dtype)
    true = torch.autograd.grad(outputs, weights, direction, retain_graph=True, allow_unused=True)
    uses.backward(outputs, direction[None])
    shapes: list[Shape | None] = []
    tolerance = 1e-1 if outputs.element_size() < 4 else 1e-3
    for index, (layer, gradient) in enumerate(zip(layers, true, strict=True)):
        phi, delta = uses.joined(index)
        if phi is None or delta is None:
            ours, size = torch.zeros_like(layer.flatten(weights[index])), torch.zeros(())
            shapes.append(None)
        else:
            each = per_sample_gradient(phi, delta)
            ours, size = each.sum((0, 2)).flatten(0, 1), each.norm()
            shapes.append(Shape(phi.shape[1], len(ours), phi.shape[2], phi.shape[3]))
        expected = torch.zeros_like(ours) if gradient is None else layer.flatten(gradient)
        if (ours - expected).norm() > tolerance * size:
            raise ValueError(
                f"layer {layer.name!r} of type {type(layer.module).__name__} cannot be treated exactly: its weight "
                f"acts on the output otherwise than through the module (used functionally, or a forward of its own)"
            )
    return shapes


def _saved_bytes(network: Network, inputs: Inputs) -> int:
    """Bytes that the forward pass of one sample keeps for the backward one, each storage once, weights aside."""
    known = {value.untyped_storage().data_ptr() for value in network.parameters.values()}
    sizes: dict[int, int] = {}

    def pack(value: Tensor) -> Tensor:
        where = value.untyped_storage().data_ptr()
        if where not in known:  # the tensor's own size: the storage of an input may be that of the whole data set
            sizes[where] = max(sizes.get(where, 0), value.numel() * value.element_size())
        return value

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
        outputs = network(inputs)
    del outputs
    return sum(sizes.values())
