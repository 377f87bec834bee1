"""Measures of how much random noise on the weights the network bears."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from study.measures.context import MeasureContext
from study.measures.registry import Sampled, measure

if TYPE_CHECKING:
    from torch import Tensor

RISE = 0.1  # of the training error, as in the public code of Dziugaite et al. 2020
DRAWS, SAMPLES = 10, 500  # noise vectors and training samples; ours, the standard error says what they are worth
HALVINGS = 4  # of the interval of log2 sigma, 1 wide at first; what is left is interpolated


@measure("pac_bayes_flatness")
def pac_bayes_flatness(ctx: MeasureContext) -> Sampled:
    """PAC-Bayes flatness: one over the largest noise variance on the weights that the training error bears.

    1 / sigma^2, sigma the largest with E_u[error(w + sigma u)] <= error(w) + 0.1 for u ~ N(0, I). Source: Jiang et al.
    2020 (1912.02178), numbering not checked; read in the public code of Dziugaite et al. 2020 (`PACBAYES_FLATNESS`),
    which takes sigma^2 for the standard deviation, as does that of Petzka et al. 2021 made of it. Parameters: all,
    biases too. Data: the first 500 training samples, mean. Sampled: 10 noise vectors, the same at each sigma; jackknife
    standard error over them. Cost: about 100 passes over the samples. Invariant: permutation.
    """
    import torch
    from torch.func import functional_call

    from study.loss import predicted

    model, x, labels = ctx.model, ctx.x[:SAMPLES], ctx.labels[:SAMPLES]
    start = {name: p.detach() for name, p in model.named_parameters()}
    generator = ctx.generator("pac_bayes_flatness")
    noise = [{n: torch.randn(p.shape, generator=generator).to(p) for n, p in start.items()} for _ in range(DRAWS)]

    def error(weights: dict[str, Tensor]) -> float:
        with torch.no_grad():
            logits = functional_call(model, weights, (x,))
        return float((predicted(logits) != labels).double().mean())

    clean = error(start)

    visited: dict[float, Tensor] = {}

    def rise(log2_sigma: float) -> float:
        if log2_sigma not in visited:
            sigma = 2.0**log2_sigma
            errors = [error({n: p + sigma * u[n] for n, p in start.items()}) for u in noise]
            visited[log2_sigma] = torch.tensor(errors, dtype=torch.float64) - clean
        return float(visited[log2_sigma].mean())

    size = math.sqrt(sum(float(p.square().sum()) for p in start.values()) / sum(p.numel() for p in start.values()))
    _approach(rise, math.log2(size))
    at = sorted(visited)
    curves = torch.stack([visited[a] for a in at], 1)  # (draws, noises)
    root = _crossing(at, curves.mean(0).tolist())
    others = [torch.cat([curves[:k], curves[k + 1 :]]).mean(0).tolist() for k in range(DRAWS)]
    jackknife = torch.tensor([_crossing(at, other) for other in others], dtype=torch.float64)
    spread = math.sqrt((DRAWS - 1) * float(jackknife.var(unbiased=False)))
    value = 4.0**-root
    return Sampled(value, 2 * math.log(2) * value * spread)


def _approach(rise: Callable[[float], float], start: float) -> None:
    """Ask for the rise at log2 sigmas ever closer to where it is RISE. Raises ValueError where no noise reaches it."""
    at = float(math.floor(start))
    while rise(at) > RISE:
        at -= 1
    while rise(at + 1) <= RISE:
        at += 1
        if at > start + 20:
            raise ValueError(f"sigma: {2.0**at:.3g}: the training error does not rise by {RISE} at any noise")
    low, high = at, at + 1
    for beside in (low - 1, high + 1):  # the jackknife's crossings may lie there
        rise(beside)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if rise(middle) <= RISE else (low, middle)


def _crossing(at: list[float], rises: list[float]) -> float:
    """Where a curve first goes over RISE, linear between its points; its first or last point if it does not."""
    over = next((i for i, value in enumerate(rises) if value > RISE), len(at))
    if over in (0, len(at)):
        return at[min(over, len(at) - 1)]
    share = (RISE - rises[over - 1]) / (rises[over] - rises[over - 1])
    return at[over - 1] + share * (at[over] - at[over - 1])
