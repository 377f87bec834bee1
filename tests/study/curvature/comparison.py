"""A small network with everything in it, and how two measurements of it are compared."""

import pytest
import torch
from torch import Tensor, nn


def small(n: int = 40, n_classes: int = 3) -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        nn.Dropout(0.5),
        nn.Flatten(),
        nn.Linear(64, n_classes),
    )
    model(torch.randn(64, 1, 6, 6))
    return model.eval(), torch.randn(n, 1, 6, 6), torch.randint(n_classes, (n,))


def values(curvature: dict) -> dict[str, list[float]]:
    return {
        name: [layer.trace, layer.relative_flatness, layer.relative_flatness_normalized, layer.kappa_2019]
        for name, layer in curvature.items()
    }


def assert_close(left: dict, right: dict, rel: float = 1e-4) -> None:
    assert left.keys() == right.keys()
    for name in left:
        assert left[name] == pytest.approx(right[name], rel=rel)
