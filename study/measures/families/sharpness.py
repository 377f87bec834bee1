"""How much the loss rises near the weights: in the worst direction, and on average."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from study.choice import integer, number, word
from study.measures.context import MeasureContext
from study.measures.perturbation.ascent import STEPS, Point, ascend
from study.measures.perturbation.noise import noise, stopped_mean
from study.measures.perturbation.perturbation import AS_TRAINED, Perturbed, shared_samples, shared_start
from study.measures.registry import Sampled, measure

if TYPE_CHECKING:
    from torch import Tensor

BATCH = 128  # samples of one ascent, as the papers have it
DRAWS = 10, 200  # noise vectors at first and at most; ours

_RHO = number(0.5, least=1e-12)
_STEPS = integer(STEPS, least=1)
_SCALE, _LOGITS = word("weights", "ones"), word("raw", "normalized")


@measure("keskar", zeta=number(1e-3, least=1e-12), steps=_STEPS, folded=AS_TRAINED)
def keskar(ctx: MeasureContext, zeta: float, steps: int, folded: str) -> float:
    """Sharpness of Keskar et al.: the largest relative rise of the loss in a small box around the weights, in percent.

    100 (max L(w + delta) - L(w)) / (1 + L(w)) over |delta_i| <= zeta (|w_i| + 1). Source: Keskar et al. 2017
    (1609.04836), numbering not checked; read in no published code. Ours is ascent by sign (`ascent.py`), theirs
    L-BFGS-B. Parameters: all, biases too, of the network as trained; with folded=true batch-norm is folded in. Data:
    the first 512 training samples, mean. Deterministic. Cost: 21 forward and backward passes over the samples.
    Invariant: permutation.
    """
    network, origin = shared_samples(ctx, folded), shared_start(ctx, folded)
    w = network.weights
    top = ascend(_loss(network, "raw"), w, zeta * (w.abs() + 1), "linf", steps, origin=origin)
    return 100 * (top - origin.value) / (1 + origin.value)


@measure("sharpness_max", rho=_RHO, norm=word("l2", "linf"), c=_SCALE, logits=_LOGITS, steps=_STEPS, folded=AS_TRAINED)
def sharpness_max(
    ctx: MeasureContext, rho: float, norm: str, c: str, logits: str, steps: int, folded: str
) -> float:  # fmt: skip
    """Adaptive sharpness, worst case: the largest rise of the loss within a radius that is relative to each weight.

    mean over batches of 128 of max L(w + delta) - L(w) over ||delta / c||_p <= rho, c = |w| (with c=ones 1, and the
    value is left by permutation alone), p = 2 (or infinity); with logits=normalized each sample's outputs are centred
    and divided by their norm. Source: Kwon et al. 2021 (2102.11600) and Andriushchenko et al. 2023 (2302.07011), whose
    texts were not read; read in no published code. Ascent as in `ascent.py`. Parameters: all, biases too, of the
    network as trained; with folded=true batch-norm is folded in. Data: the first 512 training samples. Deterministic.
    Cost: 21 forward and backward passes over the samples. Invariant: layer-wise, neuron-wise, permutation, norm-layer.
    """
    networks = _batches(ctx, folded)
    losses = [_loss(network, logits) for network in networks]

    def points(ctx: MeasureContext) -> list[Point]:
        return [Point(loss, network.weights) for loss, network in zip(losses, networks, strict=True)]

    rises = []
    for network, loss, origin in zip(networks, losses, ctx.shared(points, ("batches", folded, logits)), strict=True):
        top = ascend(loss, network.weights, rho * _scale(network, c), norm, steps, origin=origin)
        rises.append(top - origin.value)
    return sum(rises) / len(rises)


@measure("sharpness_mean", rho=number(0.1, least=1e-12), c=_SCALE, logits=_LOGITS, folded=AS_TRAINED)
def sharpness_mean(ctx: MeasureContext, rho: float, c: str, logits: str, folded: str) -> Sampled:
    """Adaptive sharpness, average case: the mean rise of the loss under noise that is relative to each weight.

    E[L(w + rho c u)] - L(w), u ~ N(0, I), c = |w| (with c=ones 1, and the value is left by permutation alone, in law);
    logits as in `sharpness_max`. Source: Andriushchenko et al. 2023 (2302.07011), as `sharpness_max`. Parameters: all,
    biases too, of the network as trained; with folded=true batch-norm is folded in. Data: the first 512 training
    samples, mean. Sampled: pairs u and -u, the same for all networks of a shape, 10 or more until the standard error is
    5 % of the value, 200 at most; so to stop makes LeNet5's value 0.3 to 1.4 % low, and two standard errors hold the
    truth in 87 to 93 %. Cost: 20 to 400 passes over the samples. Invariant: layer-wise, neuron-wise, norm-layer.
    """
    network = shared_samples(ctx, folded)
    return stopped_mean(rises(network, rho, c, logits, noise(ctx, network.weights, DRAWS[1])), DRAWS[0])


def rises(network: Perturbed, rho: float, c: str, logits: str, drawn: Iterable[Tensor]) -> Iterator[float]:
    """The rise of the loss under each u of some draws (n_parameters,), the mean over u and -u, as each is asked for."""
    import torch

    w, loss, scale = network.weights, _loss(network, logits), rho * _scale(network, c)
    with torch.no_grad():
        start = loss(w).item()
    for u in drawn:
        with torch.no_grad():
            both = loss(w + scale * u).item() + loss(w - scale * u).item()
        yield both / 2 - start


def _batches(ctx: MeasureContext, folded: str) -> list[Perturbed]:
    """The network on each batch, made once."""
    return ctx.shared(lambda ctx: shared_samples(ctx, folded).batches(BATCH), ("batches", folded))


def _scale(network: Perturbed, c: str) -> Tensor:
    return network.weights.abs() if c == "weights" else network.weights.new_ones(len(network.weights))


def _loss(network: Perturbed, logits: str) -> Callable[[Tensor], Tensor]:
    """Mean loss by the parameters, of the outputs as they are or normalized."""

    def loss(weights: Tensor) -> Tensor:
        f = network.outputs(weights)
        if logits == "normalized":
            if f.shape[1] < 2:
                raise ValueError("logits=normalized: one output less its mean is 0: allowed: two outputs or more")
            f = f - f.mean(1, keepdim=True)
            f = f / f.norm(dim=1, keepdim=True).clamp(min=1e-12)
        return network.mean_loss(f)

    return loss
