"""What is of 16 bits is summed up in more, and a feature that does not vary is found for all that float32 rounds."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from study.curvature import layer_curvature

FIELDS = ("trace", "relative_flatness", "relative_flatness_normalized")


def network(kind: str) -> tuple[nn.Module, torch.Tensor]:
    """One network a contraction, and inputs whose squares sum to more than float16 holds."""
    torch.manual_seed(0)
    if kind == "vectors":
        return nn.Sequential(nn.Linear(400, 8), nn.ReLU(), nn.Linear(8, 3)), 30 * torch.randn(50, 400)
    if kind == "last":
        return nn.Sequential(nn.Linear(400, 3)), 30 * torch.randn(50, 400)
    tail = [nn.ReLU(), nn.MaxPool2d(2)] if kind == "pooled" else [nn.LeakyReLU()]
    layers = nn.Conv2d(3, 4, 5, padding=2), *tail, nn.Flatten(), nn.LazyLinear(3)
    model, x = nn.Sequential(*layers), 100 * torch.randn(12, 3, 16, 16)
    model(x)
    return model, x


@pytest.mark.parametrize("loss", ["cross_entropy", "squared_error"])
@pytest.mark.parametrize("kind", ["vectors", "last", "pooled", "images"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_of_16_bits_it_is_near_to_what_float64_makes_of_the_same_weights(
    dtype: torch.dtype, kind: str, loss: str
) -> None:
    model, x = network(kind)
    y = torch.randint(3, (len(x),))
    with torch.no_grad():
        model[-1].weight.mul_(0.01)  # type: ignore[index, operator]
    half, given = copy.deepcopy(model).to(dtype), x.to(dtype)
    found = layer_curvature(half, (given, y), loss, neuron_wise=True)
    wanted = layer_curvature(half, (given, y), loss, neuron_wise=True, dtype=torch.float64)
    rounding = 0.01 if dtype == torch.float16 else 0.05
    for name, layer in wanted.items():
        for field in FIELDS:
            assert getattr(found[name], field) == pytest.approx(getattr(layer, field), rel=rounding), (name, field)
        neurons, expected = found[name].neuron_wise, layer.neuron_wise
        assert neurons is not None and expected is not None
        assert float(neurons.sum()) == pytest.approx(float(expected.sum()), rel=rounding)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("constant", [0.1, -0.42421296, 0.3333])
def test_a_feature_that_does_not_vary_has_no_scale_in_any_dtype(dtype: torch.dtype, constant: float) -> None:
    """Its mean over many samples is rounded, and so it deviates from its mean by rounding alone."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)).to(dtype)
    x, y = torch.randn(2000, 6), torch.randint(3, (2000,))
    x[:, :3] = constant
    scale = layer_curvature(model, (x.to(dtype), y))["0"].feature_scale
    assert scale is not None and not scale[:3].any() and bool((scale[3:] > 0.9).all())
