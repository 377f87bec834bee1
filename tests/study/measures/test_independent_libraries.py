"""Measures of trained networks beside what others wrote: curvlinops, PyHessian, BackPACK, torchmetrics.

The slow twins of tests/reference are ours; an error of thought would be in both. scikit-learn's scores and scipy's SVD
of an unrolled convolution are in test_calibration.py and test_norms.py.
"""

from __future__ import annotations

import copy
import functools
import math
import warnings
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import pytest
import torch
from scipy.sparse.linalg import LinearOperator, eigsh
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional

from study.data.vision import torchvision
from study.measures import MeasureContext, compute
from study.models.lenet5 import lenet5
from study.models.nin import nin
from study.models.pooling import HalvingPool
from study.models.resnet import resnet
from tests.benchmarks.peers import backpack

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # torch's own, of jvp

# Weights few enough for a matrix of them all, but for LeNet5, whose layers are taken one by one.
KINDS = ("mlp", "nin", "resnet")


def imported(name: str) -> ModuleType:
    """A library whose import warns of what torch deprecates."""
    torchvision()  # torchmetrics imports it, and beside a CPU build of torch it cannot be imported as it is
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return __import__(name)


def untrained(kind: str) -> nn.Module:
    if kind == "mlp":
        return nn.Sequential(
            nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 10)
        )
    if kind == "nin":
        return nin((1, 8, 8), 10, (), depth=1, width=12, dropout=0.0, norm_momentum=0.1)
    if kind == "resnet":
        return resnet((1, 8, 8), 10, (), depth=8, width=2, norm_momentum=0.1)
    return lenet5((1, 16, 16), 10, ())


@functools.cache
def trained(kind: str) -> MeasureContext:
    """150 handwritten digits at a small loss, some of them wrong; measured in float64 on the first 40."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        digits = load_digits()
        x = torch.tensor(digits.images[:150]).float()[:, None] / 8 - 1
        x = x.repeat_interleave(2, 2).repeat_interleave(2, 3) if kind == "lenet5" else x
        labels = torch.tensor(digits.target[:150])
        model = untrained(kind)
        initial = {name: p.detach().clone() for name, p in model.named_parameters()}
        optimizer = torch.optim.Adam(model.parameters(), 0.01)
        loss = math.inf
        for _ in range(200):
            loss = 0.0
            for rows in torch.randperm(150).split(25):
                optimizer.zero_grad()
                part = functional.cross_entropy(model(x[rows]), labels[rows])
                part.backward()
                optimizer.step()
                loss += float(part.detach()) / 6
            if loss < 0.2:
                break
    optimizer.zero_grad()
    assert loss < 0.2, f"{kind} was not fitted: a loss of {loss:.2g}"
    model = model.double().eval()
    return MeasureContext(model, initial, x[:40].double(), labels[:40], "cross_entropy", key="0123456789ab")


def weights(ctx: MeasureContext) -> dict[str, Tensor]:
    return {name.removesuffix(".weight"): p for name, p in ctx.model.named_parameters() if p.ndim >= 2}


def operator(kind: str, name: str, layers: tuple[str, ...] | None = None) -> Any:
    """curvlinops' matrix of this name, of the weights of these layers."""
    ctx = trained(kind)
    its = weights(ctx)
    made = getattr(imported("curvlinops"), name)
    chosen = [its[layer] for layer in layers or its]
    return made(ctx.model, nn.CrossEntropyLoss(), chosen, [(ctx.x, ctx.labels)], check_deterministic=False)


def dense(matrix: Any) -> Tensor:
    return torch.as_tensor(matrix @ torch.eye(matrix.shape[1], dtype=torch.float64))


