"""Curvature made invariant in other ways than relative flatness: by neurons, by layers, by the best rescaling."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from study.choice import word
from study.measures.context import MeasureContext
from study.measures.jacobian.gauss_newton import factor_rows, gauss_newton
from study.measures.jacobian.jacobian import check_layers
from study.measures.jacobian.layer_rows import LayerRows
from study.measures.layer_weights import value_by_layer
from study.measures.registry import Whole, measure

if TYPE_CHECKING:
    from torch import Tensor

CHANGE, MOST = 1e-6, 10_000  # relative change at which the alternation ends, and its rounds at most; ours but the first


@measure("kappa_max", layerwise=True, check=check_layers)
def kappa_max(ctx: MeasureContext) -> dict[str, float]:
    """Each neuron's squared weight norm times the largest eigenvalue of its own Hessian block, summed over neurons.

    sum_s ||w_s||^2 lambda_max(H_ss), H the Gauss-Newton block, which is the Hessian's where the network is piecewise
    linear in each layer. Source: read in the published code of Petzka et al. 2021 (2001.00939), numbering not checked.
    Parameters: weights of each layer. Data: the first 200 training samples (fewer above 20 outputs), mean.
    Deterministic. Cost: a forward and C backward passes over the samples for every 256 MB of slopes that these give,
    and the eigenvalues of each neuron's block. Invariant: layer-wise, permutation, norm-layer.
    """
    found = {}
    for path, module, rows in factor_rows(ctx):
        norms = module.weight.detach().double().flatten(1).square().sum(1)  # type: ignore[operator]
        found[path] = float((norms * _neuron_maxima(rows)).sum())
    return found


@measure("weight_curvature", layerwise=True, form=word("sum", "root", "global"))
def weight_curvature(ctx: MeasureContext, form: str) -> Whole:
    """Weight-curvature index: weight norm and Hessian trace of each layer, as a geometric mean.

    sum_l sqrt(||W_l||_F^2 Tr H_l); form=root: sqrt(sum_l ||W_l||_F^2 Tr H_l); form=global, which rescaling changes:
    sqrt(sum_l ||W_l||_F^2 sum_l Tr H_l). Layers: sqrt(||W_l||_F^2 Tr H_l). H_l the Gauss-Newton block, as in
    `hessian_trace`. Source: none that was read in any code; of the same two ingredients as `kappa_2019`. Parameters:
    weights of layers, none of norm layers. Data: training set, mean. Deterministic. Cost: shared curvature pass.
    Invariant: layer-wise, permutation, norm-layer.
    """
    kappa, norm, trace = (
        value_by_layer(ctx, label) for label in ("kappa_2019", "weight_norm_squared", "hessian_trace")
    )
    layers = {path: math.sqrt(value) for path, value in kappa.items()}
    value = {
        "sum": sum(layers.values()),
        "root": math.sqrt(sum(kappa.values())),
        "global": math.sqrt(sum(norm.values()) * sum(trace.values())),
    }[form]
    return Whole(value, layers)


@measure("quotient_eigenvalue", check=check_layers)
def quotient_eigenvalue(ctx: MeasureContext) -> float:
    """Largest eigenvalue of the whole network's curvature in the metric that rescaling of layers leaves alone.

    lambda_max(D^(1/2) H D^(1/2)), D = ||W_l||_F^2 on the block of layer l, H the Gauss-Newton matrix of all weights,
    whose blocks are the Hessian's where the network is piecewise linear in each layer. Source: Rangamani et al. 2019
    (1902.02434), whose text was not read; read in no published code. Parameters: weights of layers. Data: the first 200
    training samples (fewer above 20 outputs), mean. Deterministic. Cost: as `soft_rank`. Invariant: layer-wise,
    permutation, norm-layer.
    """
    import torch

    return float(torch.linalg.eigvalsh(ctx.shared(gauss_newton).quotient)[-1])


@measure("tsuzuku", layerwise=True, check=check_layers)
def tsuzuku(ctx: MeasureContext) -> dict[str, float]:
    """Normalized flatness: weight norm and curvature of a layer after the best rescaling of its rows and columns.

    min over s, t > 0 of sqrt(sum_ij h_ij s_i t_j * sum_ij W_ij^2 / (s_i t_j)), h the diagonal of the layer's
    Gauss-Newton block, as in `kappa_max`; of a convolution a column is an input channel's pixel of the kernel.
    Alternating in s and t, each exactly, until the change is 1e-6. Source: Tsuzuku et al. 2020 (1901.04653), as
    recalled, whose text was not read; read in no published code. Parameters: weights of each layer. Data: the first 200
    training samples (fewer above 20 outputs), mean. Deterministic. Cost: a forward and C backward passes over the
    samples for every 256 MB of slopes that these give. Invariant: layer-wise, neuron-wise, permutation, norm-layer.
    """
    found = {}
    for path, module, rows in factor_rows(ctx):
        weight = module.weight.detach().double().flatten(1)  # type: ignore[operator]
        found[path] = _best_rescaled(rows.diagonal(), weight.square())
    return found


def _neuron_maxima(rows: LayerRows) -> Tensor:
    """lambda_max of each neuron's block (n_out,): of a layer with one place by as many rows as samples."""
    import torch

    if rows.has_one_place:
        weights = rows.delta.square().sum((1, 2)).sqrt()  # (n, n_out)
        phi = rows.phi[:, 0]
        if phi.shape[1] < len(phi):
            return torch.stack(
                [torch.linalg.eigvalsh((phi * w[:, None]).T @ (phi * w[:, None]))[-1] for w in weights.T]
            )
        inner = phi @ phi.T
        return torch.stack([torch.linalg.eigvalsh(inner * torch.outer(w, w))[-1] for w in weights.T])
    d = rows.phi.shape[2]
    blocks = [block for part in rows.spread() for block in part.split(d, 1)]
    return torch.stack([torch.linalg.eigvalsh(block.T @ block)[-1] for block in blocks]).clamp(min=0)


def _best_rescaled(h: Tensor, squares: Tensor) -> float:
    """The minimum: for given t it is sum_i sqrt((h t)_i (squares / t)_i) over s (Cauchy-Schwarz), and so for t."""
    while True:  # a row or a column of which either is 0 can be scaled away
        rows, columns = (((h.sum(axis) > 0) & (squares.sum(axis) > 0)) for axis in (1, 0))
        if bool(rows.all()) and bool(columns.all()):
            break
        h, squares = h[rows][:, columns], squares[rows][:, columns]
        if not h.numel():
            return 0.0
    t = h.new_ones(h.shape[1])
    last = math.inf
    for _ in range(MOST):
        up, down = h @ t, squares @ (1 / t)
        value = float((up * down).sqrt().sum())
        if last - value <= CHANGE * value:
            break
        last = value
        s = (down / up).sqrt()
        t = ((squares.T @ (1 / s)) / (h.T @ s)).sqrt()
    return value
