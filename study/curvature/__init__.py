"""Exact curvature of the layers of anyone's network.

from study.curvature import layer_curvature

for name, layer in layer_curvature(model, (x, y)).items():
    print(name, layer.trace, layer.relative_flatness)
"""

from study.curvature.estimators import Estimate, hessian_relative_flatness, hessian_trace, hessian_trace_matrix
from study.curvature.exact import layer_curvature
from study.curvature.loss import Loss
from study.curvature.products import Curvature
from study.curvature.result import LayerCurvature
from study.curvature.spectra import (
    Eigenvalues,
    LayerEigenvalue,
    layer_eigenvalues,
    neuron_maxima,
    spectral_density,
    top_eigenvalues,
)

__all__ = [
    "Curvature",
    "Eigenvalues",
    "Estimate",
    "LayerCurvature",
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
