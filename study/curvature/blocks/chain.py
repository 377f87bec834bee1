"""Columns sent back by hand where autograd's graph is a plain chain: all of them share its masks, indices and weights.

The graph is read anew for each chunk of the data, whatever code built it. Every operation from the outputs down to the
first layer that is measured must be one of `_STEPS`, each of one input that depends on a measured layer; anything
else goes through autograd. Each derivative is torch's own formula. One sample's numbers are the first axis everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node

from ..networks.companions import agree
from .live import Delta, Live, dense
from .recording import Uses

Step = Callable[[Delta, slice], Delta]  # gradients (n, k, ...) of some samples in an operation's output, in its input


# Which layer's output it is, if one's, and the derivative of the operation that gives it; none behind the last layer.
Link = tuple[int | None, Step | None]
Chain = list[Link]  # from the outputs down


def chain_of(outputs: Tensor, uses: Uses, without: Collection[int] = ()) -> Chain | None:
    """The chain through all layers but some, or None: of a network with convolutions, on a CPU.

    Others gain nothing: autograd sends the columns of a network on vectors back as fast.
    """
    wanted: dict[Node | None, int] = {}
    for index in range(len(uses.layers)):
        of = uses.of(index)
        if len(of) != 1 or not uses.is_plain(index) or of[0].edge.output_nr:
            return None
        if index not in without:
            wanted[of[0].edge.node] = index
    if len(wanted) != len(uses.layers) - len(without) or outputs.device.type != "cpu":
        return None
    if not outputs.isfinite().all():  # a mask makes NaN of infinity, autograd makes 0
        return None
    if not any(isinstance(uses.of(index)[0].module, nn.Conv2d) for index in wanted.values()):
        return None
    links: Chain = []
    node: Node | None = outputs.grad_fn
    while node is not None:
        layer = wanted.pop(node) if node in wanted else None
        if not wanted:
            return [*links, (layer, None)]
        found = _STEPS.get(node.name())
        try:
            read = found(node, len(outputs)) if found else None
        except AttributeError:  # of a release of torch that saves it otherwise
            return None
        if read is None:
            return None
        node, step = read
        links.append((layer, step))
    return None


_Read = tuple[Node | None, Step] | None  # the node of the input, and the derivative


def _input(node: Any, at: int) -> Node | None:
    """The node that an operation's input comes from; None where another of them is more than a parameter."""
    children = [child for child, _ in node.next_functions]
    others = children[:at] + children[at + 1 :]
    return children[at] if all(map(_is_parameter, others)) else None


def _is_parameter(node: Node | None) -> bool:
    if node is not None and node.name() == "TBackward0":
        node = node.next_functions[0][0]
    return node is None or node.name() == "torch::autograd::AccumulateGrad"


@torch.no_grad()
def agrees(outputs: Tensor, uses: Uses, columns: Tensor) -> bool:
    """Whether what autograd has sent back of some columns (k, n, C) is what the chain sends, if there is one.

    It is not where hooks on tensors change gradients.
    """
    delta: Delta = columns.transpose(0, 1)
    for index, step in chain_of(outputs, uses) or ():
        if index is not None:
            sent = uses.of(index)[0].delta
            if sent is None or not agree(dense(delta), torch.stack(sent, 1), dense(delta)):
                return False
        if step is not None:
            delta = step(delta, slice(None))
    return True


def _relu(node: Any, n: int) -> _Read:
    result = node._saved_result
    if len(result) != n:
        return None

    def back(delta: Delta, at: slice) -> Delta:
        if isinstance(delta, Live):
            passes = result[at].flatten(2).gather(2, delta.places) > 0
            return delta.of(delta.values * passes.to(result.dtype)[:, None])
        return delta * (result[at] > 0).to(result.dtype)[:, None]

    return _input(node, 0), back


def _max_pool(node: Any, n: int) -> _Read:
    places, shape = node._saved_result1, node._saved_self.shape
    if len(shape) != 4 or shape[0] != n:
        return None

    def back(delta: Delta, at: slice) -> Delta:
        return Live(dense(delta).flatten(3), places[at].flatten(2), shape[2:])

    return _input(node, 0), back


def _view(node: Any, n: int) -> _Read:
    shape = node._saved_self_sym_sizes
    if not shape or shape[0] != n:
        return None

    def back(delta: Delta, at: slice) -> Delta:
        delta = dense(delta)
        return delta.reshape(*delta.shape[:2], *shape[1:])

    return _input(node, 0), back


def _linear(node: Any, n: int) -> _Read:
    """Of `addmm`, with a bias, and of `mm`; n rows of vectors."""
    weight = node._saved_mat2
    if weight is None or getattr(node, "_saved_alpha", 1) != 1:
        return None
    with_bias = int(node.name() == "AddmmBackward0")

    def back(delta: Delta, at: slice) -> Delta:
        delta = dense(delta)
        return (delta.flatten(0, 1) @ weight.T).unflatten(0, delta.shape[:2])

    return _input(node, with_bias), back


def _convolution(node: Any, n: int) -> _Read:
    x, weight = node._saved_input, node._saved_weight
    if weight is None or x.ndim != 4 or len(x) != n:
        return None
    flags = (
        node._saved_stride, node._saved_padding, node._saved_dilation, node._saved_transposed,
        node._saved_output_padding, node._saved_groups,
    )  # fmt: skip

    def back(delta: Delta, at: slice) -> Delta:
        delta = dense(delta)
        flat = delta.flatten(0, 1)
        sizes = x.new_empty(len(flat), *x.shape[1:])  # the input's numbers are not asked for
        of_x = torch.ops.aten.convolution_backward(flat, sizes, weight, None, *flags, [True, False, False])[0]
        return of_x.unflatten(0, delta.shape[:2])

    return _input(node, 0), back


_STEPS: dict[str, Callable[[Any, int], _Read]] = {
    "AddmmBackward0": _linear,
    "ConvolutionBackward0": _convolution,
    "MaxPool2DWithIndicesBackward0": _max_pool,
    "MmBackward0": _linear,
    "ReluBackward0": _relu,
    "ViewBackward0": _view,
}
