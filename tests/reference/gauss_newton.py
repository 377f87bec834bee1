"""Twins of measures of the whole network's curvature and of single gradients: every matrix dense, by autograd."""

import math
from collections.abc import Callable

import torch
from scipy import optimize
from torch import Tensor
from torch.func import functional_call

from study.measures.registry import Whole
from tests.reference.case import Case


def _weights(case: Case) -> dict[str, Tensor]:
    return {f"{layer}.weight": case.weight(layer) for layer in case.layers()}


def _flat(parts: list[Tensor]) -> Tensor:
    return torch.cat([part.flatten() for part in parts])


def _of_one(case: Case, i: int) -> Case:
    return Case(case.model, case.initial, case.x[i : i + 1], case.labels[i : i + 1], case.loss)


def matrix(case: Case) -> Tensor:
    """sum_i J_i^T Lambda_i J_i / n in all weights of layers, by layer in their order."""
    names = list(_weights(case))
    rest = {n: p.detach() for n, p in case.model.named_parameters() if n not in names}
    total: Tensor | float = 0.0
    for i in range(len(case.x)):
        one = _of_one(case, i)

        def outputs(*weights: Tensor, one: Case = one) -> Tensor:
            return functional_call(case.model, {**rest, **dict(zip(names, weights, strict=True))}, (one.x,))[0]

        parts = torch.autograd.functional.jacobian(outputs, tuple(_weights(case).values()))
        j = torch.cat([part.flatten(1) for part in parts], 1)
        curved = torch.autograd.functional.hessian(
            lambda f, one=one: one.loss_of(f[None]), outputs(*_weights(case).values())
        )
        total = total + j.T @ curved @ j / len(case.x)
    assert isinstance(total, Tensor)
    return total


def gradients(case: Case) -> dict[str, Tensor]:
    """Each sample's gradient (n, size) by layer."""
    found: dict[str, list[Tensor]] = {layer: [] for layer in case.layers()}
    named = dict(case.model.named_parameters())
    for i in range(len(case.x)):
        one = _of_one(case, i)
        parts = torch.autograd.grad(one.loss_of(case.model(one.x)), [named[f"{layer}.weight"] for layer in found])
        for layer, part in zip(found, parts, strict=True):
            found[layer].append(part.flatten())
    return {layer: torch.stack(rows) for layer, rows in found.items()}


class _Known:
    """What several twins read, once a case."""

    def __init__(self, function: Callable[[Case], Tensor]) -> None:
        self.function, self.found = function, dict[int, tuple[Case, Tensor]]()

    def __call__(self, case: Case) -> Tensor:
        if id(case) not in self.found:
            self.found[id(case)] = case, self.function(case)
        return self.found[id(case)][1]


_matrix = _Known(matrix)


def _blocks(case: Case) -> dict[str, Tensor]:
    sizes = {layer: case.weight(layer).numel() for layer in case.layers()}
    return {layer: case.hessian(layer).reshape(size, size) for layer, size in sizes.items()}


def _rank(h: Tensor) -> float:
    return h.trace().item() ** 2 / (h**2).sum().item()


def _tic(case: Case, damping: float) -> float:
    g = torch.cat(list(gradients(case).values()), 1)
    g = g - g.mean(0)
    h = _matrix(case)
    return torch.linalg.solve(h + damping * torch.eye(len(h)).to(h), g.T @ g / len(g)).trace().item()


def _noise(g: Tensor) -> float:
    return torch.cov(g.T, correction=0).trace().item()


def _quotient(case: Case) -> float:
    d = _flat([(w**2).sum() * torch.ones_like(w) for w in _weights(case).values()]).sqrt()
    return torch.linalg.eigvalsh(d[:, None] * _matrix(case) * d)[-1].item()


def _kappa_max(case: Case, layer: str) -> float:
    w, h = case.weight(layer).flatten(1), case.hessian(layer)
    return sum((w[s] @ w[s] * torch.linalg.eigvalsh(h[s, :, s, :])[-1]).item() for s in range(len(w)))


