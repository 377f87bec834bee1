"""A look at the network on two samples: is it what the exact pass supposes, and how much fits into the budget?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..batches import Inputs, select
from ..finding import RefusedLayers
from ..layers import Layer
from ..network import Network
from ..reached import UNSEEN, unseen
from .contraction import Shape
from .linearity import hessian_is_gauss_newton
from .recording import Uses

# On a CPU larger pieces fall out of the caches. Measured on LeNet5: 1.3 times slower with 2^28, 1.15 with 2^24; 1.1
# times slower with 2^20.
_SWIFT_CPU = 2**26
_CACHE = 2**22
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
    swift: int  # bytes to take through a pass at once; more would be slower
    contracted: int  # bytes to contract at once

    def working(self, k: int) -> int:
        """Bytes for one sample and k columns in the forward and backward pass."""
        deltas = k * (sum(self.outputs) + _IN_FLIGHT * max(self.outputs))
        return self.saved + 3 * 8 * k * self.n_outputs + self.itemsize * deltas

    def piece(self, index: int, k: int) -> int:
        """How many samples to contract at once for one layer."""
        return max(1, self.contracted // self._contraction(index, k))

    def _contraction(self, index: int, k: int) -> int:
        shape = self.shapes[index]
        return self.itemsize * shape.elements(k, self.needs_gradient) if shape else 1

    def fixed(self) -> int:
        """Bytes for the sums of all layers: T, its normalized form and one product in flight."""
        sizes = [shape.n_out**2 for shape in self.shapes if shape]
        return 8 * (2 * sum(sizes) + 2 * max(sizes, default=0))

    def chunk(self, k: int) -> tuple[int, int]:
        """(samples, columns) to take at once when each sample has k columns; ValueError if not even (1, 1) fits."""
        columns = max(k, 1)
        while columns > 1 and self._left(columns) < self.working(columns):
            columns = -(-columns // 2)
        left = self._left(columns)
        if left < self.working(columns):
            needed = 4 * (self.budget - left + self.working(columns)) // 3 + 1
            raise ValueError(
                f"memory_budget {self.budget} bytes is too small: one sample and one column need {needed}, "
                f"{self.fixed()} of them the sums of all layers; raise it or measure fewer layers at a time"
            )
        # Many samples share the work that is done once for each chunk: reading weights, adding up T.
        swift = max(self.swift, 4 * self.fixed())
        return max(1, min(left, swift) // self.working(columns)), columns

    def fits(self) -> bool:
        """Whether the budget holds at least one sample and one column."""
        return self._left(1) >= self.working(1)

    def _left(self, k: int) -> int:
        """Bytes for the passes: a quarter of the budget may hold recorded ones, and contractions need their own."""
        each = max(self._contraction(index, k) for index in range(len(self.shapes)))
        return 3 * self.budget // 4 - self.fixed() - max(self.contracted, each)


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
    shapes = _check_gradients(network, layers, uses, inputs, outputs)
    saved = network.saved_bytes(lambda: network(inputs)) // len(outputs)
    sizes = tuple(sum(use.n_outputs for use in uses.of(index)) for index in range(len(layers)))
    is_cpu = outputs.device.type == "cpu"
    return Plan(
        budget=budget,
        itemsize=outputs.element_size(),
        saved=saved,
        n_outputs=outputs.shape[1],
        outputs=sizes,
        shapes=tuple(shapes),
        exact=tuple(exact),
        needs_gradient=needs_gradient,
        swift=_SWIFT_CPU if is_cpu else budget,
        contracted=min(_CACHE if is_cpu else budget // 4, budget // 8),
    )


def _check_independent(network: Network, inputs: Inputs, outputs: Tensor) -> None:
    if not outputs.isfinite().all():  # a diverged network: nothing to compare, and what follows is NaN
        return
    # Beside itself, not alone: a batch-norm without running statistics refuses a batch of one.
    alone = network(select(inputs, torch.zeros(2, dtype=torch.long, device=outputs.device)))
    if not torch.allclose(alone[:1], outputs[:1], rtol=1e-2, atol=1e-3 * float(outputs.detach().abs().max())):
        raise ValueError(
            "the output for a sample depends on the other samples of its batch, or on chance (a batch-norm without "
            "running statistics? dropout in eval mode?): the curvature of such a network has no sum over samples"
        )


def _check_gradients(
    network: Network, layers: Sequence[Layer], uses: Uses, inputs: Inputs, outputs: Tensor
) -> list[Shape | None]:
    """Each layer's G, summed over samples, must be the gradient that autograd gives for its weight."""
    weights = [network.parameters[layer.parameter] for layer in layers]
    direction = torch.linspace(-1, 1, outputs.numel(), device=outputs.device).cos().view_as(outputs).to(outputs.dtype)
    true: Sequence[Tensor | None] = [None] * len(layers)
    if outputs.requires_grad:
        true = torch.autograd.grad(outputs, weights, direction, retain_graph=True, allow_unused=True)
        uses.backward(outputs, direction[None])
    silent = [layer.parameter for layer, gradient in zip(layers, true, strict=True) if gradient is None]
    blind = {*unseen(network, inputs, silent), *(layers[index].parameter for index in uses.blind)}
    refused: dict[str, str] = {}
    shapes: list[Shape | None] = []
    tolerance = 1e-1 if outputs.element_size() < 4 else 1e-3
    for index, (layer, gradient) in enumerate(zip(layers, true, strict=True)):
        kind = f"of type {type(layer.module).__name__}"
        parts = list(uses.joined(index, len(outputs)))
        if not parts:
            ours = torch.zeros_like(layer.flatten(weights[index]))
            shapes.append(None)
        for phi, delta in parts:
            ours = torch.einsum("nkgop,ngdp->god", delta, phi).flatten(0, 1)
            shapes.append(Shape(phi.shape[1], len(ours), phi.shape[2], phi.shape[3]))
        expected = torch.zeros_like(ours) if gradient is None else layer.flatten(gradient)
        if layer.parameter in blind:
            refused[layer.name] = f"{kind} {UNSEEN}"
        elif (ours - expected).norm() > tolerance * (ours.norm() + expected.norm()):
            refused[layer.name] = (
                f"{kind} cannot be treated exactly: its weight acts on the output otherwise than through the module "
                f"(used functionally, or a forward of its own)"
            )
    if refused:
        raise RefusedLayers(refused, "leave it out with `layers`")
    return shapes
