"""Measures of the probabilities that the network gives on its training set."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from study.choice import integer, word
from study.measures.context import MeasureContext
from study.measures.families.outputs import class_logits
from study.measures.registry import measure

if TYPE_CHECKING:
    from torch import Tensor


@measure("cross_entropy")
def cross_entropy(ctx: MeasureContext) -> float:
    """Mean cross-entropy on the training set, whatever loss the network was trained with.

    mean_i -log p_i[y_i], p the softmax of the outputs. Source: baseline of the study. Parameters: none. Data: training
    set, mean, the run's own labels. Deterministic. Cost: one forward pass, shared. Invariant: layer-wise, neuron-wise,
    permutation, norm-layer.
    """
    return _nll(ctx.shared(class_logits), ctx.labels, 1.0)


@measure("entropy")
def entropy(ctx: MeasureContext) -> float:
    """Minus the mean entropy of the predicted probabilities: larger for a more confident network.

    mean_i sum_c p_i[c] log p_i[c]. Source: 2602.01718, as `ece`. Parameters: none. Data: training set, mean.
    Deterministic. Cost: one forward pass, shared. Invariant: layer-wise, neuron-wise, permutation, norm-layer.
    """
    logs = ctx.shared(class_logits).log_softmax(1)
    return float((logs.exp() * logs).sum(1).mean())


@measure("confidence")
def confidence(ctx: MeasureContext) -> float:
    """Mean probability of the class that is predicted.

    mean_i max_c p_i[c]. Source: 2602.01718, as `ece`. Parameters: none. Data: training set, mean. Deterministic. Cost:
    one forward pass, shared. Invariant: layer-wise, neuron-wise, permutation, norm-layer.
    """
    return float(ctx.shared(class_logits).softmax(1).amax(1).mean())


@measure("ece", bins=integer(15, least=1), binning=word("width", "mass"))
def ece(ctx: MeasureContext, bins: int, binning: str) -> float:
    """Expected calibration error: how far confidence and accuracy are apart, in bins of the confidence.

    sum_b |B_b| / n |accuracy(B_b) - confidence(B_b)|; bins ](b - 1) / bins, b / bins] of equal width, the top one up to
    1; or of equal mass, as many samples in each as there can be, of one confidence in their order. Source: Guo et al.
    2017 (1706.04599), whose text was not read; that the family is stable under shift is of 2602.01718, known by its
    summary alone; read in no published code. Parameters: none. Data: training set. Deterministic. Cost: one forward
    pass, shared. Invariant: layer-wise, neuron-wise, permutation, norm-layer.
    """
    import torch

    given, predicted = ctx.shared(class_logits).softmax(1).max(1)
    wrong_by = given - (predicted == ctx.labels).double()
    if binning == "mass":
        return sum(abs(float(part.sum())) for part in wrong_by[given.argsort(stable=True)].tensor_split(bins)) / len(
            given
        )
    place = (given * bins).ceil().long().clamp(1, bins) - 1
    return float(torch.zeros(bins).to(given).index_add(0, place, wrong_by).abs().sum()) / len(given)


@measure("brier")
def brier(ctx: MeasureContext) -> float:
    """Brier score: squared distance of the predicted probabilities from the label.

    mean_i sum_c (p_i[c] - [c = y_i])^2. Source: Brier 1950, whose text was not read; read in no published code, checked
    against scikit-learn's code. Parameters: none. Data: training set, mean. Deterministic. Cost: one forward pass,
    shared. Invariant: layer-wise, neuron-wise, permutation, norm-layer.
    """
    from torch.nn import functional

    p = ctx.shared(class_logits).softmax(1)
    return float((p - functional.one_hot(ctx.labels, p.shape[1])).square().sum(1).mean())


@measure("temperature")
def temperature(ctx: MeasureContext) -> float:
    """Temperature that the outputs are to be divided by for the least cross-entropy: above 1 of a network too sure.

    argmin_T mean_i -log softmax(f_i / T)[y_i]. Source: Guo et al. 2017 (1706.04599), whose text was not read; read in
    no published code. Parameters: none. Data: training set. Fails (recorded as missing) where no training sample is
    misclassified, the best temperature being 0, or where that is infinite. Deterministic. Cost: one forward pass,
    shared. Invariant: layer-wise, neuron-wise, permutation, norm-layer.
    """
    return ctx.shared(_best_temperature)


@measure("nll_after_temperature")
def nll_after_temperature(ctx: MeasureContext) -> float:
    """Cross-entropy that is left after the outputs are divided by the best temperature.

    min_T mean_i -log softmax(f_i / T)[y_i]. Source: Guo et al. 2017 (1706.04599), as `temperature`. Parameters: none.
    Data: training set, mean. Fails (recorded as missing) where `temperature` does. Deterministic. Cost: one forward
    pass, shared. Invariant: layer-wise, neuron-wise, permutation, norm-layer.
    """
    return _nll(ctx.shared(class_logits), ctx.labels, ctx.shared(_best_temperature))


def _nll(logits: Tensor, labels: Tensor, temperature: float) -> float:
    from torch.nn import functional

    return float(functional.cross_entropy(logits / temperature, labels))


def _best_temperature(ctx: MeasureContext) -> float:
    """Where the slope of the cross-entropy in 1 / T is 0; it grows with 1 / T, since the cross-entropy is convex."""
    from scipy.optimize import brentq

    logits = ctx.shared(class_logits)
    own = logits.gather(1, ctx.labels[:, None])[:, 0]
    if bool((own == logits.amax(1)).all()):
        said = "no training sample is misclassified, but where outputs are equal"
        raise ValueError(f"temperature: {said}: the best temperature is 0")

    def slope(log_inverse: float) -> float:
        p = (logits * math.exp(log_inverse)).softmax(1)
        return float(((p * logits).sum(1) - own).mean())

    if float((logits.mean(1) - own).mean()) >= 0:
        raise ValueError("temperature: the outputs are worse than chance: the best temperature is infinite")
    low, high = -1.0, 1.0
    while slope(low) > 0:
        low *= 2
    while slope(high) < 0:
        high *= 2
    return math.exp(-brentq(slope, low, high, xtol=1e-13))