@functools.cache
def matrices(kind: str) -> tuple[Tensor, Tensor]:
    """The Gauss-Newton matrix and the covariance of the samples' gradients, by curvlinops, of all weights."""
    ctx = trained(kind)
    gradients = functional.cross_entropy(ctx.model(ctx.x), ctx.labels)
    mean = torch.cat([g.flatten() for g in torch.autograd.grad(gradients, list(weights(ctx).values()))])
    second = dense(operator(kind, "EFLinearOperator"))
    return dense(operator(kind, "GGNLinearOperator")), second - mean.outer(mean)


def blocks(kind: str, matrix: Tensor) -> dict[str, Tensor]:
    """The blocks on the diagonal by layer, (n_out, n_in, n_out, n_in)."""
    its, found, at = weights(trained(kind)), {}, 0
    for layer, weight in its.items():
        part = slice(at, at := at + weight.numel())
        n_out, n_in = weight.flatten(1).shape
        found[layer] = matrix[part, part].view(n_out, n_in, n_out, n_in)
    return found


def by_layer(kind: str, label: str) -> Mapping[str, float]:
    layers = compute(label, trained(kind))["layers"]
    return {layer: layers[layer] for layer in weights(trained(kind))}


def of_blocks(kind: str, its: Mapping[str, Tensor]) -> dict[str, dict[str, float]]:
    """What measures of layers are by the formula, each block being there."""
    found: dict[str, dict[str, float]] = {}
    for layer, h in its.items():
        w = weights(trained(kind))[layer].detach().flatten(1)
        n_out, n_in = w.shape
        trace = torch.einsum("siti->st", h)
        neurons = torch.stack([torch.linalg.eigvalsh(h[s, :, s])[-1] for s in range(n_out)])
        columns = torch.stack([w[:, j] @ h[:, j, :, j] @ w[:, j] for j in range(n_in)])
        values = {
            "hessian_trace": trace.trace(),
            "relative_flatness": (trace * (w @ w.T)).sum(),
            "kappa_2019": w.square().sum() * trace.trace(),
            "weight_curvature": (w.square().sum() * trace.trace()).sqrt(),
            "kappa_max": (w.square().sum(1) * neurons).sum(),
            "rho_max": columns.max(),
            "rho_sum": columns.sum(),
            "lambda_max": torch.linalg.eigvalsh(h.reshape(w.numel(), -1))[-1],
            "hessian_frobenius": h.norm(),
            "effective_rank": trace.trace() ** 2 / h.square().sum(),
        }
        for label, value in values.items():
            found.setdefault(label, {})[layer] = float(value)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_measures_of_layers_are_those_of_the_matrix_of_curvlinops(kind: str) -> None:
    found = of_blocks(kind, blocks(kind, matrices(kind)[0]))
    for label, layers in found.items():
        tolerance = 1e-4 if label == "lambda_max" else 1e-9  # Lanczos stops at a residual of 1e-4
        assert by_layer(kind, label) == pytest.approx(layers, rel=tolerance), label


@pytest.mark.parametrize("kind", KINDS)
def test_measures_of_the_whole_are_those_of_the_matrix_of_curvlinops(kind: str) -> None:
    h, noise = matrices(kind)
    values = torch.linalg.eigvalsh(h).clamp(min=0)
    metric = torch.cat([w.detach().norm().expand(w.numel()) for w in weights(trained(kind)).values()])
    identity = torch.eye(len(h), dtype=torch.float64)
    by_hand = {
        "lambda_max_network": values[-1],
        "hessian_frobenius": h.norm(),
        "effective_rank": h.trace() ** 2 / h.square().sum(),
        "soft_rank": (values / (values + 1e-3)).sum(),
        "soft_rank(c=0.01)": (values / (values + 1e-2)).sum(),
        "tic": torch.linalg.solve(h + 1e-3 * identity, noise).trace(),
        "quotient_eigenvalue": torch.linalg.eigvalsh(metric[:, None] * h * metric)[-1],
        "gradient_noise": noise.trace(),
        "noise_over_trace": noise.trace() / h.trace(),
    }
    for label, value in by_hand.items():
        assert compute(label, trained(kind))["value"] == pytest.approx(float(value), rel=1e-8), label


