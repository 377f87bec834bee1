"""The Hessian of each layer as it is, before it is made invariant."""

from __future__ import annotations

from study.measures.context import MeasureContext
from study.measures.registry import measure

EIGENVALUE_SAMPLES = 1000  # of the training set that lambda_max is measured on; ours: it takes 60 passes a layer


@measure("lambda_max", layerwise=True)
def lambda_max(ctx: MeasureContext) -> dict[str, float]:
    """Largest eigenvalue of the Hessian of the mean training loss in each layer's weights, on 1,000 training samples.

    lambda_max(H_l) by Lanczos, H_l being the Gauss-Newton block, which is the Hessian's where the network is piecewise
    linear in each layer. Source: read in the published code of Petzka et al. 2021 (2001.00939), there of the last layer
    on the whole training set. Parameters: weights of each layer. Data: the first 1,000 training samples, mean.
    Deterministic. Cost: about 15 products a layer, each two and a half passes back over these samples through the
    layers behind it, or one pass back an output where a convolution's gradients are kept; the residual is at most 1e-4
    of the eigenvalue. Invariant: permutation.
    """
    from torch import nn

    from study.curvature import LayerEigenvalue, layer_eigenvalues

    modules, found = dict(ctx.model.named_modules()), dict[str, LayerEigenvalue]()
    names = [name for name in ctx.layers() if name in modules]  # the others are parameters of no layer
    if not names:
        raise ValueError("lambda_max: no layer has a weight of two or more dimensions of its own")
    # Convolutions of one pass; of a layer on vectors what it is given need not be computed again for each product.
    convolutions = [name for name in names if isinstance(modules[name], nn.Conv2d)]
    for together in [convolutions, *[[name] for name in names if name not in convolutions]]:
        if together:
            model, x = ctx.from_layer(together[0])
            data = (x[:EIGENVALUE_SAMPLES], ctx.labels[:EIGENVALUE_SAMPLES])
            found |= layer_eigenvalues(model, data, ctx.loss, layers=together)
    return {name: found[name].lambda_max for name in names}


@measure("hessian_trace", layerwise=True)
def hessian_trace(ctx: MeasureContext) -> dict[str, float]:
    """Trace of the Hessian of the mean training loss in each layer's weights: flatness before it is made invariant.

    Tr(H_l) = tr T^l, H_l the Gauss-Newton block, which is the Hessian's where the network is piecewise linear in each
    layer. Source: read in the published code of Petzka et al. 2021 (2001.00939), there of the last layer. Parameters:
    weights of each layer. Data: training set, mean. Deterministic. Cost: shared curvature pass. Invariant: permutation.
    """
    return {name: layer.trace for name, layer in ctx.curvature.items()}
