"""What layer_curvature cannot treat, and arguments and data that are wrong, are named before any work."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from study.curvature import layer_curvature
from tests.study.curvature.comparison import small


class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(nn.functional.linear(self.layer(x), self.layer.weight))


class Scaled(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


class Empty(nn.Module):
    """A layer without a neuron, beside what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 1, bias=False)
        self.layer.weight = nn.Parameter(torch.empty(0, 3))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.layer(x)], 1)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            nn.Sequential(nn.Linear(4, 4), nn.Bilinear(4, 4, 3)),
            "layer '1' of type Bilinear holds parameters weight, bias",
        ),
        (nn.Sequential(nn.PReLU(), nn.Linear(4, 3)), "layer '0' of type PReLU"),
        (nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 3))), "of type ParametrizedLinear"),
        (nn.Sequential(nn.ReLU()), "has no layer with a weight"),
        (nn.Sequential(nn.Linear(4, 3), Empty()), r"layer '1.layer' of type Linear has a weight of shape \(0, 3\)"),
        (nn.DataParallel(nn.Linear(4, 3)), "give the network inside, model.module"),
        ("a path", "model is a str, not a torch.nn.Module"),
        (Functional(), "layer 'layer' of type Linear cannot be treated exactly"),
        (nn.Sequential(Scaled(4, 3)), "layer '0' of type Scaled cannot be treated exactly"),
        (nn.Sequential(nn.BatchNorm1d(4, track_running_stats=False), nn.Linear(4, 3)), "depends on the other samples"),
        (nn.Sequential(nn.Linear(4, 3), nn.Unflatten(1, (3, 1))), "shape"),
    ],
)
def test_what_cannot_be_treated_is_named(model: nn.Module, message: str) -> None:
    x, y = torch.randn(6, 4), torch.randint(3, (6,))
    with pytest.raises(ValueError, match=message):
        layer_curvature(model, (x, y))
    assert isinstance(model, str) or not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "hinge"}, "loss 'hinge' is not one of cross_entropy"),
        ({"loss": nn.MSELoss(reduction="sum")}, "reduction 'sum' of MSELoss: allowed: 'mean'"),
        ({"columns": "some"}, "columns 'some' is not"),
        ({"columns": 1}, "columns 1 is not"),
        ({"columns": 1.5}, "columns 1.5 is not"),
        ({"memory_budget": 1000}, "memory_budget 1000 bytes is too small"),
        ({"memory_budget": "2GB"}, "memory_budget '2GB' is not a whole number of bytes"),
        ({"dtype": torch.int32}, "dtype torch.int32 is not a floating point type"),
        ({"layers": "0"}, "layers '0' is not a list"),
        ({"layers": []}, r"layers \[\] is not a list of at least one path"),
    ],
)
def test_wrong_arguments_are_named(options: dict, message: str) -> None:
    model, x, y = small(4)
    with pytest.raises(ValueError, match=message):
        layer_curvature(model, (x, y), **options)


def test_wrong_data_is_named() -> None:
    model, x, y = small(4)
    with pytest.raises(ValueError, match="data must be"):
        layer_curvature(model, [x, x, x])
    with pytest.raises(ValueError, match="not dict; of other batches target= gives the targets, forward= the outputs"):
        layer_curvature(model, [{"pixels": x, "labels": y}])
    with pytest.raises(ValueError, match="4 inputs and 3 targets"):
        layer_curvature(model, (x, y[:3]))
    with pytest.raises(ValueError, match="no sample"):
        layer_curvature(model, [])
    for data in (None, x, (x, None), (x, y.tolist())):
        with pytest.raises(ValueError, match="data must be"):
            layer_curvature(model, data)
    with pytest.raises(ValueError, match="a Dataset is read through DataLoader"):
        layer_curvature(model, TensorDataset(x, y))
    with pytest.raises(ValueError, match="targets are classes 3 to 4; the model's 3 outputs allow 0 to 2"):
        layer_curvature(model, (x, torch.tensor([3, 4, 4, 4])))
    with pytest.raises(ValueError, match=r"targets have shape \(4, 2\), the outputs \(4, 3\)"):
        layer_curvature(model, (x, torch.zeros(4, 2)), "squared_error")
    with pytest.raises(ValueError, match="targets are classes 0 to 3; the model's 3 outputs allow 0 to 2"):
        layer_curvature(model, (x, torch.arange(4)), "squared_error")
    x[1, 0, 2, 2] = math.nan
    with pytest.raises(ValueError, match="outputs are not finite"):
        layer_curvature(model, (x, y), columns=1e-2)
    assert math.isnan(layer_curvature(model, (x, y))["0"].trace)