def test_layers_of_lenet5_are_those_of_the_matrices_of_curvlinops() -> None:
    some = ("conv1", "conv2", "fc3")
    its = weights(trained("lenet5"))
    shapes = {layer: (*its[layer].flatten(1).shape,) * 2 for layer in some}
    found = of_blocks("lenet5", {layer: dense(operator("lenet5", "GGNLinearOperator", (layer,))).view(shapes[layer])
                                 for layer in some})  # fmt: skip
    for label, layers in found.items():
        tolerance = 1e-4 if label == "lambda_max" else 1e-9
        ours = by_layer("lenet5", label)
        assert {layer: ours[layer] for layer in some} == pytest.approx(layers, rel=tolerance), label
    whole = operator("lenet5", "GGNLinearOperator")
    products = LinearOperator(whole.shape, lambda v: (whole @ torch.from_numpy(v.reshape(-1))).numpy(), dtype="float64")
    largest = eigsh(products, 1, which="LA", tol=1e-9, return_eigenvectors=False)[0]
    assert compute("lambda_max_network", trained("lenet5"))["value"] == pytest.approx(largest, rel=1e-8)


@pytest.mark.parametrize("kind", ["mlp", "lenet5"])
@pytest.mark.filterwarnings("ignore:Using backward:UserWarning")  # PyHessian's own
def test_pyhessian_finds_the_largest_eigenvalue_and_the_trace_of_each_layer(kind: str) -> None:
    """Of the Hessian itself, where ours is of the Gauss-Newton matrix: they are one in each layer of such networks."""
    hessian = imported("pyhessian").hessian
    ctx = trained(kind)
    largest, trace = by_layer(kind, "lambda_max"), by_layer(kind, "hessian_trace")
    parameters = dict(ctx.model.named_parameters())
    try:
        for layer in largest:
            for name, parameter in parameters.items():
                parameter.requires_grad_(name == f"{layer}.weight")
            torch.manual_seed(0)
            with torch.random.fork_rng():
                theirs = hessian(ctx.model, nn.CrossEntropyLoss(), data=(ctx.x, ctx.labels), cuda=False)
                [found], _ = theirs.eigenvalues(maxIter=2000, tol=1e-10)
                draws = torch.tensor(theirs.trace(maxIter=100, tol=0), dtype=torch.float64)
            assert largest[layer] == pytest.approx(found, rel=2e-4), layer
            error = float(draws.std()) / len(draws) ** 0.5
            assert abs(trace[layer] - float(draws.mean())) < 4 * error < trace[layer], layer
    finally:
        for parameter in parameters.values():
            parameter.requires_grad_(True).grad = None


@pytest.mark.parametrize("kind", ["mlp", "lenet5"])
@pytest.mark.filterwarnings("ignore:Full backward hook is firing")  # BackPACK's own
def test_backpack_finds_the_trace_of_each_layer(kind: str) -> None:
    ctx = trained(kind)
    as_torch_has_it = copy.deepcopy(ctx.model)
    for name, module in ctx.model.named_modules():
        if isinstance(module, HalvingPool):
            as_torch_has_it.set_submodule(name, nn.MaxPool2d(2))
    theirs = backpack(as_torch_has_it, ctx.x, ctx.labels)()
    assert by_layer(kind, "hessian_trace") == pytest.approx(theirs, rel=1e-10)


@pytest.mark.parametrize("bins", [15, 5])
@pytest.mark.parametrize("kind", [*KINDS, "lenet5"])
def test_torchmetrics_finds_the_calibration_error(kind: str, bins: int) -> None:
    ctx = trained(kind)
    theirs = imported("torchmetrics").functional.classification.multiclass_calibration_error
    error = theirs(ctx.logits.softmax(1), ctx.labels, num_classes=10, n_bins=bins, norm="l1")
    assert compute(f"ece(bins={bins})", ctx)["value"] == pytest.approx(float(error), rel=1e-5)
    assert float(error) > 0
