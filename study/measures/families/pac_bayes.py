"""Bounds from how much random noise on the weights the network bears."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from study.choice import Option, integer, word
from study.measures.context import MeasureContext
from study.measures.perturbation.bound import EPSILON, displacement, log_ratios, weights_at
from study.measures.perturbation.noise import HALVINGS, Level, largest_noise, noise
from study.measures.perturbation.perturbation import FOLDED, Perturbed, first_samples, shared_samples
from study.measures.perturbation.rays import Rays
from study.measures.registry import Sampled, measure

if TYPE_CHECKING:
    from torch import Tensor

DRAWS, SAMPLES = 10, 500  # noise vectors and training samples; ours, the standard error says what they are worth
MOST_DRAWS = 80  # of the noise that all networks of a shape have in common
_STEPS: Option = integer(HALVINGS, least=1)  # halvings of an octave of sigma


@measure("pac_bayes_flatness", noise=word("own", "common"), steps=_STEPS, folded=word("by_noise", "true", "false"))
def pac_bayes_flatness(ctx: MeasureContext, noise: str, steps: int, folded: str) -> Sampled:
    """PAC-Bayes flatness: one over the largest noise variance on the weights that the training error bears.

    1 / sigma^2, sigma the largest with E_u[error(w + sigma u)] <= error(w) + 0.1 for u ~ N(0, I). Source: Jiang et al.
    2020 (1912.02178), numbering not checked; read in the public code of Dziugaite et al. 2020 (`PACBAYES_FLATNESS`),
    which takes sigma^2 for the standard deviation, as does that of Petzka et al. 2021 made of it. Parameters: all,
    biases too; with noise=common of the network with batch-norm folded in; or as `folded` says. Data: the first 500
    training samples, mean; with noise=common 512. Sampled: 10 noise vectors, the same at each sigma; jackknife standard
    error over them; with noise=common the same vectors for all networks of a shape, 10 or more until the standard error
    is 5 % of the value, 80 at most; `steps` halvings of an octave of sigma, then a line between levels. Cost: about 60
    passes over the samples, or up to 400. Invariant: permutation.
    """
    if folded == "by_noise":
        folded = "false" if noise == "own" else "true"
    level = (_own_level if noise == "own" else _level)(ctx, steps, folded)
    value = 4.0**-level.log2_sigma
    return Sampled(value, 2 * math.log(2) * value * level.standard_error)


@measure("pac_bayes_orig", steps=_STEPS, folded=FOLDED)
def pac_bayes_orig(ctx: MeasureContext, steps: int, folded: str) -> Sampled:
    """PAC-Bayes bound with the origin as reference.

    ||w||^2 / (4 sigma^2) + log(m / sigma) + 10, sigma as in `pac_bayes_flatness(noise=common)`, m the number of
    training samples. Source: Jiang et al. 2020 (1912.02178), number 49 as read in the public code of Dziugaite et al.
    2020 (`PACBAYES_ORIG`). Parameters: noise on all, w without biases; batch-norm folded in unless folded=false. Data:
    the first 512 training samples. Sampled: as `pac_bayes_flatness(noise=common)`, its standard error carried over.
    Cost: its search, shared. Invariant: permutation, norm-layer.
    """
    return _bound(ctx, weights_at(ctx, folded), steps, folded)


@measure("pac_bayes_init", steps=_STEPS, folded=FOLDED)
def pac_bayes_init(ctx: MeasureContext, steps: int, folded: str) -> Sampled:
    """PAC-Bayes bound with initialization as reference.

    As `pac_bayes_orig` with w - w_0 in place of w. Source: Jiang et al. 2020 (1912.02178), number 48 as read in the
    public code of Dziugaite et al. 2020 (`PACBAYES_INIT`). Parameters: noise on all, w without biases; batch-norm
    folded in unless folded=false. Data: the first 512 training samples. Sampled: as `pac_bayes_flatness(noise=common)`,
    its standard error carried over. Cost: its search, shared. Invariant: norm-layer.
    """
    return _bound(ctx, displacement(ctx, folded), steps, folded)


@measure("pac_bayes_mag_flatness", steps=_STEPS, folded=FOLDED)
def pac_bayes_mag_flatness(ctx: MeasureContext, steps: int, folded: str) -> Sampled:
    """One over the largest noise variance, relative to each squared weight, that the training error bears.

    1 / sigma'^2, sigma' the largest with E_u[error(w + s u)] <= error(w) + 0.1, s_i^2 = sigma'^2 w_i^2 + eps^2, eps =
    0.001. Source: Jiang et al. 2020 (1912.02178), number 61 as read in the public code of Dziugaite et al. 2020
    (`PACBAYES_MAG_FLATNESS`), which takes s_i^2 for the standard deviation. Parameters: all, biases too, batch-norm
    folded in unless folded=false. Data: the first 512 training samples. Sampled: as `pac_bayes_flatness(noise=common)`,
    standard error too. Cost: a search as there, shared by the three. Invariant: permutation, norm-layer.
    """
    return _carried(_relative_level(ctx, steps, folded), lambda sigma: sigma**-2)


@measure("pac_bayes_mag_orig", steps=_STEPS, folded=FOLDED)
def pac_bayes_mag_orig(ctx: MeasureContext, steps: int, folded: str) -> Sampled:
    """Magnitude-aware PAC-Bayes bound with the origin as reference.

    1/4 sum_i log[(eps^2 + (sigma'^2 + 1) ||w||^2 / omega) / (eps^2 + sigma'^2 (w - w_0)_i^2)] + log(m / sigma') + 10,
    omega the number of weights, m that of training samples, sigma' and eps as in `pac_bayes_mag_flatness`. Source:
    Jiang et al. 2020 (1912.02178), number 57 as read in the public code of Dziugaite et al. 2020 (`PACBAYES_MAG_ORIG`).
    Parameters: noise on all, w without biases; batch-norm folded in unless folded=false. Data: the first 512 training
    samples. Sampled: as `pac_bayes_mag_flatness`, its standard error carried over. Cost: its search, shared. Invariant:
    norm-layer.
    """
    return _relative_bound(ctx, weights_at(ctx, folded), steps, folded)


@measure("pac_bayes_mag_init", steps=_STEPS, folded=FOLDED)
def pac_bayes_mag_init(ctx: MeasureContext, steps: int, folded: str) -> Sampled:
    """Magnitude-aware PAC-Bayes bound with initialization as reference.

    As `pac_bayes_mag_orig` with ||w - w_0||^2 in place of ||w||^2. Source: Jiang et al. 2020 (1912.02178), number 56 as
    read in the public code of Dziugaite et al. 2020 (`PACBAYES_MAG_INIT`). Parameters: noise on all, w without biases;
    batch-norm folded in unless folded=false. Data: the first 512 training samples. Sampled: as
    `pac_bayes_mag_flatness`, its standard error carried over. Cost: its search, shared. Invariant: norm-layer.
    """
    return _relative_bound(ctx, displacement(ctx, folded), steps, folded)


def _bound(ctx: MeasureContext, reference: Tensor, steps: int, folded: str) -> Sampled:
    square = float(reference.square().sum())

    def bound(sigma: float) -> float:
        return square / (4 * sigma**2) + math.log(ctx.n_train / sigma) + 10

    return _carried(_level(ctx, steps, folded), bound)


def _relative_bound(ctx: MeasureContext, reference: Tensor, steps: int, folded: str) -> Sampled:
    moved = displacement(ctx, folded)

    def bound(sigma: float) -> float:
        return log_ratios(reference, moved, sigma, 1.0) / 4 + math.log(ctx.n_train / sigma) + 10

    return _carried(_relative_level(ctx, steps, folded), bound)


def _carried(level: Level, of_sigma: Callable[[float], float]) -> Sampled:
    """A function of sigma with the standard error that sigma's gives it."""
    low, high = (of_sigma(2.0 ** (level.log2_sigma + sign * level.standard_error)) for sign in (-1, 1))
    return Sampled(of_sigma(2.0**level.log2_sigma), abs(high - low) / 2)


def _own_level(ctx: MeasureContext, steps: int, folded: str) -> Level:
    """By noise of this run's own."""

    def search(ctx: MeasureContext) -> Level:
        rays = _own_rays(ctx, folded)
        return _sought(rays.network, rays.outputs, len(rays.directions), math.log2(rays.network.size), steps)

    return ctx.shared(search, ("own level", steps, folded))


def _own_rays(ctx: MeasureContext, folded: str) -> Rays:
    import torch

    def made(ctx: MeasureContext) -> Rays:
        network, generator = first_samples(ctx, folded, SAMPLES), ctx.generator("pac_bayes_flatness")
        shapes = network.shapes.values()
        vectors = [torch.cat([torch.randn(s, generator=generator).flatten() for s in shapes]) for _ in range(DRAWS)]
        drawn = [vector.to(network.weights) for vector in vectors]
        shares = folded == "false" and not network.folds
        if not shares or not ctx.before:
            return Rays(network, drawn, ctx.n_unchanged if shares else 0)
        return Rays(network, drawn, ctx.n_unchanged, _own_rays(ctx.before, folded))

    return ctx.shared(made, ("own rays", folded))


def _level(ctx: MeasureContext, steps: int, folded: str) -> Level:
    """By noise that all networks of a shape have in common."""
    return _common(ctx, steps, folded, relative=False)


def _relative_level(ctx: MeasureContext, steps: int, folded: str) -> Level:
    """The same relative to each weight."""
    return _common(ctx, steps, folded, relative=True)


def _common(ctx: MeasureContext, steps: int, folded: str, *, relative: bool) -> Level:
    def search(ctx: MeasureContext) -> Level:
        network = shared_samples(ctx, folded)
        return level_of(network, list(noise(ctx, network.weights, MOST_DRAWS)), steps=steps, relative=relative)

    return ctx.shared(search, ("level", steps, folded, relative))


def level_of(network: Perturbed, drawn: Sequence[Tensor], *, steps: int = HALVINGS, relative: bool = False) -> Level:
    """The largest noise that a network bears by these draws (n_parameters,), DRAWS of them or more as they are needed;
    `relative` to each weight."""
    if not relative:
        return _sought(network, Rays(network, drawn).outputs, len(drawn), math.log2(network.size), steps)
    w = network.weights

    def outputs(sigma: float, k: int) -> Tensor:
        return network.outputs(w + (sigma**2 * w.square() + EPSILON**2).sqrt() * drawn[k])

    return _sought(network, outputs, len(drawn), -1.0, steps)


def _sought(
    network: Perturbed, outputs: Callable[[float, int], Tensor], n_draws: int, start: float, steps: int
) -> Level:
    """The level of noise by the outputs at sigma and the number of a draw."""
    import torch

    with torch.no_grad():
        clean = network.error(network.outputs(network.weights))

    def rises(log2_sigma: float, which: slice) -> Tensor:
        with torch.no_grad():
            errors = [network.error(outputs(2.0**log2_sigma, k)) for k in range(n_draws)[which]]
        return torch.tensor(errors, dtype=torch.float64) - clean

    return largest_noise(rises, start, DRAWS, n_draws, steps, least=-clean)
