"""Eigenvalues of layer blocks and of the whole network by Lanczos, with their residuals, and the spectrum's density.

Only the two functions that call ARPACK need scipy and numpy, which they import when they are called.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn

from ..blocks.rows import layer_rows
from ..losses.torch_losses import GivenLoss, resolve_loss
from ..networks.adapter import Forward, Target, adapted
from ..networks.batches import Batches, Data
from ..networks.finding import find_layers
from ..options import whole
from .products import KEPT_BYTES, Curvature

if TYPE_CHECKING:
    import numpy as np

# Below this size ARPACK has no room for its basis, and a dense matrix costs less anyway.
_DENSE = 24
_BASIS = 12


class Symmetric(Protocol):
    """A symmetric matrix through its products: an open `Curvature`, or a layer's block."""

    n: int

    def product(self, vectors: Tensor) -> Tensor:
        """The matrix applied to each row of vectors (m, n): (m, n), float64."""


@dataclass(frozen=True)
class Eigenvalues:
    """The largest eigenvalues, falling, with ||H v - lambda v|| of each (v of norm 1) and the products spent."""

    values: tuple[float, ...]
    residuals: tuple[float, ...]
    n_products: int
    vectors: Tensor  # (k, n)


@dataclass(frozen=True)
class LayerEigenvalue:
    """lambda_max of a layer's block, its residual, and kappa_2019_max = ||W||_F^2 lambda_max.

    Source: Petzka et al. 2019, kappa_max there; read in the long version, 2001.00939 v1, eq. 7 and 10.
    """

    name: str
    lambda_max: float
    residual: float
    kappa_2019_max: float
    n_products: int


def top_eigenvalues(matrix: Symmetric, k: int = 1, *, tolerance: float = 1e-4, seed: int = 0) -> Eigenvalues:
    """The k algebraically largest eigenvalues of an open `Curvature`, by implicitly restarted Lanczos (ARPACK).

    `tolerance` is relative to the eigenvalue; a float32 model cannot go under about 1e-6. Each product costs a
    pass over the data, see Curvature; the residuals say how far it got, also where the iteration gave up.
    """
    k = whole("k", k, 1)
    if k > matrix.n:
        raise ValueError(f"k {k} is not in [1, {matrix.n}], the number of parameters")
    start = torch.randn(matrix.n, generator=torch.Generator().manual_seed(int(seed)), dtype=torch.float64)
    if not _times(matrix, start[None]).any():  # a zero matrix, with which ARPACK cannot begin
        values, vectors, count = torch.zeros(k, dtype=torch.float64), torch.eye(matrix.n, dtype=torch.float64)[:k], 1
    elif matrix.n <= max(_DENSE, k + 2):
        all_values, all_vectors = torch.linalg.eigh(_times(matrix, torch.eye(matrix.n, dtype=torch.float64)))
        values, vectors, count = all_values[-k:], all_vectors[:, -k:].T, matrix.n
    else:
        values, vectors, count = _arpack(matrix, k, start, tolerance)
    order = values.argsort(descending=True)
    values, vectors = values[order], vectors[order]
    residuals = (_times(matrix, vectors) - values[:, None] * vectors).norm(dim=1)
    return Eigenvalues(tuple(values.tolist()), tuple(residuals.tolist()), count + k, vectors)


def _arpack(matrix: Symmetric, k: int, start: Tensor, tolerance: float) -> tuple[Tensor, Tensor, int]:
    """k eigenvalues, their vectors (k, n), and the products spent, that with `start` counted."""
    try:
        from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh
    except ImportError:
        raise ImportError("eigenvalues need scipy, which is not installed: pip install scipy") from None
    count = 1

    def apply(vector: np.ndarray) -> np.ndarray:
        nonlocal count
        count += 1
        return _times(matrix, torch.from_numpy(vector).reshape(1, -1)).numpy().reshape(vector.shape)

    operator = LinearOperator((matrix.n, matrix.n), matvec=apply, dtype="float64")
    # A loss's largest eigenvalues stand far apart: a dozen vectors do, where ARPACK's default takes twenty.
    basis = min(matrix.n, max(2 * k + 1, _BASIS))
    try:
        values, vectors = eigsh(operator, k=k, which="LA", v0=start.numpy(), tol=tolerance, ncv=basis)
    except ArpackNoConvergence as stopped:
        values, vectors = stopped.eigenvalues, stopped.eigenvectors
        if len(values) < k:
            raise ValueError(f"Lanczos found {len(values)} of {k} eigenvalues in {count} products") from stopped
    return torch.from_numpy(values), torch.from_numpy(vectors.T.copy()), count


