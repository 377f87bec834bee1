"""The trace and the relative flatness of the true Hessian, for networks whose Gauss-Newton blocks are not it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from ..losses.torch_losses import GivenLoss
from ..networks.adapter import Forward, Target
from ..networks.batches import Data
from ..networks.finding import find_layers, named_weights
from ..options import whole
from .products import KEPT_BYTES, Curvature

METHODS = ("hutchinson", "hutch++", "xtrace", "exact")


@dataclass(frozen=True)
class Estimate:
    """A number, its standard error (0 if it is exact), and the matrix-vector products spent."""

    value: float
    standard_error: float
    n_products: int


def hessian_trace(
    model: nn.Module,
    data: Data,
    loss: GivenLoss = "cross_entropy",
    *,
    layers: Iterable[str] | None = None,
    method: str = "hutchinson",
    n_products: int = 30,
    kind: str = "hessian",
    seed: int = 0,
    memory_budget: int = KEPT_BYTES,
    forward: Forward | None = None,
    target: Target | None = None,
) -> dict[str, Estimate]:
    """Tr(H_l) of the weights of each layer, of whatever type, by the layer's path; biases are left out.

    hutchinson: mean of z^T H z over signs z; one product serves all layers, n_products in all. Hutchinson 1990.
    hutch++: the trace on a random subspace exactly, the rest by Hutchinson; n_products a layer. Meyer et al. 2021.
    xtrace: the mean of all such splits of one set of vectors; n_products a layer. Epperly, Tropp and Webber 2024.
    exact: as many products as the layer has weights: for small layers.

    All but the last are unbiased; xtrace and hutch++ gain where the spectrum falls off. The splits of xtrace share
    their vectors, which its standard error allows for to leading order: .7 to 1.6 of the true one over the spectra
    of the tests; that of the other two .85 to 1.15. See Curvature for the cost and `memory_budget`.
    """
    if method not in METHODS:
        raise ValueError(f"method {method!r} is not one of {', '.join(METHODS)}")
    n_products = whole("n_products", n_products, 6)
    weights = named_weights(model, layers)
    opened = partial(
        Curvature, model, data, loss, kind=kind, memory_budget=memory_budget, forward=forward, target=target
    )
    generator = torch.Generator().manual_seed(int(seed))
    if method == "hutchinson":
        every = [name for names in weights.values() for name in names]
        with opened(parameters=every) as matrix:
            return _hutchinson(matrix, weights, n_products, generator)
    estimates = {}
    for path, names in weights.items():
        with opened(parameters=names) as matrix:
            if method == "exact" or n_products >= matrix.n:
                trace = sum(float(block.diagonal(start).sum()) for start, block in _rows(matrix))
                estimates[path] = Estimate(trace, 0.0, matrix.n)
            else:
                estimates[path] = (_xtrace if method == "xtrace" else _hutch)(matrix, n_products, generator)
    return estimates


def hessian_relative_flatness(
    model: nn.Module,
    data: Data,
    loss: GivenLoss = "cross_entropy",
    *,
    layers: Iterable[str] | None = None,
    n_products: int = 30,
    kind: str = "hessian",
    seed: int = 0,
    memory_budget: int = KEPT_BYTES,
    forward: Forward | None = None,
    target: Target | None = None,
) -> dict[str, Estimate]:
    """sum_{s,s'} <w_s, w_s'> Tr(H_{s,s'}) of each layer with the true Hessian; n_products a layer, unbiased.

    Hutchinson's estimator with vectors V = W E, E a (d, d) matrix of signs: the mean of V^T H V is <W W^T, T>.
    `memory_budget` as in `Curvature`.
    """
    n_products = whole("n_products", n_products, 2)  # a standard error needs two
    opened = partial(
        Curvature, model, data, loss, kind=kind, memory_budget=memory_budget, forward=forward, target=target
    )
    estimates = {}
    generator = torch.Generator().manual_seed(int(seed))
    for layer in find_layers(model, layers):
        with opened(parameters=[layer.parameter]) as matrix:
            weight = layer.flatten(matrix.network.parameters[layer.parameter].detach()).double().cpu()
            values = []
            for _ in range(n_products):
                vector = (weight @ _signs(weight.shape[1], weight.shape[1], generator)).flatten()
                values.append(float(vector @ matrix.product(vector[None])[0].cpu()))
        estimates[layer.name] = _mean(torch.tensor(values), n_products)
    return estimates


def hessian_trace_matrix(
    model: nn.Module,
    data: Data,
    loss: GivenLoss = "cross_entropy",
    *,
    layer: str,
    kind: str = "hessian",
    memory_budget: int = KEPT_BYTES,
    forward: Forward | None = None,
    target: Target | None = None,
) -> Tensor:
    """T^l of one small layer with the true Hessian, (n_out, n_out) float64, from as many products as it has weights."""
    (found,) = find_layers(model, [layer])
    opened = partial(
        Curvature, model, data, loss, kind=kind, memory_budget=memory_budget, forward=forward, target=target
    )
    with opened(parameters=[found.parameter]) as matrix:
        n_out, d = found.flatten(matrix.network.parameters[found.parameter]).shape
        total = torch.zeros(n_out, n_out, dtype=torch.float64)
        for start, rows in _rows(matrix):
            for row, product in enumerate(rows, start):
                total[row // d] += product.view(n_out, d)[:, row % d]
    return total


def _rows(matrix: Curvature, step: int = 16) -> Iterator[tuple[int, Tensor]]:
    """H by rows, some at a time, each group with the number of its first row."""
    for start in range(0, matrix.n, step):
        basis = torch.zeros(min(step, matrix.n - start), matrix.n, dtype=torch.float64)
        basis[:, start:].fill_diagonal_(1)
        yield start, matrix.product(basis).cpu()


def _hutchinson(
    matrix: Curvature, weights: dict[str, tuple[str, ...]], n: int, generator: torch.Generator
) -> dict[str, Estimate]:
    values: dict[str, list[float]] = {path: [] for path in weights}
    for _ in range(n):
        signs = _signs(1, matrix.n, generator)
        product = (signs * matrix.product(signs).cpu())[0]
        for path, names in weights.items():
            values[path].append(sum(float(product[matrix.slices[name]].sum()) for name in names))
    return {path: _mean(torch.tensor(each), n) for path, each in values.items()}


def _hutch(matrix: Curvature, n: int, generator: torch.Generator) -> Estimate:
    third = n // 3
    subspace = torch.linalg.qr(_products(matrix, _signs(third, matrix.n, generator)).T).Q
    known = float((subspace * _products(matrix, subspace.T).T).sum())
    signs = _signs(third, matrix.n, generator)
    signs = signs - (signs @ subspace) @ subspace.T
    rest = _mean((signs * _products(matrix, signs)).sum(1), 3 * third)
    return Estimate(known + rest.value, rest.standard_error, 3 * third)


def _xtrace(matrix: Curvature, n: int, generator: torch.Generator) -> Estimate:
    half = n // 2
    omega = _signs(half, matrix.n, generator).T
    image = _products(matrix, omega.T).T
    q, r = torch.linalg.qr(image)
    z = _products(matrix, q.T).T
    h, w, t = q.T @ z, q.T @ omega, z.T @ omega
    pivots = r.diagonal().abs()
    if pivots.min() <= 1e-12 * pivots.max():  # the vectors span all that H does not send to 0
        return Estimate(float(h.trace()), 0.0, 2 * half)
    s = torch.linalg.inv(r).T
    s = s / s.norm(dim=0)
    # Each test vector is projected away from the range of the others, Q (I - s s^T) Q^T.
    x = w - s * (s * w).sum(0)
    on_range = h.trace() - (s * (h @ s)).sum(0)
    off_range = (omega * image).sum(0) - 2 * (t * x).sum(0) + (x * (h @ x)).sum(0)
    splits = _mean(on_range + off_range, 2 * half)
    # A pair of vectors meets in two splits with the same term: their mean varies as if every pair were drawn twice.
    return replace(splits, standard_error=splits.standard_error * math.sqrt(2 * (half - 1) / (half - 2)))


def _products(matrix: Curvature, vectors: Tensor) -> Tensor:
    return torch.cat([matrix.product(vector[None]).cpu() for vector in vectors])


def _signs(m: int, n: int, generator: torch.Generator) -> Tensor:
    return torch.randint(2, (m, n), generator=generator).mul_(2).sub_(1).double()


def _mean(values: Tensor, n_products: int) -> Estimate:
    return Estimate(float(values.mean()), float(values.std() / math.sqrt(len(values))), n_products)
