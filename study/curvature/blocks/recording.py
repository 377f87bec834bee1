"""The uses of each layer in a forward pass: its inputs, and the gradients in its outputs that a backward pass sends."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from ..networks.finding import INSTEAD, RefusedLayers
from ..networks.layers import Layer
from .layout import Layout

# Numbers in a column's gradients from which columns go back one by one on a CPU: batched, autograd takes convolutions
# and pooling one by one all the same and copies their results together; below it, calls cost more than numbers.
_ONE_BY_ONE = 2**17


@dataclass
class Use:
    """One call of a layer's module."""

    module: nn.Module
    x: Tensor
    edge: GradientEdge
    n_numbers: int  # in its output, of all samples
    delta: tuple[Tensor, ...] | None = None  # k of (n, <output shape>), None if the outputs do not depend on it


class Uses:
    """All uses of some layers in one forward pass, in the order of the layers.

    `layouts` says of each use where its samples are, None of one that the outputs do not depend on.
    """

    def __init__(self, layers: Sequence[Layer], layouts: Sequence[Sequence[Layout | None]] | None = None) -> None:
        self.layers = layers
        self.layouts = layouts
        self.n_samples = 0
        self._uses: list[list[Use]] = [[] for _ in layers]
        self.blind: set[int] = set()  # layers that were used without gradients

    def recorded(self) -> contextlib.AbstractContextManager[None]:
        """A context: the forward passes inside are recorded."""
        return hooked(self.layers, self._see)

    def _see(self, index: int, module: nn.Module, x: Tensor, output: Tensor) -> None:
        if not output.requires_grad:
            self.blind.add(index)
            return
        # The edge, not the tensor: an in-place activation after the layer moves the tensor on, the edge stays.
        self._uses[index].append(Use(module, x, get_gradient_edge(output), output.numel()))

    def of(self, index: int) -> list[Use]:
        """The uses of one layer."""
        return self._uses[index]

    def is_plain(self, index: int) -> bool:
        """Whether row i of what the layer is given is sample i."""
        layouts = self.layouts[index] if self.layouts else ()
        return all(layout is not None and layout.is_plain for layout in layouts)

    def last(self, index: int, outputs: Tensor) -> Tensor | None:
        """The inputs (n, d) of a linear layer if it gives the outputs themselves and is used nowhere else."""
        uses = self._uses[index]
        is_last = len(uses) == 1 and isinstance(uses[0].module, nn.Linear) and uses[0].edge.node is outputs.grad_fn
        return uses[0].x if is_last and uses[0].x.ndim == 2 else None

    def backward(
        self, outputs: Tensor, columns: Tensor, keep_graph: bool = True, without: Collection[int] = ()
    ) -> None:
        """Send the columns (k, n, C) back to the uses of all layers but some, batched unless they are large."""
        uses = [use for index, uses in enumerate(self._uses) for use in uses if index not in without]
        if not uses:
            return
        edges = [use.edge for use in uses]
        size = sum(use.n_numbers for use in uses)
        if columns.device.type == "cpu" and size >= _ONE_BY_ONE:
            keep = [True] * (len(columns) - 1) + [keep_graph]
            each = [
                torch.autograd.grad(outputs, edges, column, retain_graph=kept, allow_unused=True)
                for column, kept in zip(columns, keep, strict=True)
            ]
            for use, *delta in zip(uses, *each, strict=True):
                use.delta = None if delta[0] is None else tuple(delta)
            return
        batched = torch.autograd.grad(
            outputs, edges, columns, is_grads_batched=True, retain_graph=keep_graph, allow_unused=True
        )
        for use, deltas in zip(uses, batched, strict=True):
            use.delta = None if deltas is None else deltas.unbind()

    def joined(self, index: int, n: int) -> Iterator[tuple[Tensor, Tensor]]:
        """phi (n, g, d, P) and delta (n, k, g, o, P) of one layer, n samples at a time, delta being freed at the end.

        Several uses of the layer stand side by side as further positions. Nothing if the outputs do not depend on it.
        """
        layer = self.layers[index]
        live = [(use, use.delta, layout) for use, layout in self.placed(index) if use.delta is not None]
        for start in range(0, self.n_samples if live else 0, n):
            at = slice(start, start + n)
            phi, delta = [], []
            for use, deltas, layout in live:
                rows = [layout.rows(value, self.n_samples, at) for value in (use.x, *deltas)]
                phi.append(layout.folded(layer.patches(use.module, rows[0])))
                delta.append(layout.folded(layer.deltas(use.module, torch.stack(rows[1:], 1))))
            yield (phi[0], delta[0]) if len(live) == 1 else (torch.cat(phi, -1), torch.cat(delta, -1))
        for use in self._uses[index]:
            use.delta = None

    def placed(self, index: int) -> Iterator[tuple[Use, Layout]]:
        """The uses of one layer on which outputs depend; ValueError where one is not given the rows of its layout."""
        uses, layer = self._uses[index], self.layers[index]
        layouts = self.layouts[index] if self.layouts else [Layout()] * len(uses)
        if len(layouts) != len(uses):
            raise unclear(layer, f"is used {len(layouts)} times for some samples and {len(uses)} times for others")
        for use, layout in zip(uses, layouts, strict=True):
            if layout is None:
                if use.delta is not None:
                    raise unclear(layer, "moves the outputs for some samples and not for others")
            elif layout.fits(use.x, self.n_samples):
                yield use, layout
            else:
                raise unclear(layer, f"is given inputs of shape {tuple(use.x.shape)} for {self.n_samples} samples")


@dataclass(frozen=True)
class Seen:
    """The recorded forward pass of one chunk of the data."""

    uses: Uses
    outputs: Tensor
    targets: Tensor


def unclear(layer: Layer, what: str) -> RefusedLayers:
    """Of a layer whose inputs cannot be told apart by sample."""
    why = (
        f"of type {type(layer.module).__name__} {what}, and which of them are a sample's cannot be told (an input that "
        f"all samples share? tokens routed to experts?)"
    )
    return RefusedLayers({layer.name: why}, INSTEAD)


@contextlib.contextmanager
def hooked(layers: Sequence[Layer], see: Callable[[int, nn.Module, Tensor, Tensor], None]) -> Iterator[None]:
    """Call see(index of layer, module, input, output) at every use of every layer; the hooks are gone afterwards."""
    handles = []
    try:
        for index, layer in enumerate(layers):
            for module in layer.modules:

                def hook(module: nn.Module, args: tuple, kwargs: dict, output: Tensor, index: int = index) -> None:
                    see(index, module, (args or tuple(kwargs.values()))[0].detach(), output)

                handles.append(module.register_forward_hook(hook, with_kwargs=True))
        yield
    finally:
        for handle in handles:
            handle.remove()