def layer_eigenvalues(
    model: nn.Module,
    data: Data,
    loss: GivenLoss = "cross_entropy",
    *,
    kind: str = "gauss_newton",
    layers: Iterable[str] | None = None,
    tolerance: float = 1e-4,
    seed: int = 0,
    memory_budget: int = KEPT_BYTES,
    forward: Forward | None = None,
    target: Target | None = None,
) -> dict[str, LayerEigenvalue]:
    """lambda_max of the block of each layer's weight, by the layer's path; see `top_eigenvalues` for the cost.

    `memory_budget` as in `Curvature`. Of a convolution the Gauss-Newton block is taken from the gradients of all
    samples where the budget holds them: one backward pass an output, for as many layers together as it holds, in place
    of some dozens.
    """
    opened = partial(
        Curvature, model, data, loss, kind=kind, memory_budget=memory_budget, forward=forward, target=target
    )
    found, by_rows = find_layers(model, layers), {}
    if kind == "gauss_newton" and isinstance(data, tuple | list):  # what may be read once is left to `Curvature`
        pairs, call = adapted(data, forward, target)
        for group in layer_rows(model, Batches.of(pairs), resolve_loss(loss), call, memory_budget, found):
            for name in list(group):  # each is let go of
                by_rows[name] = top_eigenvalues(group.pop(name), tolerance=tolerance, seed=seed)
    weights = dict(model.named_parameters())
    results = {}
    for layer in found:
        if layer.name in by_rows:
            top = by_rows[layer.name]
        else:
            with opened(parameters=[layer.parameter]) as matrix:
                top = top_eigenvalues(matrix, tolerance=tolerance, seed=seed)
        norm = float(weights[layer.parameter].detach().double().square().sum())
        results[layer.name] = LayerEigenvalue(
            layer.name, top.values[0], top.residuals[0], norm * top.values[0], top.n_products
        )
    return results


def neuron_maxima(matrix: Curvature) -> Tensor:
    """lambda_max(H_ss) of each neuron s of a `Curvature` in one small weight: (n_out,), float64, by dense blocks.

    kappa_max of 2021, as its published code has it, is sum_s ||w_s||^2 times these. Cost: as many products as the
    weight has numbers.
    """
    if len(matrix.names) != 1:
        raise ValueError(f"one weight is needed, not {', '.join(matrix.names)}")
    n_out = len(matrix.network.parameters[matrix.names[0]])
    d = matrix.n // n_out
    top = torch.zeros(n_out, dtype=torch.float64)
    for neuron in range(n_out):
        at = slice(neuron * d, (neuron + 1) * d)
        basis = torch.zeros(d, matrix.n, dtype=torch.float64)
        basis[:, at] = torch.eye(d, dtype=torch.float64)
        top[neuron] = torch.linalg.eigvalsh(matrix.product(basis)[:, at].cpu())[-1]
    return top


def spectral_density(
    matrix: Curvature, *, n_probes: int = 4, n_steps: int = 40, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """The spectrum as points and weights that add up to 1, by stochastic Lanczos quadrature.

    Source: Golub and Meurant 2010; Ghorbani et al. 2019, 1901.10159. Sampled: mean over n_probes random vectors,
    each with n_steps products and n_steps vectors of the size of the parameters in memory (full reorthogonalization).
    """
    n_probes, n_steps = whole("n_probes", n_probes, 1), whole("n_steps", n_steps, 1)
    generator = torch.Generator().manual_seed(int(seed))
    points, weights = [], []
    for _ in range(n_probes):
        start = torch.randn(matrix.n, generator=generator, dtype=torch.float64)
        values, vectors = torch.linalg.eigh(_lanczos(matrix, start, min(n_steps, matrix.n)))
        points.append(values)
        weights.append(vectors[0].square() / n_probes)
    return torch.cat(points), torch.cat(weights)


def _lanczos(matrix: Curvature, start: Tensor, n_steps: int) -> Tensor:
    """The tridiagonal matrix of n_steps Lanczos steps; fewer if the Krylov space ends."""
    basis = [start / start.norm()]
    diagonal: list[float] = []
    beside: list[float] = []
    for _ in range(n_steps):
        vector = matrix.product(basis[-1][None])[0].cpu()
        diagonal.append(float(vector @ basis[-1]))
        known = torch.stack(basis)
        for _ in range(2):  # twice is enough (Parlett 1980)
            vector = vector - known.T @ (known @ vector)
        size = float(vector.norm())
        if size <= 1e-10 * max(abs(value) for value in diagonal) or len(diagonal) == n_steps:
            break
        beside.append(size)
        basis.append(vector / size)
    n = len(diagonal)
    off = torch.tensor(beside[: n - 1], dtype=torch.float64)
    return torch.tensor(diagonal, dtype=torch.float64).diag() + off.diag(1) + off.diag(-1)


def _times(matrix: Symmetric, vectors: Tensor) -> Tensor:
    product = matrix.product(vectors).cpu()
    if not product.isfinite().all():
        raise ValueError("a product with the matrix is not finite: weights or data hold NaN or too large numbers")
    return product