def _kappa(case: Case, layer: str) -> tuple[float, float]:
    w, h = case.weight(layer), _blocks(case)[layer]
    return (w**2).sum().item(), h.trace().item()


def _weight_curvature(case: Case, form: str) -> Whole:
    pairs = {layer: _kappa(case, layer) for layer in case.layers()}
    layers = {layer: math.sqrt(norm * trace) for layer, (norm, trace) in pairs.items()}
    norms, traces = (sum(pair[k] for pair in pairs.values()) for k in (0, 1))
    root = math.sqrt(sum(norm * trace for norm, trace in pairs.values()))
    return Whole({"sum": sum(layers.values()), "root": root, "global": math.sqrt(norms * traces)}[form], layers)


def _tsuzuku(case: Case, layer: str) -> float:
    """The logarithm is convex in log s and log t: any descent ends at the minimum."""
    w, h = case.weight(layer).flatten(1), case.hessian(layer)
    diagonal = torch.stack([torch.stack([h[s, j, s, j] for j in range(w.shape[1])]) for s in range(len(w))])

    def value(logs: Tensor) -> Tensor:
        scales = logs[: len(w), None].exp() * logs[None, len(w) :].exp()
        return ((diagonal * scales).sum() * (w**2 / scales).sum()).sqrt()

    def with_slope(logs: object) -> tuple[float, object]:
        given = torch.as_tensor(logs).clone().requires_grad_()
        logarithm = value(given).log()
        (slope,) = torch.autograd.grad(logarithm, given)
        return logarithm.item(), slope.numpy()

    start = torch.zeros(sum(w.shape), dtype=torch.float64).numpy()
    options = {"maxiter": 5000, "maxfun": 50_000, "ftol": 1e-14, "gtol": 1e-9}
    return math.exp(optimize.minimize(with_slope, start, jac=True, method="L-BFGS-B", options=options).fun)


def _each(function: Callable[[Case, str], float]) -> Callable[[Case], dict[str, float]]:
    return lambda case: {layer: function(case, layer) for layer in case.layers()}


TWINS: dict[str, Callable[[Case], float | Whole | dict[str, float]]] = {
    "hessian_frobenius": lambda c: Whole(
        _matrix(c).norm().item(), {layer: block.norm().item() for layer, block in _blocks(c).items()}
    ),
    "effective_rank": lambda c: Whole(_rank(_matrix(c)), {layer: _rank(block) for layer, block in _blocks(c).items()}),
    "lambda_max_network": lambda c: torch.linalg.eigvalsh(_matrix(c))[-1].item(),
    "soft_rank": lambda c: sum(v / (v + 1e-3) for v in torch.linalg.eigvalsh(_matrix(c)).clamp(min=0).tolist()),
    "soft_rank(c=0.1)": lambda c: sum(v / (v + 0.1) for v in torch.linalg.eigvalsh(_matrix(c)).clamp(min=0).tolist()),
    "tic": lambda c: _tic(c, 1e-3),
    "tic(damping=0.1)": lambda c: _tic(c, 0.1),
    "gradient_square": lambda c: {layer: (g**2).sum(1).mean().item() for layer, g in gradients(c).items()},
    "gradient_norm": lambda c: _flat([g.mean(0) for g in gradients(c).values()]).norm().item(),
    "gradient_noise": lambda c: {layer: _noise(g) for layer, g in gradients(c).items()},
    "noise_over_trace": lambda c: (
        sum(map(_noise, gradients(c).values())) / sum(block.trace().item() for block in _blocks(c).values())
    ),
    "quotient_eigenvalue": _quotient,
    "kappa_max": _each(_kappa_max),
    "weight_curvature": lambda c: _weight_curvature(c, "sum"),
    "weight_curvature(form=root)": lambda c: _weight_curvature(c, "root"),
    "weight_curvature(form=global)": lambda c: _weight_curvature(c, "global"),
    "tsuzuku": _each(_tsuzuku),
}
