"""Measures of the whole network's curvature: size, rank, and what it says of the noise of gradients.

H is the Gauss-Newton matrix of the mean loss in all weights: where the network is piecewise linear in each layer its
blocks on the diagonal are those of the Hessian, and those beside it lack a term that vanishes with the residuals.
"""

from __future__ import annotations

import math

from study.choice import number
from study.measures.context import MeasureContext
from study.measures.jacobian.gauss_newton import gauss_newton, spectrum
from study.measures.jacobian.jacobian import check_layers
from study.measures.registry import Whole, measure

_C = number(1e-3, least=1e-9)


@measure("hessian_frobenius", layerwise=True, check=check_layers)
def hessian_frobenius(ctx: MeasureContext) -> Whole:
    """Frobenius norm of the Gauss-Newton matrix of all weights, and of each layer's block.

    ||H||_F. Source: none that was read in any code; a baseline beside `hessian_trace`. Parameters: weights of layers.
    Data: the first 200 training samples (fewer above 20 outputs), mean. Deterministic. Cost: a forward and C + 1
    backward passes over the samples for every 256 MB of slopes that these give, shared. Invariant: permutation.
    """
    found = ctx.shared(gauss_newton)
    layers = {path: math.sqrt(square) for path, square in found.squares.items()}
    return Whole(float(found.gram.norm()), layers)


@measure("effective_rank", layerwise=True, check=check_layers)
def effective_rank(ctx: MeasureContext) -> Whole:
    """Effective rank of the Gauss-Newton matrix of all weights, and of each layer's block.

    (Tr H)^2 / ||H||_F^2. Source: none that was read in any code; a baseline beside `soft_rank`. Parameters: weights of
    layers. Data: the first 200 training samples (fewer above 20 outputs), mean. Deterministic. Cost: as
    `hessian_frobenius`, shared. Invariant: permutation.
    """
    found = ctx.shared(gauss_newton)
    if not found.trace:
        raise ValueError("effective_rank: the curvature is 0 in all weights, and has no rank")
    layers = {path: found.traces[path] ** 2 / square if square else 0.0 for path, square in found.squares.items()}
    return Whole(found.trace**2 / float(found.gram.square().sum()), layers)


@measure("lambda_max_network", check=check_layers)
def lambda_max_network(ctx: MeasureContext) -> float:
    """Largest eigenvalue of the Gauss-Newton matrix of all weights together.

    lambda_max(H). Source: Petzka et al. 2021 (2001.00939), as `lambda_max`, there of one layer. Parameters: weights of
    layers. Data: the first 200 training samples (fewer above 20 outputs), mean. Deterministic. Cost: as `soft_rank`,
    shared. Invariant: permutation.
    """
    return float(ctx.shared(spectrum)[-1])


@measure("soft_rank", check=check_layers, c=_C)
def soft_rank(ctx: MeasureContext, c: float) -> float:
    """Soft rank of the Gauss-Newton matrix: how many of its eigenvalues are larger than c, softly counted.

    sum_k lambda_k / (lambda_k + c). Source: Flatness After All (2506.17809), whose text was not read; read in no
    published code. Parameters: weights of layers. Data: the first 200 training samples (fewer above 20 outputs), mean.
    Deterministic. Cost: `hessian_frobenius`, shared, and the eigenvalues of a matrix of C rows a sample. Invariant:
    permutation.
    """
    values = ctx.shared(spectrum)
    return float((values / (values + c)).sum())


@measure("tic", check=check_layers, damping=_C)
def tic(ctx: MeasureContext, damping: float) -> float:
    """Takeuchi's criterion: the noise of gradients measured by the inverse of the curvature, damped.

    Tr((H + damping I)^-1 C), C the covariance of the samples' gradients about their mean. Source: Thomas et al. 2020
    (1906.07774), whose text was not read; read in no published code. Parameters: weights of layers. Data: the first 200
    training samples (fewer above 20 outputs). Deterministic. Cost: `hessian_frobenius`, shared, and one solution of as
    many equations as it has rows. Invariant: permutation.
    """
    import torch

    found = ctx.shared(gauss_newton)
    damped = found.gram + damping * torch.eye(len(found.gram)).to(found.gram)
    solved = torch.cholesky_solve(found.products, torch.linalg.cholesky(damped))
    return (found.noise - float((found.products * solved).sum()) / found.products.shape[1]) / damping
