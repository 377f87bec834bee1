"""The invariances of the measures that layer_curvature gives, and rho against the Hessian."""

import copy

import pytest
import torch
from torch import Tensor, nn

from study.curvature import layer_curvature
from tests.study.curvature import networks


def rescaled(model: nn.Module, factors: Tensor) -> nn.Module:
    """The same function with neuron s of layer 0 times factors[s] and layer 2's columns divided by them."""
    model = copy.deepcopy(model)
    with torch.no_grad():
        model[0].weight *= factors[:, None]
        model[0].bias *= factors
        model[2].weight /= factors
    return model


def test_the_invariances_of_definitions() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4)).double()
    with torch.no_grad():
        model[0].weight[3], model[0].bias[3] = 0, -1  # a dead feature
        model[0].weight[4], model[0].bias[4] = 0, 2  # one that never varies
    x, y = torch.randn(50, 6, dtype=torch.float64), torch.randint(4, (50,))
    plain = layer_curvature(model, (x, y), neuron_wise=True)
    one = layer_curvature(rescaled(model, torch.full((5,), 9.0).double()), (x, y), neuron_wise=True)
    each = layer_curvature(rescaled(model, torch.tensor([0.2, 3, 40, 5, 0.5]).double()), (x, y), neuron_wise=True)
    for name in ("0", "2"):
        assert one[name].relative_flatness == pytest.approx(plain[name].relative_flatness)
        assert one[name].kappa_2019 == pytest.approx(plain[name].kappa_2019)
        assert one[name].trace != pytest.approx(plain[name].trace)
        for other in (one, each):
            normalized = plain[name].relative_flatness_normalized
            assert other[name].relative_flatness_normalized == pytest.approx(normalized)
            torch.testing.assert_close(other[name].neuron_wise, plain[name].neuron_wise)
    assert each["0"].relative_flatness == pytest.approx(plain["0"].relative_flatness)  # scaling of its own outputs
    assert each["2"].relative_flatness != pytest.approx(plain["2"].relative_flatness, rel=0.1)
    assert each["2"].kappa_2019 != pytest.approx(plain["2"].kappa_2019, rel=0.1)
    assert plain["2"].feature_scale[3:].tolist() == [0, 0]


def test_normalized_is_what_the_normalized_network_has() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 3, 3, groups=1), nn.ReLU(), nn.Flatten(), nn.Linear(12, 3)).double()
    x, y = (
        torch.randn(20, 2, 4, 4, dtype=torch.float64) * torch.tensor([1.0, 7.0])[:, None, None],
        torch.randint(3, (20,)),
    )
    scale = x.std((0, 2, 3), correction=0)
    other = copy.deepcopy(model)
    other[0].weight.data *= scale[:, None, None]
    plain, scaled = layer_curvature(model, (x, y)), layer_curvature(other, (x / scale[:, None, None], y))
    assert plain["0"].relative_flatness_normalized == pytest.approx(scaled["0"].relative_flatness)
    torch.testing.assert_close(plain["0"].trace_matrix_normalized, scaled["0"].trace_matrix)
    torch.testing.assert_close(plain["0"].feature_scale, scale.repeat_interleave(9))
    phi = model[:3](x)
    torch.testing.assert_close(plain["3"].feature_scale, phi.std(0, correction=0).detach())


@pytest.mark.parametrize("name", ["mlp_relu", "conv2d_groups", "conv2d_wide", "batch_norm1d"])
def test_neuron_wise_is_that_of_the_hessian(name: str) -> None:
    from tests.reference.curvature import hessian_block, mean_loss

    case = networks.case(name)
    y = networks.targets("cross_entropy", len(case.inputs), 3)
    for layer, measured in layer_curvature(case.model, (case.inputs, y), neuron_wise=True).items():
        module = case.model.get_submodule(layer)
        block = hessian_block(case.model, case.inputs, y, mean_loss("cross_entropy"), f"{layer}.weight")
        weight = module.weight.detach().reshape(len(block), -1)
        groups = len(weight) if isinstance(module, nn.BatchNorm1d) else getattr(module, "groups", 1)
        rows = len(weight) // groups
        rho = [
            torch.einsum("s,st,t->", v, block[at, j, at, j], v)
            for at in (slice(g * rows, (g + 1) * rows) for g in range(groups))
            for j in range(weight.shape[1])
            for v in [weight[at, j]]
        ]
        torch.testing.assert_close(measured.neuron_wise, torch.stack(rho), rtol=1e-9, atol=1e-13)
