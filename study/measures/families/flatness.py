"""Flatness of each layer that reparameterizations leave alone, read off one exact curvature pass."""

from __future__ import annotations

from study.choice import word
from study.measures.context import MeasureContext
from study.measures.layer_weights import value_by_layer
from study.measures.registry import Whole, measure


@measure("relative_flatness", layerwise=True)
def relative_flatness(ctx: MeasureContext) -> dict[str, float]:
    """Relative flatness of each layer, raw: the weights' Gram matrix against the traces of the neurons' Hessian blocks.

    kappa_Tr = sum_{s,s'} <w_s, w_s'> Tr(H_{s,s'}), H the Gauss-Newton block of the mean training loss in the layer's
    weights, which is the Hessian's where the network is piecewise linear in each layer. Source: Petzka et al. 2021
    (2001.00939), numbering not checked; read in its published code (`trace_neuron_measure`). Parameters: weights of
    each layer. Data: training set, mean. Deterministic. Cost: shared curvature pass, one forward and C - 1 backward
    passes. Invariant: layer-wise, permutation, norm-layer.
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


_OVER = word("sum", "max")  # layers, what a network's own value is made of


@measure("kappa_2019", layerwise=True, form=word("trace", "max"), over=_OVER)
def kappa_2019(ctx: MeasureContext, form: str, over: str) -> dict[str, float] | Whole:
    """Layer-wise flatness measure of 2019: squared norm of the layer's weights times the trace of its Hessian block.

    kappa_Tr = ||W||_F^2 Tr(H_l); form=max: kappa_max = ||W||_F^2 lambda_max(H_l), as `lambda_max`; H_l the Gauss-Newton
    block, as in `relative_flatness`. Over layers their sum, or with over=max the largest. Source: Petzka et al. 2019
    (1912.00058), whose body could not be read; read in the long version, 2001.00939 v1, eq. 12, and eqs. 7 and 10.
    Parameters: weights of each layer. Data: training set, mean; form=max its first 1,000 samples. Deterministic. Cost:
    shared curvature pass; form=max that of `lambda_max`. Invariant: layer-wise, permutation, norm-layer.
    """
    if over == "max":
        return _largest(ctx, "kappa_2019(form=max)" if form == "max" else "kappa_2019")
    if form == "max":
        norm, largest = (value_by_layer(ctx, label) for label in ("weight_norm_squared", "lambda_max"))
        return {name: norm[name] * largest[name] for name in ctx.layers()}
    return {name: layer.kappa_2019 for name, layer in ctx.curvature.items()}


@measure("rho_max", layerwise=True, over=_OVER)
def rho_max(ctx: MeasureContext, over: str) -> dict[str, float] | Whole:
    """Neuron-wise flatness measure of 2019, the largest of each layer's input neurons.

    max_j rho(j) with rho(j) = v_j^T H_jj v_j, v_j the j-th column of W and H_jj its block of the Gauss-Newton matrix,
    as in `relative_flatness`; for a convolution j is an input channel's pixel of the kernel. Over layers as
    `kappa_2019`. Source: Petzka et al. 2019 (1912.00058), whose body could not be read; read in the long version,
    2001.00939 v1, numbering not checked. Parameters: weights of each layer. Data: training set, mean. Deterministic.
    Cost: shared curvature pass. Invariant: layer-wise, neuron-wise, permutation, norm-layer.
    """
    if over == "max":
        return _largest(ctx, "rho_max")
    return {name: float(layer.neuron_wise.max()) for name, layer in ctx.curvature.items()}  # type: ignore[union-attr]


@measure("rho_sum", layerwise=True, over=_OVER)
def rho_sum(ctx: MeasureContext, over: str) -> dict[str, float] | Whole:
    """Neuron-wise flatness measure of 2019, summed over each layer's input neurons.

    sum_j rho(j), see `rho_max`. Over layers as `kappa_2019`. Source: Petzka et al. 2019, as `rho_max`. Parameters:
    weights of each layer. Data: training set, mean. Deterministic. Cost: shared curvature pass. Invariant: layer-wise,
    neuron-wise, permutation, norm-layer.
    """
    if over == "max":
        return _largest(ctx, "rho_sum")
    return {name: float(layer.neuron_wise.sum()) for name, layer in ctx.curvature.items()}  # type: ignore[union-attr]


def _largest(ctx: MeasureContext, label: str) -> Whole:
    """The layers' values of a measure, and in place of their sum the largest."""
    layers = value_by_layer(ctx, label)
    return Whole(max(layers.values()), layers)
