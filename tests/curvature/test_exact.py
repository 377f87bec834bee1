import torch
from torch import nn

from study.curvature import layer_curvature
from tests.curvature.reference import hessian_block, mean_loss, trace_matrix


def test_equals_the_full_hessian_of_a_small_convolutional_network() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, stride=2), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 5)
    ).double()
    x, y = torch.randn(7, 2, 8, 8, dtype=torch.float64), torch.randint(5, (7,))
    targets = {"cross_entropy": y, "squared_error": torch.randn(7, 5, dtype=torch.float64)}
    for loss, target in targets.items():
        for name, layer in layer_curvature(model, (x, target), loss).items():
            truth = trace_matrix(hessian_block(model, x, target, mean_loss(loss), f"{name}.weight"))
            torch.testing.assert_close(layer.trace_matrix, truth, rtol=0, atol=1e-12)
