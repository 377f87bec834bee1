"""Products of the Hessian or the Gauss-Newton matrix of the mean loss with vectors, for all weights or for some."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from types import TracebackType

import torch
from torch import Tensor, nn

from ..losses.loss import Loss
from ..losses.own_loss import OwnLoss
from ..losses.torch_losses import GivenLoss, counted, resolve_loss
from ..networks.adapter import Forward, Target, adapted
from ..networks.batches import Batches, Data, Inputs, select
from ..networks.companions import Companions
from ..networks.network import Network
from ..networks.passes import Passes, Total
from ..networks.reached import check_reached
from ..options import whole
from .fully_connected import fully_connected

KINDS = ("hessian", "gauss_newton")
KEPT_BYTES = 2**30  # ours: a few thousand CIFAR images through a LeNet5


class Curvature:
    """The matrix H of the mean loss in some parameters, through its products with vectors.

    Used as a context: `with Curvature(model, data) as matrix: matrix.product(vectors)`. Vectors are flat, (m, n), the
    parameters one after another as `slices` says; products are float64 sums over batches of products in the model's
    dtype. "hessian" is the true second derivative, "gauss_newton" drops the residual term sum_c dloss/df_c d2f_c/dw2.

    The weights and the data must stand still meanwhile: graphs of the data are kept from one product to the next.
    Cost of a product: for each vector about two (Gauss-Newton: two and a half) backward passes; and for batches of data
    whose graph `memory_budget` does not hold, each time one forward and one backward pass.
    """

    def __init__(
        self,
        model: nn.Module,
        data: Data,
        loss: GivenLoss = "cross_entropy",
        *,
        parameters: Iterable[str] | None = None,
        kind: str = "hessian",
        chunk: int = 256,
        dtype: torch.dtype | None = None,
        memory_budget: int = KEPT_BYTES,
        forward: Forward | None = None,
        target: Target | None = None,
    ) -> None:
        """`parameters` names what to differentiate by (default: all); `chunk` bounds the samples taken at once.

        `memory_budget`, in bytes, is for the graphs of chunks that are kept from one product to the next.
        """
        if kind not in KINDS:
            raise ValueError(f"kind {kind!r} is not one of {', '.join(KINDS)}")
        named = dict(model.named_parameters())
        self.names = list(named if parameters is None else parameters)
        if unknown := sorted(set(self.names) - set(named)):
            raise ValueError(f"parameters {', '.join(unknown)} are not among {', '.join(named)}")
        self.chunk = whole("chunk", chunk, 1, "a number of samples")
        self.memory_budget = whole("memory_budget", memory_budget, 0, "a whole number of bytes")
        self.kind, self.loss = kind, resolve_loss(loss)
        pairs, call = adapted(data, forward, target)
        self.batches = Batches.of(pairs)
        self.network = Network(model, dtype, self.names, call)
        self.slices: dict[str, slice] = {}
        start = 0
        for name in self.names:
            self.slices[name] = slice(start, start + named[name].numel())
            start += named[name].numel()
        self.n = start
        self._kept: list[_Piece] = []  # the first chunks
        self._room = 0.0  # bytes, negative once a chunk did not fit
        self._is_whole = False  # all chunks are kept
        self._passes, self._companions = Passes(), Companions(self.network)
        self._is_checked = False  # that autograd sees what the parameters do

    def __enter__(self) -> Curvature:
        self.network.__enter__()
        self._room = self.memory_budget if self.batches.is_repeatable else -1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._kept, self._room, self._is_whole = [], -1, False
        self.network.__exit__(kind, error, trace)

    def product(self, vectors: Tensor) -> Tensor:
        """H applied to each row of vectors (m, n): (m, n), float64."""
        network = self.network
        weights = [network.parameters[name] for name in self.names]
        parts = [vectors[:, at].to(network.device, network.dtype) for at in self.slices.values()]
        parts = [part.reshape(len(part), *weight.shape) for part, weight in zip(parts, weights, strict=True)]
        total = torch.zeros(vectors.shape, dtype=torch.float64, device=network.device)
        count = 0.0
        self._passes.begin()
        for piece in self._pieces(weights):
            self._passes.see(piece.seen)
            count += piece.count
            for at, part in zip(self.slices.values(), piece.times(parts), strict=True):
                total[:, at] += part.flatten(1)
        self._passes.end()
        return total / counted(count)

    def _pieces(self, weights: list[Tensor]) -> Iterator[_Piece]:
        """The chunks of the data, each with its graph; as many of the first as the budget holds are kept."""
        yield from self._kept
        if self._is_whole:
            return
        held = 0.0
        for inputs, targets in islice(self.batches.read(self.network.place, self.chunk), len(self._kept), None):
            if not self._is_checked:
                check_reached(self.network, select(inputs, slice(2)), self.names)
                self._is_checked = True
            if not held and self._room >= 0:
                held = self._held(select(inputs, slice(2)), targets[:2], weights)
            piece = self._piece(inputs, targets, weights)
            self._verify(inputs, piece)
            # Each chunk's gradient is as large as the weights.
            self._room -= held * len(targets) + sum(weight.nbytes for weight in weights)
            if self._room >= 0:
                self._kept.append(piece)
            yield piece
        self._is_whole = self._room >= 0

    def _verify(self, inputs: Inputs, piece: _Piece) -> None:
        """Raise ValueError where outputs depend on chance or on the samples beside; of the first pass."""
        if self._passes.is_first:
            self._companions.check_draws(inputs, piece.outputs)
            if again := self._companions.of(inputs):
                with torch.no_grad():
                    self._companions.check(again, self.network(again.inputs), piece.outputs)

    def _held(self, inputs: Inputs, targets: Tensor, weights: list[Tensor]) -> float:
        """Bytes that the graphs of one sample hold, those of the loss and its gradient."""
        return self.network.saved_bytes(lambda: self._piece(inputs, targets, weights)) / len(targets)

    def _piece(self, inputs: Inputs, targets: Tensor, weights: list[Tensor]) -> _Piece:
        outputs = self.network(inputs)
        self.loss.check(targets, outputs.shape[1])
        if self.kind == "hessian":
            times = _hessian(self.loss.sum(outputs, targets), weights)
        else:
            times = self._gauss_newton(inputs, outputs, targets, weights)
        return _Piece(outputs.detach(), Total.of(outputs), self.loss.count(targets), times)

    def _gauss_newton(self, inputs: Inputs, outputs: Tensor, targets: Tensor, weights: list[Tensor]) -> Times:
        general = partial(_gauss_newton, self.loss, outputs, targets, weights)
        layer = fully_connected(self.network, inputs, outputs, self.names[0]) if len(self.names) == 1 else None
        if layer is None:
            return general()
        of_several, curvature = functools.cache(general), self.loss.curvature(outputs.detach(), targets)

        def times(vectors: list[Tensor]) -> list[Tensor]:
            if len(vectors[0]) > 1:
                return of_several()(vectors)
            with torch.no_grad():
                (slopes,) = curvature(layer.push(vectors[0][0])[None])
                return [layer.pull(slopes)[None]]

        return times


Times = Callable[[list[Tensor]], list[Tensor]]


@dataclass(frozen=True)
class _Piece:
    """One chunk of the data: its products with vectors (m, *shape) of each weight, from a graph that is held."""

    outputs: Tensor
    seen: Total
    count: float  # what the loss's sum over these samples is divided by for their mean
    times: Times


def _zeros(vectors: list[Tensor]) -> list[Tensor]:
    return [torch.zeros_like(part) for part in vectors]


def _hessian(loss_sum: Tensor, weights: list[Tensor]) -> Times:
    if not loss_sum.requires_grad:  # the outputs do not depend on these weights
        return _zeros
    gradient = torch.autograd.grad(loss_sum, weights, create_graph=True, materialize_grads=True)
    live = [at for at, part in enumerate(gradient) if part.requires_grad]
    if not live:  # the loss is linear in these weights
        return _zeros
    return lambda vectors: _batched([gradient[at] for at in live], weights, [vectors[at] for at in live])


def _gauss_newton(loss: Loss | OwnLoss, outputs: Tensor, targets: Tensor, weights: list[Tensor]) -> Times:
    # J v without forward mode: J^T u is linear in u, and its derivative in u along v is J v.
    if not outputs.requires_grad:  # the outputs do not depend on these weights
        return _zeros
    free = torch.zeros_like(outputs, requires_grad=True)
    pulled = torch.autograd.grad(outputs, weights, free, create_graph=True, materialize_grads=True)
    live = [at for at, part in enumerate(pulled) if part.requires_grad]
    if not live:  # the outputs do not depend on these weights
        return _zeros

    curvature = loss.curvature(outputs.detach(), targets)

    def times(vectors: list[Tensor]) -> list[Tensor]:
        (pushed,) = _batched([pulled[at] for at in live], [free], [vectors[at] for at in live])
        return _batched([outputs], weights, [curvature(pushed)])

    return times


def _batched(of: list[Tensor], by: list[Tensor], vectors: list[Tensor]) -> list[Tensor]:
    """The vector-Jacobian products of several vectors at once."""
    if len(vectors[0]) > 1:
        with contextlib.suppress(RuntimeError):  # vmap's rules do not cover every second derivative
            batched = torch.autograd.grad(
                of, by, vectors, retain_graph=True, is_grads_batched=True, allow_unused=True, materialize_grads=True
            )
            return list(batched)
    each = [
        torch.autograd.grad(of, by, [part[row] for part in vectors], retain_graph=True, materialize_grads=True)
        for row in range(len(vectors[0]))
    ]
    return [torch.stack(rows) for rows in zip(*each, strict=True)]
