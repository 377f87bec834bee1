"""Twins of measures under noise and in the worst direction: small steps of the level, plain ascent of many steps."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import functional_call

from study.seeds import generator_for
from tests.reference.case import Case

Weights = dict[str, Tensor]
EPSILON, LARGE_EPSILON, DELTA = 1e-3, 5e-3, 0.05


def parameters(case: Case) -> Weights:
    return {n: p.detach() for n, p in case.model.named_parameters()}


def outputs(case: Case, weights: Weights) -> Tensor:
    return functional_call(case.model, weights, (case.x,))


def error(case: Case, weights: Weights) -> float:
    return (outputs(case, weights).argmax(1) != case.labels).double().mean().item()


def _once(function: Callable[[Case], float]) -> Callable[[Case], float]:
    """A search that several twins read, done once a case."""
    known: dict[int, tuple[Case, float]] = {}

    def read(case: Case) -> float:
        if id(case) not in known:
            known[id(case)] = case, function(case)
        return known[id(case)][1]

    return read


def first_level(case: Case, noise: list[Weights], spread: Callable[[float, Tensor], Tensor | float]) -> float:
    """The largest noise of a fine scale, from small to large, before the mean training error has risen by 0.1."""
    start = parameters(case)
    clean, level = error(case, start), 0.08
    while True:
        moved = [{n: p + spread(level, p) * u[n] for n, p in start.items()} for u in noise]
        if sum(error(case, weights) - clean for weights in moved) / len(noise) > 0.1:
            return level / 1.025
        level *= 1.05


def common_noise(case: Case, n: int) -> list[Weights]:
    generator, start = generator_for("common", "measure", "noise"), parameters(case)
    drawn = []
    for _ in range(n):
        vector = torch.randn(sum(p.numel() for p in start.values()), generator=generator).to(case.x)
        pieces = vector.split([p.numel() for p in start.values()])
        drawn.append({n: piece.view(p.shape) for (n, p), piece in zip(start.items(), pieces, strict=True)})
    return drawn


@_once
def own_level(case: Case) -> float:
    generator = generator_for("0123456789ab", "measure", "pac_bayes_flatness")
    noise = [
        {n: torch.randn(p.shape, generator=generator).to(p) for n, p in parameters(case).items()} for _ in range(10)
    ]
    return first_level(case, noise, lambda sigma, w: sigma)


@_once
def level(case: Case) -> float:
    return first_level(case, common_noise(case, 80), lambda sigma, w: sigma)


@_once
def relative_level(case: Case) -> float:
    return first_level(case, common_noise(case, 80), lambda sigma, w: (sigma**2 * w**2 + EPSILON**2).sqrt())


def climbed(
    case: Case, half_width: Callable[[Tensor], Tensor], seen: Callable[[Weights], None], steps: int = 80
) -> None:
    """Projected ascent of the loss in a box by signs of the gradient, from a fifth of the box down to a fiftieth."""
    start = parameters(case)
    box = {n: half_width(p) for n, p in start.items()}
    weights = dict(start)
    for k in range(steps):
        given = {n: w.clone().requires_grad_() for n, w in weights.items()}
        slopes = torch.autograd.grad(case.loss_of(outputs(case, given)), list(given.values()))
        for (n, w), slope in zip(weights.items(), slopes, strict=True):
            stepped = w + (0.5 if k < steps // 2 else 0.1) * box[n] * slope.sign()
            weights[n] = torch.maximum(torch.minimum(stepped, start[n] + box[n]), start[n] - box[n])
        seen(weights)


def least_radius(case: Case, box: Callable[[float, Tensor], Tensor]) -> float:
    """Halving of the interval in which the worst error first rises by 0.1."""
    clean = error(case, parameters(case))

    def is_reached(alpha: float) -> bool:
        worst: list[float] = []
        climbed(case, lambda w: box(alpha, w), lambda weights: worst.append(error(case, weights)))
        return max(worst) - clean > 0.1

    low, high = 2.0**-10, 2.0**2
    while high / low > 1.05:
        middle = (low * high) ** 0.5
        low, high = (low, middle) if is_reached(middle) else (middle, high)
    return (low * high) ** 0.5


@_once
def radius(case: Case) -> float:
    return least_radius(case, lambda alpha, w: torch.full_like(w, alpha))


@_once
def relative_radius(case: Case) -> float:
    return least_radius(case, lambda alpha, w: alpha * w.abs() + EPSILON)


@_once
def relative_radius_of_large_eps(case: Case) -> float:
    return least_radius(case, lambda alpha, w: alpha * w.abs() + LARGE_EPSILON)


def worst_loss(case: Case, half_width: Callable[[Tensor], Tensor]) -> float:
    losses: list[float] = []
    climbed(case, half_width, lambda weights: losses.append(case.loss_of(outputs(case, weights)).item()), 100)
    return max(losses)


def start_loss(case: Case) -> float:
    return case.loss_of(outputs(case, parameters(case))).item()


def _keskar(case: Case, zeta: float = 1e-3) -> float:
    before = start_loss(case)
    return 100 * (worst_loss(case, lambda w: zeta * (w.abs() + 1)) - before) / (1 + before)


def _box(case: Case, rho: float, *, adaptive: bool = True) -> float:
    return worst_loss(case, lambda w: rho * _unit(w, adaptive=adaptive)) - start_loss(case)


def _loss(case: Case, weights: Weights, *, normalized: bool = False) -> Tensor:
    f = outputs(case, weights)
    if normalized:
        centred = [row - row.sum() / len(row) for row in f]
        f = torch.stack([row / (row**2).sum() ** 0.5 for row in centred])
    return case.loss_of(f)


def _unit(weight: Tensor, *, adaptive: bool) -> Tensor:
    return weight.abs() if adaptive else torch.ones_like(weight)


def _ball(case: Case, rho: float, *, adaptive: bool = True, normalized: bool = False) -> float:
    """||delta / c||_2 <= rho by many small steps along the gradient in delta / c, projected."""
    start = parameters(case)
    before = _loss(case, start, normalized=normalized).item()
    u = {n: torch.zeros_like(w) for n, w in start.items()}
    best = 0.0
    for k in range(100):
        given = {n: v.clone().requires_grad_() for n, v in u.items()}
        weights = {n: w + _unit(w, adaptive=adaptive) * given[n] for n, w in start.items()}
        loss = _loss(case, weights, normalized=normalized)
        best = max(best, loss.item() - before)
        slopes = torch.autograd.grad(loss, list(given.values()))
        length = sum((s**2).sum() for s in slopes) ** 0.5
        step = rho * (0.5 if k < 50 else 0.1)
        u = {n: v + step * s / length for (n, v), s in zip(u.items(), slopes, strict=True)}
        size = sum((v**2).sum().item() for v in u.values()) ** 0.5
        u = {n: v * min(1.0, rho / size) for n, v in u.items()}
    return best


def _mean_rise(case: Case, rho: float = 0.1, *, adaptive: bool = True, normalized: bool = False) -> float:
    """Over pairs of opposite noise, 10 of them or as many as bring the standard error to a twentieth, at most 200."""
    start, rises = parameters(case), list[float]()
    before = _loss(case, start, normalized=normalized).item()
    for u in common_noise(case, 200):
        pair = 0.0
        for sign in (1, -1):
            moved = {n: w + sign * rho * _unit(w, adaptive=adaptive) * u[n] for n, w in start.items()}
            pair += (_loss(case, moved, normalized=normalized).item() - before) / 2
        rises.append(pair)
        if len(rises) >= 10:
            mean = sum(rises) / len(rises)
            variance = sum((rise - mean) ** 2 for rise in rises) / (len(rises) - 1)
            if (variance / len(rises)) ** 0.5 <= 0.05 * abs(mean):
                break
    return sum(rises) / len(rises)


def vector(case: Case) -> list[float]:
    return [v.item() for layer in case.layers() for v in case.weight(layer).flatten()]


def moved(case: Case) -> list[float]:
    start = [v.item() for layer in case.layers() for v in case.initial[f"{layer}.weight"].flatten()]
    return [a - b for a, b in zip(vector(case), start, strict=True)]


def _square(values: list[float]) -> float:
    return sum(v**2 for v in values)


def _bound(case: Case, reference: list[float], at: float, *, worst: bool = False) -> float:
    factor = math.log(2 * len(reference)) if worst else 1.0
    return _square(reference) * factor / (4 * at**2) + math.log(len(case.x) / at) + 10


def _relative_bound(
    case: Case, reference: list[float], at: float, *, worst: bool = False, eps: float = EPSILON
) -> float:
    omega = len(reference)
    more = 4 * math.log(2 * omega / DELTA) if worst else 1.0
    terms = [
        math.log((eps**2 + (at**2 + more) * _square(reference) / omega) / (eps**2 + at**2 * v**2)) for v in moved(case)
    ]
    return sum(terms) / 4 + math.log(len(case.x) / at) + 10


TWINS: dict[str, Callable[[Case], float]] = {
    "pac_bayes_flatness": lambda c: own_level(c) ** -2,
    "pac_bayes_flatness(noise=common)": lambda c: level(c) ** -2,
    "pac_bayes_orig": lambda c: _bound(c, vector(c), level(c)),
    "pac_bayes_init": lambda c: _bound(c, moved(c), level(c)),
    "pac_bayes_mag_flatness": lambda c: relative_level(c) ** -2,
    "pac_bayes_mag_orig": lambda c: _relative_bound(c, vector(c), relative_level(c)),
    "pac_bayes_mag_init": lambda c: _relative_bound(c, moved(c), relative_level(c)),
    "sharpness_flatness": lambda c: radius(c) ** -2,
    "sharpness_orig": lambda c: _bound(c, vector(c), radius(c), worst=True),
    "sharpness_init": lambda c: _bound(c, moved(c), radius(c), worst=True),
    "sharpness_mag_flatness": lambda c: relative_radius(c) ** -2,
    "sharpness_mag_orig": lambda c: _relative_bound(c, vector(c), relative_radius(c), worst=True),
    "sharpness_mag_init": lambda c: _relative_bound(c, moved(c), relative_radius(c), worst=True),
    "sharpness_mag_flatness(eps=0.005)": lambda c: relative_radius_of_large_eps(c) ** -2,
    "sharpness_mag_orig(eps=0.005)": lambda c: _relative_bound(
        c, vector(c), relative_radius_of_large_eps(c), worst=True, eps=LARGE_EPSILON
    ),
    "sharpness_mag_init(eps=0.005)": lambda c: _relative_bound(
        c, moved(c), relative_radius_of_large_eps(c), worst=True, eps=LARGE_EPSILON
    ),
    "keskar": _keskar,
    "keskar(zeta=0.0001)": lambda c: _keskar(c, 1e-4),
    "sharpness_max": lambda c: _ball(c, 0.5),
    "sharpness_max(norm=linf,rho=0.05)": lambda c: _box(c, 0.05),
    "sharpness_max(c=ones,norm=linf,rho=0.01)": lambda c: _box(c, 0.01, adaptive=False),
    "sharpness_max(logits=normalized)": lambda c: _ball(c, 0.5, normalized=True),
    "sharpness_max(c=ones,rho=0.1)": lambda c: _ball(c, 0.1, adaptive=False),
    "sharpness_mean": _mean_rise,
    "sharpness_mean(rho=0.4)": lambda c: _mean_rise(c, 0.4),
    "sharpness_mean(c=ones,rho=0.01)": lambda c: _mean_rise(c, 0.01, adaptive=False),
    "sharpness_mean(logits=normalized)": lambda c: _mean_rise(c, normalized=True),
}

# The bounds by the level that the measure named beside each gives, which needs no search and no tolerance.
BY_LEVEL: dict[str, tuple[str, Callable[[Case, float], float]]] = {
    "pac_bayes_orig": ("pac_bayes_flatness(noise=common)", lambda c, at: _bound(c, vector(c), at)),
    "pac_bayes_init": ("pac_bayes_flatness(noise=common)", lambda c, at: _bound(c, moved(c), at)),
    "pac_bayes_mag_orig": ("pac_bayes_mag_flatness", lambda c, at: _relative_bound(c, vector(c), at)),
    "pac_bayes_mag_init": ("pac_bayes_mag_flatness", lambda c, at: _relative_bound(c, moved(c), at)),
    "sharpness_orig": ("sharpness_flatness", lambda c, at: _bound(c, vector(c), at, worst=True)),
    "sharpness_init": ("sharpness_flatness", lambda c, at: _bound(c, moved(c), at, worst=True)),
    "sharpness_mag_orig": ("sharpness_mag_flatness", lambda c, at: _relative_bound(c, vector(c), at, worst=True)),
    "sharpness_mag_init": ("sharpness_mag_flatness", lambda c, at: _relative_bound(c, moved(c), at, worst=True)),
}
