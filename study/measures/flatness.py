"""Flatness of each layer that reparameterizations leave alone, read off one exact curvature pass."""

from __future__ import annotations

from study.measures.context import MeasureContext
from study.measures.registry import measure


@measure("relative_flatness", layerwise=True)
def relative_flatness(ctx: MeasureContext) -> dict[str, float]:
    """Relative flatness of each layer, raw: the weights' Gram matrix against the traces of the neurons' Hessian blocks.

    kappa_Tr = sum_{s,s'} <w_s, w_s'> Tr(H_{s,s'}), H the Hessian of the mean training loss in the layer's weights.
    Source: Petzka et al. 2021 (2001.00939), numbering not checked; read in its published code (`trace_neuron_measure`).
    Parameters: weights of each layer. Data: training set, mean. Deterministic. Cost: shared curvature pass, one forward
    and C - 1 backward passes. Invariant: layer-wise, permutation, norm-layer.
    """
    return {name: layer.relative_flatness for name, layer in ctx.curvature.items()}


@measure("relative_flatness_normalized", layerwise=True)
def relative_flatness_normalized(ctx: MeasureContext) -> dict[str, float]:
    """Relative flatness after each input feature of the layer is divided by its standard deviation on the training set.

    As `relative_flatness`, with W diag(s) and phi / s in place of W and phi: invariant to neuron-wise rescaling too.
    Source: read in the published code of Petzka et al. 2021 (2001.00939), `measure_comparison.py`. Parameters: weights
    of each layer. Data: training set, mean. Deterministic. Cost: shared curvature pass, and one forward pass for the
    standard deviations. Invariant: layer-wise, neuron-wise, permutation, norm-layer.
    """
    return {name: layer.relative_flatness_normalized for name, layer in ctx.curvature.items()}


@measure("kappa_2019", layerwise=True)
def kappa_2019(ctx: MeasureContext) -> dict[str, float]:
    """Layer-wise flatness measure of 2019: squared norm of the layer's weights times the trace of its Hessian block.

    kappa_Tr = ||W||_F^2 Tr(H_l). Source: Petzka et al. 2019 (1912.00058), whose body could not be read; read in the
    long version, 2001.00939 v1, eq. 12. Parameters: weights of each layer. Data: training set, mean. Deterministic.
    Cost: shared curvature pass. Invariant: layer-wise, permutation, norm-layer.
    """
    return {name: layer.kappa_2019 for name, layer in ctx.curvature.items()}


@measure("rho_max", layerwise=True)
def rho_max(ctx: MeasureContext) -> dict[str, float]:
    """Neuron-wise flatness measure of 2019, the largest of each layer's input neurons.

    max_j rho(j) with rho(j) = v_j^T H_jj v_j, v_j the j-th column of W and H_jj its Hessian block; for a convolution j
    is an input channel's pixel of the kernel. Source: Petzka et al. 2019 (1912.00058), whose body could not be read;
    read in the long version, 2001.00939 v1, numbering not checked. Parameters: weights of each layer. Data: training
    set, mean. Deterministic. Cost: shared curvature pass. Invariant: layer-wise, neuron-wise, permutation, norm-layer.
    """
    return {name: float(layer.neuron_wise.max()) for name, layer in ctx.curvature.items()}  # type: ignore[union-attr]


@measure("rho_sum", layerwise=True)
def rho_sum(ctx: MeasureContext) -> dict[str, float]:
    """Neuron-wise flatness measure of 2019, summed over each layer's input neurons.

    sum_j rho(j), see `rho_max`. Source: Petzka et al. 2019, as `rho_max`. Parameters: weights of each layer. Data:
    training set, mean. Deterministic. Cost: shared curvature pass. Invariant: layer-wise, neuron-wise, permutation,
    norm-layer.
    """
    return {name: float(layer.neuron_wise.sum()) for name, layer in ctx.curvature.items()}  # type: ignore[union-attr]
