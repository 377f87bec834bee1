"""Weights of classes and outputs in a loss, and which samples it leaves out: what torch's losses mean by them."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

Weights = tuple[float, ...]


def checked_weights(option: str, given: Iterable[float]) -> Weights:
    """The numbers of a weight, of a tensor (C,), (1, C) or () too; ValueError unless finite and not negative."""
    if isinstance(given, Tensor):
        if given.ndim > 1 and given.numel() != given.shape[-1]:
            raise ValueError(f"{option} has shape {tuple(given.shape)}, numbers a sample: allowed are (C,) and (1, C)")
        given = given.detach().double().flatten().tolist()
    numbers = tuple(float(value) for value in given)
    if not numbers or not all(value >= 0 and math.isfinite(value) for value in numbers):
        raise ValueError(f"{option} {numbers} does not hold finite numbers of at least 0")
    return numbers


def like(values: Tensor, weights: Weights | None) -> Tensor | None:
    """Weights as a tensor (C,) beside some values."""
    return None if weights is None else torch.tensor(weights, dtype=values.dtype, device=values.device)


def sample_weights(classes: Tensor, weights: Weights | None, ignored: int | None) -> Tensor:
    """The weight of each sample by its class, 0 for the class that is left out: (n,) float64."""
    counted = torch.ones(len(classes), dtype=torch.float64, device=classes.device)
    if ignored is not None:
        counted = (classes != ignored).double()
    weight = like(counted, weights)
    return counted if weight is None else counted * weight[torch.where(counted > 0, classes.long(), 0)]


def softmax_scale(targets: Tensor, weights: Weights | None, ignored: int | None, smoothing: float) -> Tensor | None:
    """What diag(p) - p p^T of each sample is multiplied by, (n, 1) float64; None where it is 1 for all.

    It is sum_c w_c t_c, t being the smoothed target. For classes t_y = 1 - smoothing + smoothing / C.
    """
    if targets.is_floating_point():
        weight = like(targets.double(), weights)
        if weight is None:
            return None
        return ((1 - smoothing) * targets.double() @ weight + smoothing * weight.mean())[:, None]
    if weights is None:
        counted = sample_weights(targets, None, ignored)
        return None if counted.all() else counted[:, None]
    scale = (1 - smoothing) * sample_weights(targets, weights, ignored)
    every = smoothing * math.fsum(weights) / len(weights)
    return (scale + every * sample_weights(targets, None, ignored))[:, None]
