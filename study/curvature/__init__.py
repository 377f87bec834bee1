"""Exact curvature of the layers of anyone's network.

from study.curvature import layer_curvature

for name, layer in layer_curvature(model, (x, y)).items():
    print(name, layer.trace, layer.relative_flatness)
"""

from study.curvature.exact import LayerCurvature, layer_curvature
from study.curvature.loss import Loss

__all__ = ["LayerCurvature", "Loss", "layer_curvature"]
