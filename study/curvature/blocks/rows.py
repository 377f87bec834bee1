"""A layer's Gauss-Newton block through the gradients of all samples, held as one matrix: a product is two of theirs.

The block is R^T R over the number of samples, R having a row for each sample and column of Lambda. Making R costs one
backward pass a column; each product then costs 4 multiplications for each number of R, where a network's own product
takes two and a half backward passes. It pays for convolutions and few outputs, see `layer_rows`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..adapter import Call
from ..batches import Batches
from ..finding import RefusedLayers
from ..layers import CONVOLUTIONS, Layer
from ..loss import Loss
from ..network import Network
from ..torch_losses import counted
from .contraction import per_sample_gradient
from .verification import Verification

# Lanczos takes some 15 products of two and a half backward passes.
_MOST_COLUMNS = 32
_CHUNK = 64  # samples at once: the caches hold them


class Rows:
    """The Gauss-Newton block of the mean loss in one layer's weight: `n` numbers, `product` as of `Curvature`."""

    def __init__(self, parts: list[Tensor], n: int, count: float) -> None:
        """`parts` are pieces (r, n) of R, `count` what the sum over samples is divided by."""
        self.n = n
        self._parts, self._count = parts, count

    def product(self, vectors: Tensor) -> Tensor:
        """The block applied to each row of vectors (m, n): (m, n), float64, summed up from pieces in R's dtype."""
        total = torch.zeros(vectors.shape, dtype=torch.float64)
        for rows in self._parts:
            total += (vectors.to(rows.device, rows.dtype) @ rows.T @ rows).double().cpu()
        return total / self._count


def layer_rows(
    model: nn.Module, batches: Batches, loss: object, call: Call | None, budget: int, layer: Layer
) -> Rows | None:
    """The rows of one layer; None where they would not pay, `budget` bytes do not hold them, or it cannot be measured.

    They pay for a convolution of a network with few outputs, and not for a layer on vectors, whose gradients are longer
    than the two vectors that each is a product of. Raises ValueError as `layer_curvature` for data and targets.
    """
    n_samples = batches.n_samples if batches.is_repeatable else None
    if not isinstance(layer.module, CONVOLUTIONS) or not isinstance(loss, Loss) or n_samples is None:
        return None
    with Network(model, None, [layer.parameter], call) as network:
        inputs, _ = batches.head(network.place, 2)
        with torch.no_grad():
            n_columns = loss.n_columns(network(inputs).shape[1])
        weight = network.parameters[layer.parameter]
        if n_columns > _MOST_COLUMNS or n_samples * n_columns * weight.nbytes > budget:
            return None
        try:
            return _summed(network, layer, batches, loss)
        except RefusedLayers:
            return None


def _summed(network: Network, layer: Layer, batches: Batches, loss: Loss) -> Rows:
    verification, parts, count = Verification(network, [layer]), [], 0.0
    n = network.parameters[layer.parameter].numel()
    for inputs, targets in batches.read(network.place, _CHUNK):
        uses, outputs = verification.recorded(inputs)
        loss.check(targets, outputs.shape[1])
        verification.verify(inputs, uses, outputs)
        count += loss.count(targets)
        columns = loss.factor(outputs, targets).columns(0, loss.n_columns(outputs.shape[1]), outputs.dtype)
        if outputs.requires_grad:
            uses.backward(outputs, columns, keep_graph=False)
        for phi, delta in uses.joined(0, len(outputs)):
            parts.append(per_sample_gradient(phi, delta).transpose(1, 2).reshape(-1, n))
    return Rows(parts, n, counted(count))
