"""Exact curvature of the layers of anyone's network.

    from relative_flatness import layer_curvature

    for name, layer in layer_curvature(model, (x, y)).items():
        print(name, layer.trace, layer.relative_flatness)

A library of its own: it imports nothing else of the project, is `study.curvature` in the checkout, and installs as
`relative_flatness`. What may be used is named in `__all__`; README.md beside this file is its document.

    losses, networks  what is given: a loss and its factor; a network, its layers, its batches. Neither knows the other
    blocks            `layer_curvature`, of these
    matrix            products with the Hessian, traces by estimate and eigenvalues, of all three
"""

from .blocks.exact import layer_curvature
from .blocks.result import LayerCurvature, LayerCurvatures
from .losses.loss import Loss
from .matrix.estimators import Estimate, hessian_relative_flatness, hessian_trace, hessian_trace_matrix
from .matrix.products import Curvature
from .matrix.spectra import (
    Eigenvalues,
    LayerEigenvalue,
    layer_eigenvalues,
    neuron_maxima,
    spectral_density,
    top_eigenvalues,
)

__version__ = "0.1.0"

__all__ = [
    "Curvature",
    "Eigenvalues",
    "Estimate",
    "LayerCurvature",
    "LayerCurvatures",
    "LayerEigenvalue",
    "Loss",
    "hessian_relative_flatness",
    "hessian_trace",
    "hessian_trace_matrix",
    "layer_curvature",
    "layer_eigenvalues",
    "neuron_maxima",
    "spectral_density",
    "top_eigenvalues",
]
