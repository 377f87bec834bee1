"""Products, spectra and trace estimates against dense Hessians in float64."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from study.curvature import (
    Curvature,
    Loss,
    hessian_relative_flatness,
    hessian_trace,
    hessian_trace_matrix,
    layer_curvature,
    layer_eigenvalues,
    neuron_maxima,
    spectral_density,
    top_eigenvalues,
)
from tests.reference.curvature import gauss_newton_block, hessian_block, mean_loss, trace_matrix
from tests.study.curvature import networks


def problem(name: str, loss: str = "cross_entropy") -> tuple:
    case = networks.case(name)
    n = len(case.inputs[0] if isinstance(case.inputs, tuple) else case.inputs)
    return case.model, (case.inputs, networks.targets(loss, n, 4 if name == "tied" else 3)), mean_loss(loss)


def block(name: str, parameter: str, kind: str, loss: str = "cross_entropy") -> Tensor:
    model, (inputs, y), mean = problem(name, loss)
    dense = hessian_block if kind == "hessian" else gauss_newton_block
    return dense(model, inputs, y, mean, parameter)


@pytest.mark.parametrize("kind", ["hessian", "gauss_newton"])
@pytest.mark.parametrize("name", networks.NAMES)
@pytest.mark.filterwarnings("ignore:Using padding=.same. with even kernel")
def test_product_is_that_of_the_dense_matrix(name: str, kind: str) -> None:
    model, data, _ = problem(name)
    parameter = next(name for name, value in model.named_parameters() if value.ndim > 1)
    dense = block(name, parameter, kind)
    n = dense.shape[0] * dense.shape[1]
    dense = dense.reshape(n, n)
    vectors = torch.randn(3, n, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with Curvature(model, data, parameters=[parameter], kind=kind, chunk=2) as matrix:
        for product in (matrix.product(vectors), torch.cat([matrix.product(vector[None]) for vector in vectors])):
            torch.testing.assert_close(product, vectors @ dense, rtol=1e-9, atol=1e-10 * float(dense.abs().max() + 1))


@pytest.mark.parametrize("loss", ["cross_entropy", "binary_cross_entropy", "squared_error"])
def test_product_over_the_whole_network(loss: str) -> None:
    model, data, mean = problem("tanh", loss)
    flat = torch.nn.utils.parameters_to_vector(model.parameters()).detach()
    names = dict(model.named_parameters())

    def of_all(value: Tensor) -> Tensor:
        pieces = value.split([p.numel() for p in names.values()])
        state = {name: piece.view_as(p) for (name, p), piece in zip(names.items(), pieces, strict=True)}
        return mean(torch.func.functional_call(model, state, (data[0],)), data[1])

    dense = torch.autograd.functional.hessian(of_all, flat)
    with Curvature(model, data, loss) as matrix:
        torch.testing.assert_close(matrix.product(torch.eye(matrix.n).double()), dense, rtol=1e-9, atol=1e-11)
        top = top_eigenvalues(matrix, 2, tolerance=1e-10)
    truth = torch.linalg.eigvalsh(dense).flip(0)[:2]
    assert top.values == pytest.approx(truth.tolist(), rel=1e-8)
    assert max(top.residuals) < 1e-6 * top.values[0]


def test_label_smoothing_enters_the_true_hessian() -> None:
    model, (x, y), _ = problem("tanh")
    truth = hessian_block(model, x, y, mean_loss("cross_entropy", 0.2), "0.weight")
    smoothed = Loss("cross_entropy", label_smoothing=0.2)
    value = hessian_trace(model, (x, y), smoothed, layers=["0"], method="exact")["0"].value
    assert value == pytest.approx(float(trace_matrix(truth).trace()), rel=1e-9)
    assert value != pytest.approx(hessian_trace(model, (x, y), layers=["0"], method="exact")["0"].value, rel=1e-3)
    assert layer_curvature(model, (x, y))["0"].kind == "gauss_newton"
    assert layer_curvature(model, (x, y))["4"].kind == "hessian"


def test_layer_eigenvalues_are_those_of_the_blocks() -> None:
    model, data, _ = problem("mlp_relu")
    for name, layer in layer_eigenvalues(model, data, tolerance=1e-8).items():
        dense = block("mlp_relu", f"{name}.weight", "gauss_newton").reshape(layer_size(model, name))
        assert layer.lambda_max == pytest.approx(float(torch.linalg.eigvalsh(dense)[-1]), rel=1e-7)
        weight = model.get_parameter(f"{name}.weight")
        assert layer.kappa_2019_max == pytest.approx(float(weight.detach().square().sum()) * layer.lambda_max)
        assert layer.residual <= 1e-6 * layer.lambda_max


def layer_size(model: torch.nn.Module, name: str) -> tuple[int, int]:
    n = model.get_parameter(f"{name}.weight").numel()
    return n, n


def test_neuron_maxima_are_those_of_the_blocks() -> None:
    model, data, _ = problem("mlp_relu")
    dense = block("mlp_relu", "2.weight", "hessian")
    with Curvature(model, data, parameters=["2.weight"]) as matrix:
        top = neuron_maxima(matrix)
    truth = [float(torch.linalg.eigvalsh(dense[s, :, s])[-1]) for s in range(len(dense))]
    assert top.tolist() == pytest.approx(truth, abs=1e-12)


@pytest.mark.parametrize("name", ["tanh", "gelu", "attention", "repeated"])
@pytest.mark.parametrize("method", ["hutchinson", "hutch++", "xtrace"])
def test_trace_estimates_are_unbiased_within_their_standard_error(name: str, method: str) -> None:
    model, data, _ = problem(name)
    runs = [hessian_trace(model, data, method=method, n_products=15, seed=seed) for seed in range(12)]
    for layer in runs[0]:
        truth = float(trace_matrix(block(name, f"{layer}.weight", "hessian")).trace())
        values = torch.tensor([run[layer].value for run in runs], dtype=torch.float64)
        spread = float(values.std()) / len(runs) ** 0.5
        assert abs(float(values.mean()) - truth) <= 4 * spread + 1e-10
        stated = torch.tensor([run[layer].standard_error for run in runs]).square().mean().sqrt()
        if spread > 1e-10:
            # The two that learn a subspace have few independent samples left and heavy tails.
            low, high = (0.5, 2) if method == "hutchinson" else (0.1, 5)
            assert low < float(stated) / float(values.std()) < high


def test_lower_variance_where_the_spectrum_falls_off() -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(16, 10), torch.nn.GELU(), torch.nn.Linear(10, 3)).double()
    x = torch.randn(100, 16, dtype=torch.float64) * torch.logspace(0, -2, 16, dtype=torch.float64)
    data = (x, torch.randint(3, (100,)))
    options = {"layers": ["0"], "kind": "gauss_newton"}
    truth = hessian_trace(model, data, **options, method="exact")["0"].value
    error = {}
    for method in ("hutchinson", "hutch++", "xtrace"):
        runs = [hessian_trace(model, data, **options, method=method, n_products=36, seed=s)["0"] for s in range(6)]
        error[method] = sum((run.value - truth) ** 2 for run in runs) ** 0.5
    assert error["xtrace"] < error["hutchinson"] / 4
    assert error["hutch++"] < error["hutchinson"] / 1.5


@pytest.mark.parametrize("name", ["tanh", "attention"])
def test_exact_traces_and_relative_flatness_of_the_true_hessian(name: str) -> None:
    model, data, _ = problem(name)
    exact = hessian_trace(model, data, method="exact")
    runs = [hessian_relative_flatness(model, data, n_products=40, seed=seed) for seed in range(4)]
    for layer, estimate in exact.items():
        truth = trace_matrix(block(name, f"{layer}.weight", "hessian"))
        assert estimate.value == pytest.approx(float(truth.trace()), rel=1e-9, abs=1e-12)
        torch.testing.assert_close(hessian_trace_matrix(model, data, layer=layer), truth, rtol=1e-8, atol=1e-11)
        weight = model.get_parameter(f"{layer}.weight").detach().flatten(1) if "norm" not in layer else None
        if weight is not None:
            flatness = float((weight @ weight.T * truth).sum())
            value = sum(run[layer].value for run in runs) / len(runs)
            error = max(run[layer].standard_error for run in runs) / len(runs) ** 0.5
            assert abs(value - flatness) <= 5 * error + 1e-9


def test_density_has_the_moments_of_the_spectrum() -> None:
    model, data, _ = problem("tanh")
    dense = block("tanh", "0.weight", "hessian").reshape(30, 30)
    with Curvature(model, data, parameters=["0.weight"]) as matrix:
        points, weights = spectral_density(matrix, n_probes=200, n_steps=12)
    values = torch.linalg.eigvalsh(dense)
    assert float(weights.sum()) == pytest.approx(1)
    assert float((points * weights).sum()) == pytest.approx(float(values.mean()), rel=0.15)
    assert float((points**2 * weights).sum()) == pytest.approx(float(values.square().mean()), rel=0.25)
    assert float(points.max()) == pytest.approx(float(values[-1]), rel=1e-3)


def test_wrong_arguments_are_named() -> None:
    model, data, _ = problem("mlp_relu")
    with pytest.raises(ValueError, match="kind 'fisher' is not one of hessian"):
        Curvature(model, data, kind="fisher")
    with pytest.raises(ValueError, match=r"parameters 9\.weight are not among"):
        Curvature(model, data, parameters=["9.weight"])
    with pytest.raises(ValueError, match="method 'guess' is not one of"):
        hessian_trace(model, data, method="guess")
    with Curvature(model, data) as matrix, pytest.raises(ValueError, match="k 0 is not a whole number of at least 1"):
        top_eigenvalues(matrix, 0)
    with pytest.raises(ValueError, match="data holds no sample"):
        hessian_trace(model, (data[0][:0], data[1][:0]))
    with pytest.raises(ValueError, match="not finite"):
        layer_eigenvalues(model, (data[0] * math.nan, data[1]))
    with pytest.raises(ValueError, match="n_products 1 is not a whole number of at least 2"):
        hessian_relative_flatness(model, data, n_products=1)


class Unused(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.used, self.unused = torch.nn.Linear(5, 3), torch.nn.Linear(7, 9)

    def forward(self, x: Tensor) -> Tensor:
        return self.used(x)


@pytest.mark.parametrize("kind", ["hessian", "gauss_newton"])
def test_a_layer_that_the_outputs_do_not_depend_on_has_no_curvature(kind: str) -> None:
    model, data = Unused(), (torch.randn(4, 5), torch.randint(3, (4,)))
    for method in ("hutchinson", "hutch++", "xtrace", "exact"):
        assert hessian_trace(model, data, method=method, n_products=9, kind=kind)["unused"].value == 0
    found = layer_eigenvalues(model, data, kind=kind)
    assert (found["unused"].lambda_max, found["unused"].residual) == (0, 0)
    assert found["used"].lambda_max > 0


def test_trace_of_a_layer_of_any_type() -> None:
    torch.manual_seed(0)

    class Mixer(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention, self.head = torch.nn.MultiheadAttention(4, 2, batch_first=True), torch.nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.attention(x, x, x, need_weights=False)[0].mean(1))

    model = Mixer().double().eval()
    data = (torch.randn(5, 3, 4, dtype=torch.float64), torch.randint(3, (5,)))
    with pytest.raises(ValueError, match="layer 'attention' of type MultiheadAttention holds parameters"):
        layer_curvature(model, data)
    exact = hessian_trace(model, data, method="exact")
    assert list(exact) == ["attention", "attention.out_proj", "head"]
    parameter = "attention.in_proj_weight"
    with sdpa_kernel(SDPBackend.MATH):
        truth = hessian_block(model, *data, mean_loss("cross_entropy"), parameter)
    assert exact["attention"].value == pytest.approx(float(trace_matrix(truth).trace()), rel=1e-9)
    assert layer_curvature(model, data, layers=["head"])["head"].exact
    with pytest.raises(ValueError, match=r"layer 'attention.out_proj' .* cannot be treated exactly"):
        layer_curvature(model, data, layers=["attention.out_proj"])
