"""The Gauss-Newton matrix of all weights on a few samples, through the inner products of its rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from study.measures.context import MeasureContext
from study.measures.jacobian.jacobian import Cotangents, rows_by_layer, verified_layers
from study.measures.jacobian.layer_rows import LayerRows

if TYPE_CHECKING:
    from torch import Tensor, nn

SAMPLES, ROWS = 200, 4000  # the first training samples, fewer where each has many outputs; ours: eigenvalues of `gram`


@dataclass(frozen=True)
class GaussNewton:
    """H = A^T A of all weights, its blocks on the diagonal A_l^T A_l, by what does not have the size of the weights.

    `gram` (r, r) is A A^T = sum_l A_l A_l^T, `quotient` sum_l ||W_l||_F^2 A_l A_l^T; `traces` and `squares` are Tr H_l
    and ||H_l||_F^2. `products` (r, n) is A times the samples' gradients about their mean, `noise` the trace of their
    covariance.
    """

    gram: Tensor
    quotient: Tensor
    traces: dict[str, float]
    squares: dict[str, float]
    products: Tensor
    noise: float

    @property
    def trace(self) -> float:
        """Tr H."""
        return sum(self.traces.values())


def gauss_newton(ctx: MeasureContext) -> GaussNewton:
    """It on the first SAMPLES training samples. Cost: as of `rows_by_layer`, k = C + 1."""
    layers = verified_layers(ctx)
    gram: Tensor | None = None
    quotient: Tensor | None = None
    traces, squares = {}, {}
    x, _ = samples(ctx)
    for path, rows in rows_by_layer(ctx.model, x, _factors_and_slopes(ctx)):
        n, k = rows.delta.shape[:2]
        part = rows.gram()
        inside = _rows_of(part, n, k)
        traces[path], squares[path] = float(inside.trace()), float(inside.square().sum())
        norm = layers[path].weight.detach().double().square().sum()  # type: ignore[operator]
        gram = part if gram is None else gram + part
        quotient = norm * inside if quotient is None else quotient + norm * inside
    assert gram is not None and quotient is not None
    whole = gram.view(n, k, n, k)
    products = whole[:, :-1, :, -1].reshape(n * (k - 1), n)
    slopes = whole[:, -1, :, -1]
    noise = float(slopes.trace()) / n - float(slopes.mean())
    centred = products - products.mean(1, keepdim=True)
    return GaussNewton(_rows_of(gram, n, k), quotient, traces, squares, centred, noise)


def spectrum(ctx: MeasureContext) -> Tensor:
    """The eigenvalues of H that are not 0 for want of rows, rising, none below 0: (r,) float64."""
    import torch

    return torch.linalg.eigvalsh(ctx.shared(gauss_newton).gram).clamp(min=0)


def factor_rows(ctx: MeasureContext) -> Iterator[tuple[str, nn.Module, LayerRows]]:
    """Rows A_l of each layer, with A_l^T A_l = H_l."""
    x, _ = samples(ctx)
    layers = verified_layers(ctx)
    for path, rows in rows_by_layer(ctx.model, x, _factors(ctx)):
        yield path, layers[path], rows


def samples(ctx: MeasureContext) -> tuple[Tensor, Tensor]:
    """The inputs and labels that H is of."""
    n = max(2, min(SAMPLES, ROWS // ctx.logits.shape[1]))
    return ctx.x[:n], ctx.labels[:n]


def _rows_of(gram: Tensor, n: int, k: int) -> Tensor:
    """Without the last row of each sample, which is its gradient."""
    return gram.view(n, k, n, k)[:, :-1, :, :-1].reshape(n * (k - 1), n * (k - 1))


def _factors(ctx: MeasureContext) -> Cotangents:
    """Lambda^(1/2) / sqrt(n) of each sample, Lambda the Hessian of its loss in its outputs."""
    import torch

    _, labels = samples(ctx)

    def of(outputs: Tensor) -> Tensor:
        with torch.enable_grad():
            f = outputs.detach().requires_grad_()
            slope = _slope(f, labels, ctx.loss, differentiable=True)
            rows = [torch.autograd.grad(slope[:, c].sum(), f, retain_graph=True)[0] for c in range(f.shape[1])]
        values, vectors = torch.linalg.eigh(torch.stack(rows, 1))
        return (vectors * values.clamp(min=0).sqrt()[:, None]).transpose(1, 2) / len(outputs) ** 0.5

    return of


def _factors_and_slopes(ctx: MeasureContext) -> Cotangents:
    """The same, and behind them the gradient of each sample's loss."""
    import torch

    _, labels = samples(ctx)
    factors = _factors(ctx)
    return lambda outputs: torch.cat([factors(outputs), slopes(outputs, labels, ctx.loss)], 1)


def slopes(outputs: Tensor, labels: Tensor, loss: str) -> Tensor:
    """The gradient of each sample's loss in its outputs (n, 1, C)."""
    import torch

    with torch.enable_grad():
        return _slope(outputs.detach().requires_grad_(), labels, loss, differentiable=False)[:, None]


def _slope(f: Tensor, labels: Tensor, loss: str, *, differentiable: bool) -> Tensor:
    import torch

    from study.loss import sample_losses

    (slope,) = torch.autograd.grad(sample_losses(f, labels, loss).sum(), f, create_graph=differentiable)
    return slope
