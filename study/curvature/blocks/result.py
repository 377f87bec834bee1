"""What is measured of a layer, and the sums that it is made from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor, nn

from ..losses.loss_factor import certificate
from ..networks.layers import Layer
from .contraction import Sums, contract, contract_gradient, contract_last, inverse_of, wide
from .live import Live, gradient_at, reordered, restored
from .per_sample import relative_flatness_per_sample


@dataclass(frozen=True)
class LayerCurvature:
    """What the Hessian block of one layer's weight says about its flatness.

    The weight W (n_out, d) has rows w_s: the weights into neuron s; a convolution is flattened to (n_out, n_in / groups
    * kernel), the scale of a norm layer to (n, 1). Biases are not part of it. H is the Hessian of the mean loss.
    """

    name: str
    # T^l (n_out, n_out), float64: T[s, s'] = Tr(H_{s,s'})
    trace_matrix: Tensor = field(repr=False)
    # the same after dividing each input feature by its standard deviation over the data
    trace_matrix_normalized: Tensor | None = field(repr=False)
    trace: float  # Tr(H_l) = tr T^l
    # sum_{s,s'} <w_s, w_s'> Tr(H_{s,s'}) = <W W^T, T^l>, Petzka et al. 2021 (2001.00939; read in its published code)
    relative_flatness: float
    relative_flatness_normalized: float  # the same for W diag(s) and the normalized T^l; NaN if not asked for
    kappa_2019: float  # ||W||_F^2 Tr(H_l), Petzka et al. 2019; read in 2001.00939 v1, eq. 12
    # rho(j) = v_j^T H_jj v_j, v_j the j-th column of W: (d,), groups one after the other; read there too
    neuron_wise: Tensor | None = field(repr=False)
    weight_norm_squared: float
    # (d,) the standard deviation s_j of what column j reads, groups one after the other
    feature_scale: Tensor | None = field(repr=False)
    exact: bool  # the Gauss-Newton block, which all this is read off, is the Hessian block (almost everywhere)
    error_bound: float  # of the trace; 0 for all columns, holds with 99 % for a tolerance, NaN if random
    standard_error: Mapping[str, float] | None  # of the floats above, if columns are random
    n_samples: int
    # with per_sample=True, of the layer that gives the outputs: (n,) float64, <W W^T, T_i> of each sample's own loss,
    # times its weight, in the order in which the data came; `relative_flatness` is their sum over that of the weights,
    # which is their mean where no sample has a weight or is ignored
    per_sample: Tensor | None = field(default=None, repr=False)

    @property
    def kind(self) -> str:
        """Which matrix this is read off: "hessian" where the Gauss-Newton block is it, else "gauss_newton"."""
        return "hessian" if self.exact else "gauss_newton"


class LayerCurvatures(dict[str, LayerCurvature]):
    """The curvature of each layer by its path; `left_out` says by path why others were not measured."""

    def __init__(self, layers: Mapping[str, LayerCurvature], left_out: Mapping[str, str]) -> None:
        super().__init__(layers)
        self.left_out = dict(left_out)


@dataclass
class Tally:
    """The running sums of one layer."""

    name: str
    weight: Tensor  # (n_out, d) in the network's dtype
    exact: bool
    neuron_wise: bool
    kernel: tuple[int, ...] = ()  # of a convolution
    scale: Tensor | None = None  # (g, d)
    sums: Sums | None = None  # over the columns taken as they are
    probes: Sums | None = None  # mean over random mixtures of the columns left out
    per_sample: list[Tensor] | None = None  # of each chunk; None: not asked for
    is_random: bool = False  # the mixtures stand for all of Lambda, not for a rest
    variance: Tensor = field(default_factory=lambda: torch.zeros(3, dtype=torch.float64))

    def clear(self) -> None:
        """Forget all sums."""
        self.sums = self.probes = None

    def add(self, phi: Tensor, delta: Tensor, sign: int = 1) -> None:
        """Take in columns of Lambda, or of its negative part."""
        sums = self._contract(phi, delta)
        self.sums = _added(self.sums, sums if sign == 1 else sums.times(sign))

    def add_live(self, module: nn.Conv2d, x: Tensor, delta: Live, at_once: int, sign: int = 1) -> None:
        """Take in columns that act on a convolution of inputs x at a few places alone; `at_once` as `gradient_at`."""
        gradient = gradient_at(module, wide(x), delta.of(wide(delta.values)), at_once)
        sums = contract_gradient(gradient, *self._reordered)
        if sums.neurons is not None:
            sums.neurons = restored(sums.neurons, self.kernel)
        self.sums = _added(self.sums, sums if sign == 1 else sums.times(sign))

    @cached_property
    def _reordered(self) -> tuple[Tensor | None, Tensor | None]:
        """1 / scale and the weight in the order of `gradient_at`."""
        inverse = None if self.scale is None else inverse_of(self.scale, wide(self.weight).dtype)
        weight = reordered(self.weight, self.kernel) if self.neuron_wise else None
        return None if inverse is None else reordered(inverse, self.kernel), weight

    def add_last(self, phi: Tensor, lambda_: tuple[Tensor, Tensor]) -> None:
        """Take in all columns of Lambda, for the layer that gives the outputs."""
        sums = contract_last(phi, lambda_, self.scale, self.weight if self.neuron_wise else None)
        self.sums = _added(self.sums, sums)
        if self.per_sample is not None:
            self.per_sample.append(relative_flatness_per_sample(self.weight, phi, lambda_))

    def add_probes(self, phi: Tensor, delta: Tensor) -> None:
        """Take in random columns, each of them an unbiased sample of all that was left out."""
        self.probes = _added(self.probes, self._contract(phi, delta).times(1 / delta.shape[1]))

    def add_random(self, phi: Tensor, delta: Tensor) -> None:
        """Take in random columns, each of them an unbiased sample of Lambda, and the spread of what they say."""
        columns = delta.split(1, 1)
        each = [self._contract(phi, column).times(1 / len(columns)) for column in columns]
        self.variance += len(each) * torch.stack([torch.stack(self._values(sums)) for sums in each]).var(0).cpu()
        for sums in each:
            self.probes = _added(self.probes, sums)

    def _contract(self, phi: Tensor, delta: Tensor) -> Sums:
        return contract(phi, delta, self.scale, self.weight if self.neuron_wise else None)

    def scaled(self) -> Tensor:
        """W with column j multiplied by the deviation of the feature that it reads, float64."""
        weight = self.weight.double()
        if self.scale is None:
            return weight
        return (weight.reshape(len(self.scale), -1, weight.shape[1]) * self.scale[:, None]).reshape_as(weight)

    def _values(self, sums: Sums) -> list[Tensor]:
        weight, scaled = self.weight.double(), self.scaled()
        raw = sums.raw
        invariant = torch.full_like(raw[0, 0], math.nan)
        if sums.normalized is not None:
            invariant = (scaled @ scaled.T * sums.normalized).sum()
        return [raw.trace(), (weight @ weight.T * raw).sum(), invariant]

    def result(self, n_samples: int, count: float) -> LayerCurvature:
        """The layer's curvature: sums over n_samples divided by `count`, their number or the sum of their weights."""
        total = self._total(count)
        trace, flatness, invariant = (float(value) for value in self._values(total))
        norm = float(self.weight.double().square().sum())
        return LayerCurvature(
            name=self.name,
            trace_matrix=total.raw,
            trace_matrix_normalized=total.normalized,
            trace=trace,
            relative_flatness=flatness,
            relative_flatness_normalized=invariant,
            kappa_2019=norm * trace,
            neuron_wise=None if total.neurons is None else total.neurons.flatten(),
            weight_norm_squared=norm,
            feature_scale=None if self.scale is None else self.scale.flatten(),
            exact=self.exact,
            error_bound=self._error_bound(count),
            standard_error=self._standard_error(count, norm),
            n_samples=n_samples,
            per_sample=torch.cat(self.per_sample) if self.per_sample else None,
        )

    def _total(self, count: float) -> Sums:
        parts = [part for part in (self.sums, self.probes) if part is not None]
        if not parts:  # the outputs do not depend on the layer, or Lambda is zero
            n_out, d = self.weight.shape
            square = self.weight.new_zeros(n_out, n_out, dtype=torch.float64)
            neurons = self.weight.new_zeros(1, d, dtype=torch.float64) if self.neuron_wise else None
            return Sums(square, None if self.scale is None else square.clone(), neurons)
        total = parts[0].times(1 / count)
        for part in parts[1:]:
            total.add(part.times(1 / count))
        return total

    def bound_share(self) -> float:
        """The bound on the error of the trace as a share of the trace; 0 if nothing was left out."""
        probed = float(self.probes.raw.trace()) if self.probes else 0.0
        kept = float(self.sums.raw.trace()) if self.sums else 0.0
        return certificate() * probed / (probed + kept) if probed else 0.0

    def _error_bound(self, count: float) -> float:
        # The truth is between the sum of the columns kept and that plus the bound, and so is the value given.
        if self.is_random and self.probes:
            return math.nan
        return certificate() * float(self.probes.raw.trace()) / count if self.probes else 0.0

    def _standard_error(self, count: float, norm: float) -> dict[str, float] | None:
        if not self.is_random:
            return None
        trace, flatness, invariant = (self.variance.sqrt() / count).tolist()
        return {
            "trace": trace,
            "relative_flatness": flatness,
            "relative_flatness_normalized": invariant,
            "kappa_2019": norm * trace,
        }


def start_tallies(
    layers: Sequence[Layer], weights: Sequence[Tensor], exact: Sequence[bool], neuron_wise: bool
) -> list[Tally]:
    """One empty tally a layer."""
    return [
        Tally(layer.name, layer.flatten(weight.detach()), is_exact, neuron_wise, layer.kernel)
        for layer, weight, is_exact in zip(layers, weights, exact, strict=True)
    ]


def _added(total: Sums | None, part: Sums) -> Sums:
    if total is None:
        return part
    total.add(part)
    return total
