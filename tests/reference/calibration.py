"""Twins of calibration measures: loops over samples and bins."""

import itertools
import math
from collections.abc import Callable

import torch
from scipy import optimize

from tests.reference.case import Case


def logits_of(case: Case) -> list[list[float]]:
    with torch.no_grad():
        rows: list[list[float]] = case.model(case.x).tolist()
    return [[0.0, row[0]] if len(row) == 1 else row for row in rows]


def _softmax(row: list[float]) -> list[float]:
    top = max(row)
    exps = [math.exp(v - top) for v in row]
    return [e / sum(exps) for e in exps]


def probabilities(case: Case) -> list[list[float]]:
    return [_softmax(row) for row in logits_of(case)]


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _nll(case: Case, t: float = 1.0) -> float:
    rows = [_softmax([v / t for v in row]) for row in logits_of(case)]
    return _mean([-math.log(row[y]) for row, y in zip(rows, case.labels.tolist(), strict=True)])


def _entropy(case: Case) -> float:
    return _mean([sum(p * math.log(p) for p in row) for row in probabilities(case)])


def _judged(case: Case) -> list[tuple[float, bool]]:
    """Confidence of each sample, and whether it is classified correctly."""
    rows = zip(probabilities(case), case.labels.tolist(), strict=True)
    return [(max(row), row.index(max(row)) == y) for row, y in rows]


def _apart(bins: list[list[tuple[float, bool]]], n: int) -> float:
    return sum(len(b) / n * abs(_mean([c for c, _ in b]) - _mean([float(ok) for _, ok in b])) for b in bins if b)


def _ece_width(case: Case, n_bins: int = 15) -> float:
    judged = _judged(case)
    edges = [b / n_bins for b in range(n_bins + 1)]
    bins = [[(c, ok) for c, ok in judged if low < c <= high] for low, high in itertools.pairwise(edges)]
    assert sum(map(len, bins)) == len(judged)
    return _apart(bins, len(judged))


def _ece_mass(case: Case, n_bins: int = 15) -> float:
    judged = sorted(_judged(case), key=lambda pair: pair[0])
    least, more = divmod(len(judged), n_bins)
    bins = []
    for b in range(n_bins):
        size = least + (b < more)
        bins.append(judged[:size])
        judged = judged[size:]
    return _apart(bins, sum(map(len, bins)))


def _brier(case: Case) -> float:
    rows = zip(probabilities(case), case.labels.tolist(), strict=True)
    return _mean([sum((p - (c == y)) ** 2 for c, p in enumerate(row)) for row, y in rows])


def _temperature(case: Case) -> float:
    found = optimize.minimize_scalar(
        lambda log_t: _nll(case, math.exp(log_t)), bounds=(-5, 5), method="bounded", options={"xatol": 1e-10}
    )
    return math.exp(found.x)


def _margin_normalized(case: Case) -> float:
    ratios = []
    for x, y in zip(case.x, case.labels.tolist(), strict=True):
        given = x[None].clone().requires_grad_()
        f = case.model(given)[0]
        margin = f[y] - max((v for c, v in enumerate(f) if c != y), key=torch.Tensor.item)
        (slope,) = torch.autograd.grad(margin, given)
        ratios.append(margin.item() / sum(v.item() ** 2 for v in slope.flatten()) ** 0.5)
    ordered = sorted(ratios)
    place = 0.1 * (len(ordered) - 1)
    low = int(place)
    return 1 / (ordered[low] + (place - low) * (ordered[low + 1] - ordered[low])) ** 2


TWINS: dict[str, Callable[[Case], float]] = {
    "cross_entropy": _nll,
    "entropy": _entropy,
    "confidence": lambda case: _mean([c for c, _ in _judged(case)]),
    "ece": _ece_width,
    "ece(bins=4)": lambda case: _ece_width(case, 4),
    "ece(binning=mass)": _ece_mass,
    "brier": _brier,
    "temperature": _temperature,
    "nll_after_temperature": lambda case: _nll(case, _temperature(case)),
    "margin_normalized": _margin_normalized,
}
