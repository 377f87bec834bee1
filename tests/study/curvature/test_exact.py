"""Every layer's T^l against dense Hessians in float64."""

import pytest
import torch
from torch import Tensor

from study.curvature import layer_curvature
from study.curvature.blocks import recording
from tests.reference.curvature import gauss_newton_block, hessian_block, mean_loss, trace_matrix
from tests.study.curvature import networks

LOSSES = ("cross_entropy", "binary_cross_entropy", "squared_error")


def flat_weight(model: torch.nn.Module, name: str) -> Tensor:
    weight = dict(model.named_parameters())[f"{name}.weight" if name else "weight"].detach()
    return weight.reshape(len(weight), -1)


def check(case: networks.Case, loss: str, **options: object) -> None:
    n = len(case.inputs[0] if isinstance(case.inputs, tuple) else case.inputs)
    y = networks.targets(loss, n, 4 if isinstance(case.model, networks.Tied) else 3)
    curvature = layer_curvature(case.model, (case.inputs, y), loss, **options)
    holders = {id(module.weight) for module in case.model.modules() if hasattr(module, "weight")}
    assert len(curvature) == len(holders)
    for name, layer in curvature.items():
        parameter = f"{name}.weight" if name else "weight"
        block = gauss_newton_block(case.model, case.inputs, y, mean_loss(loss), parameter)
        truth = trace_matrix(block)
        weight = flat_weight(case.model, name)
        torch.testing.assert_close(layer.trace_matrix, truth, rtol=1e-10, atol=1e-10 * float(truth.abs().max()))
        assert layer.trace == pytest.approx(float(truth.trace()), rel=1e-10)
        assert layer.relative_flatness == pytest.approx(float((weight @ weight.T * truth).sum()), rel=1e-9)
        assert layer.weight_norm_squared == pytest.approx(float(weight.square().sum()))
        assert layer.kappa_2019 == pytest.approx(layer.weight_norm_squared * float(truth.trace()))
        assert layer.error_bound == 0
        if layer.exact:
            hessian = trace_matrix(hessian_block(case.model, case.inputs, y, mean_loss(loss), parameter))
            torch.testing.assert_close(layer.trace_matrix, hessian, rtol=1e-10, atol=1e-10 * float(truth.abs().max()))
    assert all(layer.exact for layer in curvature.values()) == case.exact


@pytest.mark.filterwarnings("ignore:Using padding=.same. with even kernel")
@pytest.mark.parametrize("name", networks.NAMES)
def test_equals_the_dense_matrix(name: str) -> None:
    check(networks.case(name), "cross_entropy")


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", ["mlp_relu", "conv2d_groups"])
def test_equals_the_dense_matrix_for_every_loss(name: str, loss: str) -> None:
    check(networks.case(name), loss)


@pytest.mark.parametrize("budget", [25_000, 60_000, 150_000, 10**8])
def test_is_the_same_for_every_memory_budget(budget: int) -> None:
    check(networks.case("residual"), "squared_error", memory_budget=budget)


@pytest.mark.parametrize("name", ["residual", "siamese", "conv2d_groups", "tokens"])
def test_columns_go_back_one_by_one_or_batched(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "_ONE_BY_ONE", 0)
    check(networks.case(name), "squared_error")


def test_a_saturated_softmax_in_float32_is_that_of_float64() -> None:
    """Logits hundreds apart, as of a network that has diverged in part: most probabilities are 0 in float32."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 5))
    with torch.no_grad():
        model[2].weight *= 400
    inputs, y = torch.randn(40, 6), torch.randint(5, (40,))
    assert float((model(inputs).softmax(1) == 0).float().mean()) > 0.2
    found = layer_curvature(model, (inputs, y))
    for name, truth in layer_curvature(model.double(), (inputs.double(), y)).items():
        assert found[name].trace == pytest.approx(truth.trace, rel=1e-3)
        assert found[name].relative_flatness == pytest.approx(truth.relative_flatness, rel=1e-3)
