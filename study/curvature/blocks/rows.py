"""A layer's Gauss-Newton block through the gradients of all samples, held as one matrix: a product is two of theirs.

The block is R^T R over the number of samples, R having a row for each sample and column of Lambda. Making R costs one
backward pass a column; each product then costs 4 multiplications for each number of R, where a network's own product
takes two and a half backward passes. It pays for convolutions and few outputs, see `layer_rows`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from ..losses.loss import Loss
from ..losses.torch_losses import counted
from ..networks.adapter import Call
from ..networks.batches import Batches
from ..networks.finding import RefusedLayers
from ..networks.layers import CONVOLUTIONS, Layer
from ..networks.network import Network
from .budget import CACHE
from .chain import Chain, chain_of
from .contraction import Shape, per_sample_gradient
from .live import Live, dense, gradient_at, reordered, takes
from .recording import Uses
from .sweep import sent_back
from .verification import Verification

# Lanczos takes some 15 products of two and a half backward passes.
_MOST_COLUMNS = 32
_CHUNK, _ON_GPU = 64, 512  # samples at once: a CPU's caches hold them; a GPU should want more (not measured); ours
_BY_HAND = 16  # of images that are sent back by hand


class Rows:
    """The Gauss-Newton block of the mean loss in one layer's weight: `n` numbers, `product` as of `Curvature`."""

    def __init__(self, parts: list[Tensor], order: Tensor, count: float) -> None:
        """`parts` are pieces (r, n) of R, `order` says which weight each column is of, `count` divides the sum."""
        self.n = len(order)
        self._parts, self._order, self._count = parts, order, count

    def product(self, vectors: Tensor) -> Tensor:
        """The block applied to each row of vectors (m, n): (m, n), float64, summed up from pieces in R's dtype."""
        ordered, total = vectors.cpu()[:, self._order], torch.zeros(vectors.shape, dtype=torch.float64)
        for rows in self._parts:
            total += (ordered.to(rows.device, rows.dtype) @ rows.T @ rows).double().cpu()
        return torch.empty_like(total).index_copy_(1, self._order, total) / self._count


def layer_rows(
    model: nn.Module, batches: Batches, loss: object, call: Call | None, budget: int, layers: Sequence[Layer]
) -> Iterator[dict[str, Rows]]:
    """The rows of layers by their names, those of as many together, from one pass, as `budget` bytes hold.

    A layer is missing where they would not pay, or it cannot be measured. They pay for a convolution of a network with
    few outputs, and not for a layer on vectors, whose gradients are longer than the two vectors that each is a product
    of. Raises ValueError as `layer_curvature` for data and targets.
    """
    n_samples = batches.n_samples if batches.is_repeatable else None
    convolutions = [layer for layer in layers if isinstance(layer.module, CONVOLUTIONS)]
    if not convolutions or not isinstance(loss, Loss) or n_samples is None:
        return
    with Network(model, None, [layer.parameter for layer in convolutions], call) as network:
        inputs, _ = batches.head(network.place, 2)
        with torch.no_grad():
            n_columns = loss.n_columns(network(inputs).shape[1])
        if n_columns > _MOST_COLUMNS:
            return
        group: list[Layer] = []
        held = 0
        for layer in convolutions:
            needed = n_samples * n_columns * network.parameters[layer.parameter].nbytes
            if needed > budget:
                continue
            if held + needed > budget:
                yield _found(network, group, batches, loss)
                group, held = [], 0
            group, held = [*group, layer], held + needed
        if group:
            yield _found(network, group, batches, loss)


def _found(network: Network, layers: Sequence[Layer], batches: Batches, loss: Loss) -> dict[str, Rows]:
    """Those of all layers; where one cannot be measured, of each by itself that can."""
    try:
        return _summed(network, layers, batches, loss)
    except RefusedLayers:
        alone = [] if len(layers) == 1 else [_found(network, [layer], batches, loss) for layer in layers]
        return {name: rows for found in alone for name, rows in found.items()}


def _summed(network: Network, layers: Sequence[Layer], batches: Batches, loss: Loss) -> dict[str, Rows]:
    verification, count = Verification(network, layers), 0.0
    orders = [_order(layer, network.parameters[layer.parameter]) for layer in layers]
    parts: list[list[Tensor]] = [[] for _ in layers]
    chunk = _CHUNK if network.parameters[layers[0].parameter].is_cpu else _ON_GPU
    for inputs, targets in batches.read(network.place, chunk):
        uses, outputs = verification.recorded(inputs)
        loss.check(targets, outputs.shape[1])
        verification.verify(inputs, uses, outputs)
        count += loss.count(targets)
        columns = loss.factor(outputs, targets).columns(0, loss.n_columns(outputs.shape[1]), outputs.dtype)
        if not outputs.requires_grad:
            continue
        chain = chain_of(outputs, uses) if verification.by_hand else None
        if chain:
            made = _by_hand(chain, uses, columns, verification.shapes, orders)
        else:
            made = _back(uses, outputs, columns, orders)
        for index, rows in made:
            parts[index].append(rows)
    return {
        layer.name: Rows(each, order, counted(count)) for layer, each, order in zip(layers, parts, orders, strict=True)
    }


def _order(layer: Layer, weight: Tensor) -> Tensor:
    """Which weight each column is of: in the order of `gradient_at` where it is for the layer."""
    order = torch.arange(weight.numel())
    return reordered(order.view(len(weight), -1), layer.kernel).flatten() if takes(layer.module) else order


def _back(uses: Uses, outputs: Tensor, columns: Tensor, orders: Sequence[Tensor]) -> Iterator[tuple[int, Tensor]]:
    """Each layer's rows of one chunk, by autograd."""
    uses.backward(outputs, columns, keep_graph=False)
    for index, order in enumerate(orders):
        for phi, delta in uses.joined(index, len(outputs)):
            yield index, _ordered(phi, delta, order)


@torch.no_grad()
def _by_hand(
    chain: Chain, uses: Uses, columns: Tensor, shapes: Sequence[Shape | None], orders: Sequence[Tensor]
) -> Iterator[tuple[int, Tensor]]:
    """The same, a few samples at a time, of the places that pooling lets through where that is cheaper."""
    for index, delta, at in sent_back(chain, columns, _BY_HAND):
        layer, use, shape, order = uses.layers[index], uses.of(index)[0], shapes[index], orders[index]
        x = use.x[at]
        if (
            isinstance(delta, Live)
            and takes(use.module)
            and shape
            and shape.pays_at(delta.places.shape[2], len(columns))
        ):
            gradient = gradient_at(use.module, x, delta, CACHE // (x.element_size() * shape.d))
            yield index, gradient.permute(1, 2, 0, 3).reshape(-1, len(order))
        else:
            yield index, _ordered(layer.patches(use.module, x), layer.deltas(use.module, dense(delta)), order)


def _ordered(phi: Tensor, delta: Tensor, order: Tensor) -> Tensor:
    rows = per_sample_gradient(phi, delta).transpose(1, 2).reshape(-1, len(order))
    return rows.index_select(1, order.to(rows.device))
