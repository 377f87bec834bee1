"""Slow, obvious twins of every measure, in float64: the whole Hessian by autograd, loops over neurons and samples.

`TWINS[label](case)` gives what `study.measures` must give; labels may have options. A measure without a twin fails
tests/study/measures/test_measures.py. Families that came later have files of their own beside this one.
"""

import itertools
import math
from collections.abc import Callable, Iterable

import torch
from scipy import linalg
from torch import Tensor, nn
from torch.nn import functional

from study.measures.registry import Whole
from tests.reference import calibration, features, gauss_newton, perturbation
from tests.reference.case import Case


def _trace(case: Case, layer: str) -> float:
    h = case.hessian(layer)
    return sum(h[s, j, s, j].item() for s in range(h.shape[0]) for j in range(h.shape[1]))


def _norm(case: Case, layer: str) -> float:
    return sum(v.item() ** 2 for v in case.weight(layer).flatten())


def _relative_flatness(w: Tensor, h: Tensor) -> float:
    rows = len(w)
    pairs = ((s, t) for s in range(rows) for t in range(rows))
    return sum(((w[s] @ w[t]) * torch.trace(h[s, :, t, :])).item() for s, t in pairs)


def _normalized(case: Case, layer: str) -> float:
    """Divide each input feature by its standard deviation over the data and multiply its column of weights by it.

    The function is unchanged, the Hessian is that in the new weights: H'[s,j,t,k] = H[s,j,t,k] / (s_j s_k). For a
    convolution a feature is an input channel. A feature that never varies acts as a bias and is left out: no factor
    would make its column's part invariant.
    """
    phi, w = case.inputs(layer), case.weight(layer)
    std = phi.movedim(1, -1).reshape(-1, phi.shape[1]).std(0, unbiased=False)
    column = std.repeat_interleave(w[0].numel() // len(std))
    varies = column > 1e-12
    column = column[varies]
    h = case.hessian(layer)[:, varies][:, :, :, varies] / column[None, :, None, None] / column[None, None, None, :]
    return _relative_flatness(w.flatten(1)[:, varies] * column, h)


def _margin(case: Case) -> float:
    with torch.no_grad():
        logits = case.model(case.x)
    margins = []
    for row, y in zip(logits, case.labels.tolist(), strict=True):
        margins.append((row[y] - max(v for c, v in enumerate(row) if c != y)).item())
    ordered = sorted(margins)
    place = 0.1 * (len(ordered) - 1)
    low = int(place)
    gamma = ordered[low] + (place - low) * (ordered[low + 1] - ordered[low])
    return 1 / gamma**2


def _rho(case: Case, layer: str) -> list[float]:
    w, h = case.weight(layer).flatten(1), case.hessian(layer)
    return [(w[:, j] @ h[:, j, :, j] @ w[:, j]).item() for j in range(w.shape[1])]


def _lambda_max(case: Case, layer: str) -> float:
    n = case.weight(layer).numel()
    return torch.linalg.eigvalsh(case.hessian(layer).reshape(n, n))[-1].item()


def _kappa_max_2019(case: Case, layer: str) -> float:
    return _norm(case, layer) * _lambda_max(case, layer)


def _fisher_rao(case: Case) -> float:
    """The metric in full: sum over samples of <gradient of that sample's loss, weights>^2, weight matrices only.

    Without biases that is (number of layers)^2 times the squared inner product in the outputs, which is what is
    compared here: each sample's outputs are scaled by 1 + t, and its loss is differentiated by t.
    """
    with torch.no_grad():
        logits = case.model(case.x)
    squares = []
    for i in range(len(logits)):
        t = torch.zeros((), dtype=logits.dtype, requires_grad=True)
        one = Case(case.model, case.initial, case.x[i : i + 1], case.labels[i : i + 1], case.loss)
        (slope,) = torch.autograd.grad(one.loss_of((1 + t) * logits[i : i + 1]), t)
        squares.append(slope.item() ** 2)
    return len(case.layers()) * (sum(squares) / len(squares)) ** 0.5


def _distance(case: Case) -> float:
    pairs = ((p.detach(), case.initial[n]) for n, p in case.model.named_parameters())
    return sum(((p - q) ** 2).sum().item() for p, q in pairs) ** 0.5


def _weights(case: Case) -> list[Tensor]:
    return [case.weight(layer).flatten(1) for layer in case.layers()]


def _moved(case: Case) -> list[Tensor]:
    return [case.weight(layer).flatten(1) - case.initial[f"{layer}.weight"].flatten(1) for layer in case.layers()]


def _fro2(w: Tensor) -> float:
    return sum(v.item() ** 2 for v in w.flatten())


def _spec2(w: Tensor) -> float:
    return torch.linalg.eigvalsh(w @ w.T)[-1].item()


def _product(values: Iterable[float], case: Case, *, margin: bool = False) -> float:
    return math.log(math.prod(values) * (_margin(case) if margin else 1))


def _geometric(values: Iterable[float], case: Case, *, margin: bool = False) -> float:
    d = len(case.layers())
    return math.log(d * (math.prod(values) * (_margin(case) if margin else 1)) ** (1 / d))


def _fro(case: Case) -> list[float]:
    return [_fro2(w) for w in _weights(case)]


def _spec(case: Case) -> list[float]:
    return [_spec2(w) for w in _weights(case)]


def _ranks(case: Case, numerators: list[Tensor]) -> float:
    return sum(_fro2(n) / _spec2(w) for n, w in zip(numerators, _weights(case), strict=True))


def _spectral_bound(case: Case, numerators: list[Tensor]) -> float:
    return math.log(math.prod(_spec(case)) * _margin(case) * _ranks(case, numerators))


def unrolled(weight: Tensor, size: tuple[int, int], stride: int = 1) -> Tensor:
    """A circular convolution as a matrix: a row for each output pixel and channel, a column for each of the inputs."""
    outputs, inputs, height, width = weight.shape
    matrix = weight.new_zeros(outputs, size[0] // stride, size[1] // stride, inputs, *size)
    for o, i, a, b in itertools.product(range(outputs), range(inputs), range(height), range(width)):
        for y, x in itertools.product(range(size[0] // stride), range(size[1] // stride)):
            matrix[o, y, x, i, (stride * y + a) % size[0], (stride * x + b) % size[1]] += weight[o, i, a, b]
    return matrix.reshape(outputs * (size[0] // stride) * (size[1] // stride), -1)


def _operators(case: Case, weights: list[Tensor] | None = None) -> list[float]:
    found = []
    for layer, flat in zip(case.layers(), weights or _weights(case), strict=True):
        w = flat.view_as(case.weight(layer))
        matrix = unrolled(w, tuple(case.inputs(layer).shape[2:])) if w.ndim == 4 else w  # type: ignore[arg-type]
        found.append(float(linalg.svdvals(matrix.numpy())[0]) ** 2)
    return found


def _operator_ranks(case: Case, numerators: list[Tensor]) -> float:
    return sum(_fro2(n) / norm for n, norm in zip(numerators, _operators(case), strict=True))


def _operator_bound(case: Case, numerators: list[Tensor]) -> float:
    return _product(_operators(case), case, margin=True) + math.log(_operator_ranks(case, numerators))


def _path_norm(case: Case) -> float:
    """Layer by layer, pixel by pixel: what reaches each neuron from an input of ones through squared parameters."""
    v = torch.ones_like(case.x[0])
    for module in case.model.children():
        if isinstance(module, nn.Linear):
            v = torch.stack([(w**2 * v).sum() + b**2 for w, b in zip(module.weight, module.bias, strict=True)])
        elif isinstance(module, nn.Conv2d):
            v, k = functional.pad(v, (int(module.padding[0]),) * 4), module.kernel_size[0]
            pixels = range(v.shape[1] - k + 1)
            pairs = list(zip(module.weight, module.bias, strict=True))  # type: ignore[arg-type]
            v = torch.stack([torch.stack([torch.stack([(w**2 * v[:, y : y + k, x : x + k]).sum() + b**2
                             for x in pixels]) for y in pixels]) for w, b in pairs])  # fmt: skip
        elif isinstance(module, nn.MaxPool2d):
            v = torch.maximum(v[:, ::2], v[:, 1::2])
            v = torch.maximum(v[:, :, ::2], v[:, :, 1::2])
        elif isinstance(module, nn.Flatten):
            v = v.flatten()
    return v.sum().item()


def _loss(case: Case) -> float:
    with torch.no_grad():
        return case.loss_of(case.model(case.x)).item()


def _steps(case: Case, loss: float) -> int:
    return min(step for step, value in case.history if value <= loss)


def _layers(function: Callable[[Case, str], float]) -> Callable[[Case], dict[str, float]]:
    return lambda case: {layer: function(case, layer) for layer in case.layers()}


def _largest(function: Callable[[Case, str], float]) -> Callable[[Case], Whole]:
    def twin(case: Case) -> Whole:
        layers = {layer: function(case, layer) for layer in case.layers()}
        return Whole(max(layers.values()), layers)

    return twin


TWINS: dict[str, Callable[[Case], float | Whole | dict[str, float]]] = {
    "relative_flatness": _layers(lambda c, n: _relative_flatness(c.weight(n).flatten(1), c.hessian(n))),
    "relative_flatness_normalized": _layers(_normalized),
    "kappa_2019": _layers(lambda c, n: _norm(c, n) * _trace(c, n)),
    "hessian_trace": _layers(_trace),
    "kappa_2019(form=max)": _layers(_kappa_max_2019),
    "kappa_2019(over=max)": _largest(lambda c, n: _norm(c, n) * _trace(c, n)),
    "kappa_2019(form=max,over=max)": _largest(_kappa_max_2019),
    "rho_max": _layers(lambda c, n: max(_rho(c, n))),
    "rho_max(over=max)": _largest(lambda c, n: max(_rho(c, n))),
    "rho_sum": _layers(lambda c, n: sum(_rho(c, n))),
    "rho_sum(over=max)": _largest(lambda c, n: sum(_rho(c, n))),
    "lambda_max": _layers(_lambda_max),
    "fisher_rao_norm": _fisher_rao,
    "weight_norm_squared": _layers(_norm),
    "distance_from_init": _distance,
    "parameter_count": lambda c: sum(w.numel() for w in _weights(c)),
    "l2": lambda c: sum(_fro(c)) ** 0.5,
    "l2_distance": lambda c: sum(map(_fro2, _moved(c))) ** 0.5,
    "param_norm": lambda c: sum(_fro(c)),
    "fro_distance": lambda c: sum(map(_fro2, _moved(c))),
    "log_prod_of_fro": lambda c: _product(_fro(c), c),
    "log_prod_of_fro_over_margin": lambda c: _product(_fro(c), c, margin=True),
    "log_sum_of_fro": lambda c: _geometric(_fro(c), c),
    "log_sum_of_fro_over_margin": lambda c: _geometric(_fro(c), c, margin=True),
    "log_prod_of_spec": lambda c: _product(_spec(c), c),
    "log_prod_of_spec_over_margin": lambda c: _product(_spec(c), c, margin=True),
    "log_sum_of_spec": lambda c: _geometric(_spec(c), c),
    "log_sum_of_spec_over_margin": lambda c: _geometric(_spec(c), c, margin=True),
    "fro_over_spec": lambda c: _ranks(c, _weights(c)),
    "log_spec_orig": lambda c: _spectral_bound(c, _weights(c)),
    "log_spec_init": lambda c: _spectral_bound(c, _moved(c)),
    "dist_spec_init": lambda c: sum(map(_spec2, _moved(c))),
    "log_prod_of_spec_fft": lambda c: _product(_operators(c), c),
    "log_prod_of_spec_over_margin_fft": lambda c: _product(_operators(c), c, margin=True),
    "log_sum_of_spec_fft": lambda c: _geometric(_operators(c), c),
    "log_sum_of_spec_over_margin_fft": lambda c: _geometric(_operators(c), c, margin=True),
    "fro_over_spec_fft": lambda c: _operator_ranks(c, _weights(c)),
    "log_spec_orig_fft": lambda c: _operator_bound(c, _weights(c)),
    "log_spec_init_fft": lambda c: _operator_bound(c, _moved(c)),
    "dist_spec_init_fft": lambda c: sum(_operators(c, _moved(c))),
    "path_norm": _path_norm,
    "path_norm_over_margin": lambda c: _path_norm(c) * _margin(c),
    "inverse_margin": _margin,
    "train_loss": _loss,
    "steps_to_loss": lambda c: _steps(c, 0.1),
    "steps_to_loss(loss=0.5)": lambda c: _steps(c, 0.5),
    "steps_between_losses": lambda c: _steps(c, 0.01) - _steps(c, 0.1),
    **calibration.TWINS,
    **features.TWINS,
    **perturbation.TWINS,
    **gauss_newton.TWINS,
}
