"""Measures of the parameters alone."""

from __future__ import annotations

import math

from study.measures.context import MeasureContext
from study.measures.layer_weights import (
    displacements,
    inverse_margin_of,
    log_sum,
    positive,
    squared_frobenius,
    weights_of,
)
from study.measures.registry import measure


@measure("weight_norm_squared", layerwise=True)
def weight_norm_squared(ctx: MeasureContext) -> dict[str, float]:
    """Squared Frobenius norm of each layer's weights, one of the two ingredients of relative flatness.

    ||W_l||_F^2. Source: read in the published code of Petzka et al. 2021 (2001.00939), there of the last layer.
    Parameters: as `parameter_count`. Data: none. Deterministic. Cost: no pass. Invariant: permutation.
    """
    weights = {n: p for n, p in ctx.model.named_parameters() if p.ndim >= 2}
    return {n.removesuffix(".weight"): p.detach().double().square().sum().item() for n, p in weights.items()}


@measure("distance_from_init")
def distance_from_init(ctx: MeasureContext) -> float:
    """Euclidean distance of all parameters from their initial values.

    ||theta - theta_0||_2. Source: Jiang et al. 2020 (1912.02178), numbering not checked; read in the public code of
    Dziugaite et al. 2020 (`L2_DIST`), there without biases. Parameters: all, biases too. Data: none. Deterministic.
    Cost: no pass. Invariant: none.
    """
    moved = [(p.detach().double() - ctx.initial[n].double()).square().sum() for n, p in ctx.model.named_parameters()]
    return float(sum(m.item() for m in moved) ** 0.5)


@measure("parameter_count")
def parameter_count(ctx: MeasureContext) -> float:
    """Number of weights: no biases, no batch-norm.

    omega. Source: Jiang et al. 2020 (1912.02178), number 20 as read in the public code of Dziugaite et al. 2020
    (`PARAMS`). Parameters: all of two or more dimensions, each of which counts as a layer, position embeddings and
    class tokens, too; no biases. Data: none. Deterministic. Cost: no pass. Invariant: layer-wise, neuron-wise,
    permutation, norm-layer.
    """
    return float(sum(w.numel() for w in weights_of(ctx.model)))


@measure("l2")
def l2(ctx: MeasureContext) -> float:
    """Euclidean norm of all weights, batch-norm folded in.

    ||w||_2. Source: Jiang et al. 2020 (1912.02178), numbering not checked; read in the public code of Dziugaite et al.
    2020 (`L2`). Parameters: weights of layers as `parameter_count` has them, batch-norm folded in, no biases. Data:
    none. Deterministic. Cost: no pass but one of 64 samples that checks the folding. Invariant: permutation,
    norm-layer.
    """
    return param_norm(ctx) ** 0.5


@measure("l2_distance")
def l2_distance(ctx: MeasureContext) -> float:
    """Euclidean distance of all weights from their initial values, batch-norm folded in.

    ||w - w_0||_2. Source: Jiang et al. 2020 (1912.02178), numbering not checked; read in the public code of Dziugaite
    et al. 2020 (`L2_DIST`). Parameters: weights of layers as `parameter_count` has them, batch-norm folded in, no
    biases. Data: none. Deterministic. Cost: no pass but one of 64 samples that checks the folding. Invariant:
    norm-layer.
    """
    return fro_distance(ctx) ** 0.5


@measure("param_norm")
def param_norm(ctx: MeasureContext) -> float:
    """Sum over layers of the squared Frobenius norm of their weights, batch-norm folded in.

    sum_l ||W_l||_F^2. Source: Jiang et al. 2020 (1912.02178), number 42 as read in the public code of Dziugaite et al.
    2020 (`PARAM_NORM`). Parameters: weights of layers as `parameter_count` has them, batch-norm folded in, no biases.
    Data: none. Deterministic. Cost: no pass but one of 64 samples that checks the folding. Invariant: permutation,
    norm-layer.
    """
    return sum(squared_frobenius(weights_of(ctx.folded)))


