"""Products of the Hessian or the Gauss-Newton matrix of the mean loss with vectors, for all weights or for some."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from types import TracebackType

import torch
from torch import Tensor, nn

from study.curvature.loss import Loss, resolve_loss
from study.curvature.network import Batches, Data, Network

KINDS = ("hessian", "gauss_newton")


class Curvature:
    """The matrix H of the mean loss in some parameters, through its products with vectors.

    Used as a context: `with Curvature(model, data) as matrix: matrix.product(vectors)`. Vectors are flat, (m, n), the
    parameters one after another as `slices` says; products are float64 sums over batches of products in the model's
    dtype. "hessian" is the true second derivative, "gauss_newton" drops the residual term sum_c dloss/df_c d2f_c/dw2.

    Cost of a product: for a batch of data one forward and one backward pass (Gauss-Newton: one forward and two), and
    for each vector about two (Gauss-Newton: two and a half) backward passes.
    """

    def __init__(
        self,
        model: nn.Module,
        data: Data,
        loss: str | Loss | nn.Module = "cross_entropy",
        *,
        parameters: Iterable[str] | None = None,
        kind: str = "hessian",
        chunk: int = 256,
        dtype: torch.dtype | None = None,
    ) -> None:
        """`parameters` names what to differentiate by (default: all); `chunk` bounds the samples taken at once."""
        if kind not in KINDS:
            raise ValueError(f"kind {kind!r} is not one of {', '.join(KINDS)}")
        named = dict(model.named_parameters())
        self.names = list(named if parameters is None else parameters)
        if unknown := sorted(set(self.names) - set(named)):
            raise ValueError(f"parameters {', '.join(unknown)} are not among {', '.join(named)}")
        self.kind, self.chunk, self.loss = kind, chunk, resolve_loss(loss)
        self.batches = Batches.of(data)
        self.network = Network(model, dtype, self.names)
        self.slices: dict[str, slice] = {}
        start = 0
        for name in self.names:
            self.slices[name] = slice(start, start + named[name].numel())
            start += named[name].numel()
        self.n = start

    def __enter__(self) -> Curvature:
        self.network.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.network.__exit__(kind, error, trace)

    def product(self, vectors: Tensor) -> Tensor:
        """H applied to each row of vectors (m, n): (m, n), float64."""
        network = self.network
        weights = [network.parameters[name] for name in self.names]
        parts = [vectors[:, at].to(network.device, network.dtype) for at in self.slices.values()]
        parts = [part.reshape(len(part), *weight.shape) for part, weight in zip(parts, weights, strict=True)]
        total = torch.zeros(vectors.shape, dtype=torch.float64, device=network.device)
        n_samples = 0
        for inputs, targets in self.batches.read(network, self.chunk):
            outputs = network(inputs)
            n_samples += len(outputs)
            if self.kind == "hessian":
                products = _hessian(self.loss.sum(outputs, targets), weights, parts)
            else:
                products = _gauss_newton(self.loss, outputs, weights, parts)
            for at, part in zip(self.slices.values(), products, strict=True):
                total[:, at] += part.flatten(1)
        if not n_samples:
            raise ValueError("data holds no sample")
        return total / n_samples


def _hessian(loss_sum: Tensor, weights: list[Tensor], vectors: list[Tensor]) -> list[Tensor]:
    if not loss_sum.requires_grad:  # the outputs do not depend on these weights
        return [torch.zeros_like(part) for part in vectors]
    gradient = torch.autograd.grad(loss_sum, weights, create_graph=True, materialize_grads=True)
    live = [at for at, part in enumerate(gradient) if part.requires_grad]
    if not live:  # the loss is linear in these weights
        return [torch.zeros_like(part) for part in vectors]
    return _batched([gradient[at] for at in live], weights, [vectors[at] for at in live])


def _gauss_newton(loss: Loss, outputs: Tensor, weights: list[Tensor], vectors: list[Tensor]) -> list[Tensor]:
    # J v without forward mode: J^T u is linear in u, and its derivative in u along v is J v.
    if not outputs.requires_grad:  # the outputs do not depend on these weights
        return [torch.zeros_like(part) for part in vectors]
    free = torch.zeros_like(outputs, requires_grad=True)
    pulled = torch.autograd.grad(outputs, weights, free, create_graph=True, materialize_grads=True)
    live = [at for at, part in enumerate(pulled) if part.requires_grad]
    if not live:  # the outputs do not depend on these weights
        return [torch.zeros_like(part) for part in vectors]
    (pushed,) = _batched([pulled[at] for at in live], [free], [vectors[at] for at in live])
    return _batched([outputs], weights, [loss.curvature(outputs.detach(), pushed)])


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
