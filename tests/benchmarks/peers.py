"""The curvature pass and its peers as plain calls: each runs once and returns the trace of each layer, or of all."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from study.curvature import layer_curvature

CHUNK = 100  # samples at once for the peers: the fastest of 50, 100, 200, 400 and 2000 for BackPACK on LeNet5


def forward_backward(model: nn.Module, x: Tensor, y: Tensor) -> Callable[[], None]:
    """One training pass without the update: the unit."""
    parameters = list(model.parameters())

    def call() -> None:
        for at in range(0, len(x), CHUNK):
            torch.autograd.grad(F.cross_entropy(model(x[at : at + CHUNK]), y[at : at + CHUNK]), parameters)

    return call


def ours(model: nn.Module, x: Tensor, y: Tensor, **options: object) -> Callable[[], dict[str, float]]:
    """T^l of every layer."""

    def call() -> dict[str, float]:
        measured = layer_curvature(model, (x, y), **options)  # type: ignore[arg-type]
        return {name: layer.trace for name, layer in measured.items()}

    return call


def backpack(model: nn.Module, x: Tensor, y: Tensor) -> Callable[[], dict[str, float]]:
    """BackPACK's DiagGGNExact: the diagonal of every layer's Gauss-Newton block."""
    from backpack import backpack as context
    from backpack import extend
    from backpack.extensions import DiagGGNExact

    # A copy: BackPACK leaves hooks that the others' transforms cannot pass.
    extended, loss = extend(copy.deepcopy(model)), extend(nn.CrossEntropyLoss())
    layers = {name: module for name, module in extended.named_modules() if hasattr(module, "weight")}

    def call() -> dict[str, float]:
        traces = dict.fromkeys(layers, 0.0)
        for at in range(0, len(x), CHUNK):
            part = slice(at, at + CHUNK)
            value = loss(extended(x[part]), y[part])
            with context(DiagGGNExact()):
                value.backward()
            for name, module in layers.items():
                traces[name] += float(module.weight.diag_ggn_exact.double().sum()) * len(y[part]) / len(x)
                module.weight.grad = None
        return traces

    return call


class Probes:
    """A stochastic peer: the time of `n` probes is extrapolated to a standard error of one percent.

    The first call runs `n_spread` probes, from whose spread the number for one percent is taken.
    """

    n = 2
    n_spread = 16

    def __init__(self, run: Callable[[int], list[float]]) -> None:
        self.run = run
        self.values = torch.empty(0)

    def __call__(self) -> dict[str, float]:
        if len(self.values):
            self.run(self.n)
        else:
            self.values = torch.tensor(self.run(self.n_spread), dtype=torch.float64)
        return {"all": float(self.values.mean())}

    def needed(self) -> float:
        """Probes for a standard error of one percent."""
        return max(2.0, float((self.values.std() / (0.01 * self.values.mean())) ** 2))


def pyhessian(model: nn.Module, x: Tensor, y: Tensor) -> Probes:
    """PyHessian: Hutchinson's estimate of the trace of the whole network's Hessian, on one batch."""
    from pyhessian import hessian

    def run(n: int) -> list[float]:
        values = hessian(model, nn.CrossEntropyLoss(), data=(x, y), cuda=False).trace(maxIter=n, tol=0)
        for parameter in model.parameters():
            parameter.grad = None
        return [float(value) for value in values]

    return Probes(run)


def curvlinops(model: nn.Module, x: Tensor, y: Tensor) -> Probes:
    """curvlinops: Hutchinson's estimate of the trace of the whole network's Gauss-Newton matrix."""
    from curvlinops import GGNLinearOperator, hutchinson_trace

    batches = [(x[at : at + CHUNK], y[at : at + CHUNK]) for at in range(0, len(x), CHUNK)]

    def run(n: int) -> list[float]:
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        operator = GGNLinearOperator(model, nn.CrossEntropyLoss(), parameters, batches, check_deterministic=False)
        return [float(hutchinson_trace(operator, 1)) for _ in range(n)]

    return Probes(run)


def hessian_loop(layer: nn.Linear, x: Tensor, y: Tensor, n_rows: int) -> Callable[[], dict[str, float]]:
    """The published way for one layer: a second backward call for each weight; `n_rows` of them are run."""

    def call() -> dict[str, float]:
        (gradient,) = torch.autograd.grad(F.cross_entropy(layer(x), y), [layer.weight], create_graph=True)
        flat = gradient.flatten()
        diagonal = 0.0
        for row in range(n_rows):
            (second,) = torch.autograd.grad(flat[row], [layer.weight], retain_graph=True)
            diagonal += float(second.flatten()[row])
        return {"": diagonal if n_rows == flat.numel() else math.nan}

    return call