@measure("fro_distance")
def fro_distance(ctx: MeasureContext) -> float:
    """Sum over layers of the squared Frobenius distance of their weights from initialization.

    sum_l ||W_l - W0_l||_F^2, both with batch-norm folded in. Source: Jiang et al. 2020 (1912.02178), number 40 as read
    in the public code of Dziugaite et al. 2020 (`FRO_DIST`). Parameters: weights of layers as `parameter_count` has
    them, batch-norm folded in, no biases. Data: none. Deterministic. Cost: no pass but one of 64 samples that checks
    the folding. Invariant: norm-layer.
    """
    return sum(squared_frobenius(displacements(ctx)))


@measure("log_prod_of_fro")
def log_prod_of_fro(ctx: MeasureContext) -> float:
    """Logarithm of the product over layers of the squared Frobenius norm of their weights.

    sum_l log ||W_l||_F^2. Source: Jiang et al. 2020 (1912.02178), number 37 as read in the public code of Dziugaite et
    al. 2020 (`LOG_PROD_OF_FRO`). Parameters: weights of layers as `parameter_count` has them, batch-norm folded in, no
    biases. Data: none. Deterministic. Cost: no pass but one of 64 samples that checks the folding. Invariant:
    layer-wise, permutation, norm-layer.
    """
    return sum(math.log(v) for v in positive(ctx, squared_frobenius(weights_of(ctx.folded))))


@measure("log_prod_of_fro_over_margin")
def log_prod_of_fro_over_margin(ctx: MeasureContext) -> float:
    """Logarithm of the product of squared Frobenius norms, over the squared margin.

    log_prod_of_fro - 2 log gamma. Source: Jiang et al. 2020 (1912.02178), number 36 as read in the public code of
    Dziugaite et al. 2020 (`LOG_PROD_OF_FRO_OVER_MARGIN`), there with the margin's absolute value. Parameters: weights
    of layers as `parameter_count` has them, batch-norm folded in, no biases. Data: training set, for the margin gamma
    of `inverse_margin`; fails (recorded as missing) where that does. Deterministic. Cost: one forward pass, shared.
    Invariant: layer-wise, permutation, norm-layer.
    """
    return log_prod_of_fro(ctx) + math.log(inverse_margin_of(ctx))


@measure("log_sum_of_fro")
def log_sum_of_fro(ctx: MeasureContext) -> float:
    """Logarithm of the number of layers times the geometric mean of their squared Frobenius norms.

    log d + log_prod_of_fro / d, d the number of layers. Source: Jiang et al. 2020 (1912.02178), number 39 as read in
    the public code of Dziugaite et al. 2020 (`LOG_SUM_OF_FRO`). Parameters: weights of layers as `parameter_count` has
    them, batch-norm folded in, no biases. Data: none. Deterministic. Cost: no pass but one of 64 samples that checks
    the folding. Invariant: layer-wise, permutation, norm-layer.
    """
    return log_sum(ctx, log_prod_of_fro(ctx))


@measure("log_sum_of_fro_over_margin")
def log_sum_of_fro_over_margin(ctx: MeasureContext) -> float:
    """As `log_sum_of_fro`, of the product of norms over the squared margin.

    log d + log_prod_of_fro_over_margin / d, d the number of layers. Source: Jiang et al. 2020 (1912.02178), number 38
    as read in the public code of Dziugaite et al. 2020 (`LOG_SUM_OF_FRO_OVER_MARGIN`), there with the margin's absolute
    value. Parameters: weights of layers as `parameter_count` has them, batch-norm folded in, no biases. Data: training
    set, for the margin gamma of `inverse_margin`; fails (recorded as missing) where that does. Deterministic. Cost: one
    forward pass, shared. Invariant: layer-wise, permutation, norm-layer.
    """
    return log_sum(ctx, log_prod_of_fro_over_margin(ctx))
