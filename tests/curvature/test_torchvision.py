"""torchvision's networks, unmodified."""

import pytest
import torch

from study.curvature import hessian_trace_matrix, layer_curvature
from study.vision import torchvision


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "first_norm", "size", "n_layers"),
    [("resnet18", "bn1", 32, 41), ("vgg11_bn", "features.1", 32, 19), ("mobilenet_v2", "features.0.1", 32, 105)],
)
def test_torchvision_network(name: str, first_norm: str, size: int, n_layers: int) -> None:
    torch.manual_seed(0)
    model = getattr(torchvision().models, name)(num_classes=3).double().eval()
    x, y = torch.randn(2, 3, size, size, dtype=torch.float64), torch.randint(3, (2,))
    curvature = layer_curvature(model, (x, y), memory_budget=2**32)
    assert len(curvature) == n_layers
    assert all(layer.exact and layer.trace >= 0 for layer in curvature.values())
    truth = hessian_trace_matrix(model, (x, y), layer=first_norm)
    largest = float(truth.abs().max())
    torch.testing.assert_close(curvature[first_norm].trace_matrix, truth, rtol=1e-8, atol=1e-8 * largest)
