"""The exact curvature of every layer in one forward and C backward passes (C - 1 for the softmax)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from numbers import Integral, Real
from typing import Literal

import torch
from torch import nn

from ..losses.loss import Loss
from ..losses.own_loss import OwnLoss
from ..losses.torch_losses import GivenLoss, counted, resolve_loss
from ..networks.adapter import Forward, Target, adapted
from ..networks.batches import Batches, Data
from ..networks.finding import RefusedLayers, find_layers, supported_layers
from ..networks.layers import Layer
from ..networks.network import Network
from ..networks.passes import Passes
from ..options import whole
from ..progress import hidden, shown
from .budget import Plan, look
from .per_sample import NEEDED, check_per_sample
from .result import LayerCurvatures, Tally, start_tallies
from .summation import Run
from .verification import Verification

DEFAULT_BUDGET = 2**31  # bytes; ours: T of vgg11's two layers of 4096 neurons alone takes 0.8 GB


def layer_curvature(
    model: nn.Module,
    data: Data,
    loss: GivenLoss = "cross_entropy",
    *,
    columns: str | int | float = "exact",
    layers: Iterable[str] | Literal["supported"] | None = None,
    normalized: bool = True,
    neuron_wise: bool = False,
    per_sample: bool = False,
    dtype: torch.dtype | None = None,
    memory_budget: int = DEFAULT_BUDGET,
    seed: int = 0,
    forward: Forward | None = None,
    target: Target | None = None,
    progress: bool = False,
) -> LayerCurvatures:
    """T^l, trace and relative flatness of each layer, by the layer's path, in network order.

    T^l = mean_i sum_k G_ik G_ik^T with G_ik = d(f_i . S_ik)/dW and S_i S_i^T the Hessian of the loss in the
    outputs: the Gauss-Newton block, which is the Hessian block where `exact` is True in the result (networks that
    are piecewise linear in each layer's weight). Source of the measures: see LayerCurvature; T^l is derived here.
    README.md of the package says what is exact and what is refused.

    Args:
        model: any module that maps inputs to outputs (n, C). It is left as it was found: mode, gradients, hooks,
            buffers, requires_grad, the global random state. It is measured in eval mode, autocast off.
        data: (inputs, targets), or an iterable of such batches (a DataLoader); inputs are a tensor, a tuple of
            positional or a dict of keyword arguments. All targets are checked.
        loss: "cross_entropy", "binary_cross_entropy" or "squared_error" (mean over samples, sum over outputs), a
            `Loss`, one of torch's own, meaning what it means there, or a function of outputs and targets.
        columns: how much of the outputs' Hessian to take. "exact": all of it. A tolerance in (0, 1): the columns that
            matter, plus an unbiased probe of the rest, `error_bound` being a bound on the error of each trace that
            holds with a confidence of 99 percent, and at most this share of the trace. An integer m > 1: m random
            columns a sample, with standard errors.
        layers: paths of the layers to measure; default all. "supported": those that can be treated exactly, and why
            others cannot is said in `left_out` of the result.
        normalized: whether to give the form that is invariant to the scale of input features.
        neuron_wise: whether to give rho(j), which needs the per-sample gradient of convolutions.
        per_sample: whether to give, of the layer that gives the outputs, relative flatness of each sample's own loss.
        dtype: compute on a copy of the model in this dtype; default the model's own. Sums are float64 in any case.
        memory_budget: bytes for everything beside the model, the data and the result. Samples, columns and layers are
            taken so many at a time that it is kept, and on a CPU no more than the caches like.
        seed: of the random columns.
        forward: forward(model, inputs) gives the outputs (n, C), where the model does not give them itself.
        target: target(batch) gives the targets of a batch, where batches are not (inputs, targets); the inputs are then
            the whole batch, and a dict, a tuple or a tensor is one batch.
        progress: say on stderr what it costs before it starts, and how many samples are done, with the time left.

    Cost: two forward and C - 1 backward passes to the layers' outputs, no weight gradients; exact but for rounding.
    Raises ValueError for a layer that cannot be treated exactly, naming it, and for outputs that are not (n, C).
    """
    columns, resolved = _checked(columns), resolve_loss(loss)
    if per_sample:
        check_per_sample(columns, resolved)
    memory_budget = whole("memory_budget", memory_budget, 1, "a whole number of bytes")
    is_all = isinstance(layers, str) and layers == "supported"
    found, left_out = supported_layers(model) if is_all else (find_layers(model, layers), {})
    pairs, call = adapted(data, forward, target)
    with Network(model, dtype, [layer.parameter for layer in found], call) as network:
        batches, passes = Batches.of(pairs), Passes()
        job = _Job(
            network,
            batches,
            passes,
            resolved,
            columns,
            normalized,
            neuron_wise,
            per_sample,
            memory_budget,
            int(seed),
            progress,
        )
        if is_all:
            found, left_out = job.supported(found, left_out)
        results = {tally.name: tally.result(n, counted(count)) for tally, n, count in job.measured(found)}
        if per_sample and all(result.per_sample is None for result in results.values()):
            raise ValueError(f"{NEEDED}; none of {', '.join(results)} is one")
        return LayerCurvatures(results, left_out)


def _checked(columns: str | int | float) -> str | int | float:
    if isinstance(columns, str) and columns == "exact":
        return columns
    if isinstance(columns, Integral) and not isinstance(columns, bool) and columns > 1:
        return int(columns)
    if isinstance(columns, Real) and 0 < columns < 1:
        return float(columns)
    raise ValueError(f"columns {columns!r} is not 'exact', a tolerance in (0, 1) or a number of columns of at least 2")


@dataclass(frozen=True)
class _Job:
    """What was asked for."""

    network: Network
    batches: Batches
    passes: Passes
    loss: Loss | OwnLoss
    columns: str | int | float
    normalized: bool
    neuron_wise: bool
    per_sample: bool
    memory_budget: int
    seed: int
    progress: bool

    def supported(self, layers: list[Layer], left_out: dict[str, str]) -> tuple[list[Layer], dict[str, str]]:
        """The layers that a look at the network finds to be measurable, and why others are not."""
        try:
            if layers:
                self._look(layers)
        except RefusedLayers as refused:
            left_out = left_out | refused.reasons
        layers = [layer for layer in layers if layer.name not in left_out]
        if not layers:
            raise RefusedLayers(left_out)
        return layers, left_out

    def measured(self, layers: list[Layer]) -> Iterator[tuple[Tally, int, float]]:
        """Each layer's sums, the number of samples and their weight; half the layers at a time if the budget asks."""
        verification, plan = self._look(layers)
        self.loss.check(self.batches.first_targets(), plan.n_outputs)
        if not plan.fits() and len(layers) > 1:
            yield from self.measured(layers[: len(layers) // 2])
            yield from self.measured(layers[len(layers) // 2 :])
            return
        weights = [self.network.parameters[layer.parameter] for layer in layers]
        tallies = start_tallies(layers, weights, verification.exact, self.neuron_wise)
        for tally in tallies:
            tally.per_sample = [] if self.per_sample else None
        generator = torch.Generator().manual_seed(self.seed)
        run = Run(
            self.network, layers, self.batches, self.loss, plan, tallies, self.normalized, generator, verification,
            self.passes,
        )  # fmt: skip
        n_columns = self.loss.n_columns(plan.n_outputs)
        n_samples = self.batches.n_samples if self.progress else None
        with shown(self._cost(plan, n_samples, n_columns), n_samples) if self.progress else hidden() as run.advance:
            if isinstance(self.columns, float):
                run.to_tolerance(self.columns, n_columns)
            elif isinstance(self.columns, int) and self.columns < n_columns:
                run.sampled(self.columns, n_columns)
            else:
                run.complete(n_columns)
        for tally, is_exact in zip(tallies, verification.exact, strict=True):
            tally.exact = is_exact
        yield from ((tally, run.n_samples, run.count) for tally in tallies)

    def _cost(self, plan: Plan, n_samples: int | None, n_columns: int) -> str:
        """What a measurement takes, in words."""
        taken = min(self.columns, n_columns) if isinstance(self.columns, int) else n_columns
        n, k = plan.chunk(taken)
        held = min(n, n_samples or n) * plan.working(k) + plan.fixed()
        most = "at most " if isinstance(self.columns, float) else ""
        samples = "an unknown number of" if n_samples is None else f"{n_samples:,}"
        return (
            f"{len(plan.shapes)} layers, {samples} samples: {1 + self.normalized} forward and {most}{taken} backward "
            f"passes, {min(n, n_samples or n):,} samples and {held / 2**20:,.0f} MB at a time"
        )

    def _look(self, layers: list[Layer]) -> tuple[Verification, Plan]:
        inputs, _ = self.batches.head(self.network.place, 2)
        verification = Verification(self.network, layers)
        plan = look(verification, inputs, self.memory_budget, self.neuron_wise)
        if isinstance(self.loss, OwnLoss):
            plan = replace(plan, saved=plan.saved + self.loss.held_bytes(plan.n_outputs))
        return verification, plan
