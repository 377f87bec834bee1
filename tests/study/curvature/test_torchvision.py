"""torchvision's networks, unmodified."""

import pytest
import torch

from study.curvature import Curvature, layer_curvature
from study.data.vision import torchvision


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "first_norm", "layers", "n_layers", "dtype"),
    [
        ("resnet18", "bn1", None, 41, torch.float64),
        ("mobilenet_v2", "features.0.1", None, 105, torch.float32),
        # without its two layers of 4096 neurons, which take a minute
        ("vgg11_bn", "features.1", ["features.0", "features.1", "features.4", "classifier.6"], 4, torch.float32),
    ],
)
def test_torchvision_network(
    name: str, first_norm: str, layers: list[str] | None, n_layers: int, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    model = getattr(torchvision().models, name)(num_classes=3).to(dtype).eval()
    x, y = torch.randn(2, 3, 32, 32, dtype=dtype), torch.randint(3, (2,))
    curvature = layer_curvature(model, (x, y), layers=layers)
    assert len(curvature) == n_layers
    assert all(layer.exact and layer.trace >= 0 for layer in curvature.values())
    # A weight a neuron: T^l is the Hessian's block. It is compared by what it does to four directions, not row by row.
    directions = torch.randn(4, len(curvature[first_norm].trace_matrix), dtype=torch.float64)
    with Curvature(model, (x, y), "cross_entropy", parameters=[f"{first_norm}.weight"], kind="hessian") as block:
        truth = block.product(directions)
    allowed = 1e-8 if dtype == torch.float64 else 1e-3
    error = (directions @ curvature[first_norm].trace_matrix - truth).abs().max() / truth.abs().max()
    assert float(error) < allowed
