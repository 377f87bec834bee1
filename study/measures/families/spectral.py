"""Measures of the layers' spectral norms, of a convolution the kernel as a matrix; as an operator: operator_norm.py."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from torch import Tensor


@measure("log_prod_of_spec")
def log_prod_of_spec(ctx: MeasureContext) -> float:
    """Logarithm of the product over layers of the squared spectral norm of their weights.

    sum_l log sigma_l^2, sigma_l the largest singular value of the layer's weights, of a convolution the kernel as a
    matrix of n_out rows. Source: Jiang et al. 2020 (1912.02178), number 32 as read in the public code of Dziugaite et
    al. 2020 (`LOG_PROD_OF_SPEC`). Parameters: weights of layers as `parameter_count` has them, batch-norm folded in, no
    biases. Data: none. Deterministic. Cost: no pass but one of 64 samples that checks the folding. Invariant:
    layer-wise, permutation, norm-layer.
    """
    return sum(math.log(v) for v in positive(ctx, squared_spectral(weights_of(ctx.folded))))


@measure("log_prod_of_spec_over_margin")
def log_prod_of_spec_over_margin(ctx: MeasureContext) -> float:
    """Logarithm of the product of squared spectral norms, over the squared margin.

    log_prod_of_spec - 2 log gamma. Source: Jiang et al. 2020 (1912.02178), number 31 as read in the public code of
    Dziugaite et al. 2020 (`LOG_PROD_OF_SPEC_OVER_MARGIN`), there with the margin's absolute value. Parameters: weights
    of layers as `parameter_count` has them, batch-norm folded in, no biases. Data: training set, for the margin gamma
    of `inverse_margin`; fails (recorded as missing) where that does. Deterministic. Cost: one forward pass, shared.
    Invariant: layer-wise, permutation, norm-layer.
    """
    return log_prod_of_spec(ctx) + math.log(inverse_margin_of(ctx))


@measure("log_sum_of_spec")
def log_sum_of_spec(ctx: MeasureContext) -> float:
    """Logarithm of the number of layers times the geometric mean of their squared spectral norms.

    log d + log_prod_of_spec / d, d the number of layers. Source: Jiang et al. 2020 (1912.02178), number 35 as read in
    the public code of Dziugaite et al. 2020 (`LOG_SUM_OF_SPEC`). Parameters: weights of layers as `parameter_count` has
    them, batch-norm folded in, no biases. Data: none. Deterministic. Cost: no pass but one of 64 samples that checks
    the folding. Invariant: layer-wise, permutation, norm-layer.
    """
    return log_sum(ctx, log_prod_of_spec(ctx))


@measure("log_sum_of_spec_over_margin")
def log_sum_of_spec_over_margin(ctx: MeasureContext) -> float:
    """As `log_sum_of_spec`, of the product of norms over the squared margin.

    log d + log_prod_of_spec_over_margin / d, d the number of layers. Source: Jiang et al. 2020 (1912.02178), number 34
    as read in the public code of Dziugaite et al. 2020 (`LOG_SUM_OF_SPEC_OVER_MARGIN`), there with the margin's
    absolute value. Parameters: weights of layers as `parameter_count` has them, batch-norm folded in, no biases. Data:
    training set, for the margin gamma of `inverse_margin`; fails (recorded as missing) where that does. Deterministic.
    Cost: one forward pass, shared. Invariant: layer-wise, permutation, norm-layer.
    """
    return log_sum(ctx, log_prod_of_spec_over_margin(ctx))


@measure("fro_over_spec")
def fro_over_spec(ctx: MeasureContext) -> float:
    """Sum over layers of the stable rank of their weights.

    sum_l ||W_l||_F^2 / sigma_l^2, sigma_l as in `log_prod_of_spec`. Source: Jiang et al. 2020 (1912.02178), number 33
    as read in the public code of Dziugaite et al. 2020 (`FRO_OVER_SPEC`). Parameters: weights of layers as
    `parameter_count` has them, batch-norm folded in, no biases. Data: none. Deterministic. Cost: no pass but one of 64
    samples that checks the folding. Invariant: layer-wise, permutation, norm-layer.
    """
    return _over_spectral(ctx, weights_of(ctx.folded))


@measure("log_spec_orig")
def log_spec_orig(ctx: MeasureContext) -> float:
    """Spectral bound with the origin as reference, as a logarithm: spectral norms, margin and stable ranks.

    log_prod_of_spec_over_margin + log sum_l ||W_l||_F^2 / sigma_l^2. Source: Jiang et al. 2020 (1912.02178), number 30
    as read in the public code of Dziugaite et al. 2020 (`LOG_SPEC_ORIG_MAIN`), there with the margin's absolute value.
    Parameters: weights of layers as `parameter_count` has them, batch-norm folded in, no biases. Data: training set,
    for the margin gamma of `inverse_margin`; fails (recorded as missing) where that does. Deterministic. Cost: one
    forward pass, shared. Invariant: layer-wise, permutation, norm-layer.
    """
    return log_prod_of_spec_over_margin(ctx) + math.log(fro_over_spec(ctx))


@measure("log_spec_init")
def log_spec_init(ctx: MeasureContext) -> float:
    """Spectral bound with initialization as reference, as a logarithm.

    log_prod_of_spec_over_margin + log sum_l ||W_l - W0_l||_F^2 / sigma_l^2. Source: Jiang et al. 2020 (1912.02178),
    number 29 as read in the public code of Dziugaite et al. 2020 (`LOG_SPEC_INIT_MAIN`), there with the margin's
    absolute value. Parameters: weights of layers as `parameter_count` has them, batch-norm folded in, no biases. Data:
    training set, for the margin gamma of `inverse_margin`; fails (recorded as missing) where that does. Deterministic.
    Cost: one forward pass, shared. Invariant: norm-layer.
    """
    return log_prod_of_spec_over_margin(ctx) + math.log(_over_spectral(ctx, displacements(ctx)))


@measure("dist_spec_init")
def dist_spec_init(ctx: MeasureContext) -> float:
    """Sum over layers of the squared spectral norm of their weights' distance from initialization.

    sum_l sigma_max(W_l - W0_l)^2, of a convolution the kernel as a matrix of n_out rows; both with batch-norm folded
    in. Source: Jiang et al. 2020 (1912.02178), number 41 as read in the public code of Dziugaite et al. 2020
    (`DIST_SPEC_INIT`). Parameters: weights of layers as `parameter_count` has them, batch-norm folded in, no biases.
    Data: none. Deterministic. Cost: no pass but one of 64 samples that checks the folding. Invariant: norm-layer.
    """
    return sum(squared_spectral(displacements(ctx)))


def squared_spectral(weights: list[Tensor]) -> list[float]:
    """The squared largest singular value of each matrix."""
    import torch

    return [torch.linalg.matrix_norm(w, 2).square().item() for w in weights]


def _over_spectral(ctx: MeasureContext, weights: list[Tensor]) -> float:
    """Sum over layers of the squared Frobenius norm of `weights` over the squared spectral norm of the network's."""
    spectral = positive(ctx, squared_spectral(weights_of(ctx.folded)))
    return sum(f / s for f, s in zip(squared_frobenius(weights), spectral, strict=True))
