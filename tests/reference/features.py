"""Twins of the terms of the bound of 2021: features moved one by one, pairs of points looked at one by one."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from study.seeds import generator_for
from tests.reference.case import Case


def _outputs_of(case: Case, phi: Tensor) -> Tensor:
    """The network's outputs where its last layer is given phi."""
    last = case.layers()[-1]
    handle = case.model.get_submodule(last).register_forward_pre_hook(lambda _, given: (phi,))
    with torch.no_grad():
        outputs = case.model(case.x)
    handle.remove()
    return outputs


def _robustness(case: Case, delta: float) -> float:
    phi = case.inputs(case.layers()[-1])
    generator = generator_for("common", "measure", "rotation")
    clean = case.loss_of(_outputs_of(case, phi)).item()
    rises: list[float] = []
    for _ in range(100):
        q, r = torch.linalg.qr(torch.randn(phi.shape[1], phi.shape[1], generator=generator, dtype=torch.float64))
        o = q @ torch.diag(torch.tensor([1.0 if x > 0 else -1.0 for x in r.diagonal()], dtype=torch.float64))
        up, down = (
            case.loss_of(_outputs_of(case, torch.stack([x + s * delta * (o @ x) for x in phi]))).item() for s in (1, -1)
        )
        rises.append((up + down) / 2 - clean)
    return sum(rises) / len(rises)


def _constancy(case: Case, quantile: float) -> float:
    assert case.held_out is not None
    x, labels = case.held_out
    features = Case(case.model, case.initial, x, labels, case.loss).inputs(case.layers()[-1])
    n = len(x)
    apart = [[math.dist(a.tolist(), b.tolist()) for b in features] for a in features]
    nearest = sorted(min(apart[i][j] for j in range(n) if j != i) for i in range(n))
    place = quantile * (n - 1)
    low = int(place)
    r = nearest[low] + (place - low) * (nearest[min(low + 1, n - 1)] - nearest[low])
    shares = []
    for i in range(n):
        close = [j for j in range(n) if j != i and apart[i][j] <= r * (1 + 1e-12)]
        if close:
            shares.append(sum(int(labels[i] != labels[j]) for j in close) / len(close))
    return sum(shares) / len(shares)


TWINS: dict[str, Callable[[Case], float]] = {
    "feature_robustness": lambda case: _robustness(case, 0.1),
    "feature_robustness(delta=0.01)": lambda case: _robustness(case, 0.01),
    "label_constancy": lambda case: _constancy(case, 0.5),
    "label_constancy(quantile=0.8)": lambda case: _constancy(case, 0.8),
}
