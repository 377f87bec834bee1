"""The exact curvature of every layer in one forward and C backward passes (C - 1 for the softmax)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from study.curvature.features import Moments
from study.curvature.layers import Layer, find_layers
from study.curvature.loss import Loss, resolve_loss
from study.curvature.lowrank import N_PROBES, Factor, Sizes, certificate, n_kept
from study.curvature.network import Batches, Data, Inputs, Network, cut, select
from study.curvature.plan import Plan, look
from study.curvature.result import LayerCurvature, Tally, start_tallies
from study.curvature.uses import Uses, hooked

DEFAULT_BUDGET = 2**31  # bytes; ours: T of vgg11's two layers of 4096 neurons alone takes 0.8 GB
# With a tolerance, samples are sorted by the columns that they need within this many chunks.
_SORTED_CHUNKS = 16


def layer_curvature(
    model: nn.Module,
    data: Data,
    loss: str | Loss | nn.Module = "cross_entropy",
    *,
    columns: str | int | float = "exact",
    layers: Iterable[str] | None = None,
    normalized: bool = True,
    neuron_wise: bool = False,
    dtype: torch.dtype | None = None,
    memory_budget: int = DEFAULT_BUDGET,
    seed: int = 0,
) -> dict[str, LayerCurvature]:
    """T^l, trace and relative flatness of each layer, by the layer's path, in network order.

    T^l = mean_i sum_k G_ik G_ik^T with G_ik = d(f_i . S_ik)/dW and S_i S_i^T the Hessian of the loss in the
    outputs: the Gauss-Newton block, which is the Hessian block where `exact` is True in the result (networks that
    are piecewise linear in each layer's weight). Source: Petzka et al. 2021, 2001.00939; docs in the README,
    "measure your own network".

    Args:
        model: any module that maps inputs to outputs (n, C). It is left as it was found: mode, gradients, hooks,
            buffers, requires_grad, the global random state. It is measured in eval mode, autocast off.
        data: (inputs, targets), or an iterable of such batches (a DataLoader); inputs are a tensor, a tuple of
            positional or a dict of keyword arguments. The curvature of these losses does not depend on the targets.
        loss: "cross_entropy", "binary_cross_entropy" or "squared_error" (mean over samples, sum over outputs), a
            `Loss`, or an nn.CrossEntropyLoss.
        columns: how much of the outputs' Hessian to take. "exact": all of it. A tolerance in (0, 1): the columns that
            matter, plus an unbiased probe of the rest, `error_bound` being a bound on the error of each trace that
            holds with a confidence of 99 percent, and at most this share of the trace. An integer m > 1: m random
            columns a sample, with standard errors.
        layers: paths of the layers to measure; default all.
        normalized: whether to give the form that is invariant to the scale of input features.
        neuron_wise: whether to give rho(j), which needs the per-sample gradient of convolutions.
        dtype: compute on a copy of the model in this dtype; default the model's own. Sums are float64 in any case.
        memory_budget: bytes for everything beside the model, the data and the result. Samples, columns and layers are
            taken so many at a time that it is kept, and on a CPU no more than the caches like.
        seed: of the random columns.

    Cost: two forward and C - 1 backward passes to the layers' outputs, no weight gradients; exact but for rounding.
    Raises ValueError for a layer that cannot be treated exactly, naming it, and for outputs that are not (n, C).
    """
    loss, columns = resolve_loss(loss), _checked(columns)
    found = find_layers(model, layers)
    batches = Batches.of(data)
    with Network(model, dtype, [layer.parameter for layer in found]) as network:
        job = _Job(network, batches, loss, columns, normalized, neuron_wise, memory_budget, seed)
        return {tally.name: tally.result(n_samples) for tally, n_samples in job.measured(found)}


def _checked(columns: str | int | float) -> str | int | float:
    is_tolerance = isinstance(columns, float) and 0 < columns < 1
    is_number = isinstance(columns, int) and not isinstance(columns, bool) and columns > 1
    if columns == "exact" or is_tolerance or is_number:
        return columns
    raise ValueError(f"columns {columns!r} is not 'exact', a tolerance in (0, 1) or a number of columns of at least 2")


@dataclass(frozen=True)
class _Job:
    """What was asked for."""

    network: Network
    batches: Batches
    loss: Loss
    columns: str | int | float
    normalized: bool
    neuron_wise: bool
    memory_budget: int
    seed: int

    def measured(self, layers: list[Layer]) -> Iterator[tuple[Tally, int]]:
        """Each layer's sums and the number of samples; the layers half at a time where the budget cannot hold them."""
        plan = look(self.network, layers, self.batches.head(self.network, 2), self.memory_budget, self.neuron_wise)
        if not plan.fits() and len(layers) > 1:
            yield from self.measured(layers[: len(layers) // 2])
            yield from self.measured(layers[len(layers) // 2 :])
            return
        weights = [self.network.parameters[layer.parameter] for layer in layers]
        tallies = start_tallies(layers, weights, plan.exact, self.neuron_wise)
        generator = torch.Generator().manual_seed(self.seed)
        run = _Run(self.network, layers, self.batches, self.loss, plan, tallies, self.normalized, generator)
        n_columns = self.loss.n_columns(plan.n_outputs)
        if isinstance(self.columns, float):
            run.to_tolerance(self.columns, n_columns)
        elif isinstance(self.columns, int) and self.columns < n_columns:
            run.sampled(self.columns, n_columns)
        else:
            run.complete(n_columns)
        yield from ((tally, run.n_samples) for tally in tallies)


@dataclass
class _Run:
    """One measurement: a first pass for the features' scales, and the pass that sums."""

    network: Network
    layers: list[Layer]
    batches: Batches
    loss: Loss
    plan: Plan
    tallies: list[Tally]
    normalized: bool
    generator: torch.Generator
    n_samples: int = 0

    def complete(self, n_columns: int) -> None:
        """All columns of every sample."""
        n, k = self.plan.chunk(n_columns)
        for uses, outputs in self._passes(n):
            self._take(uses, outputs, n_columns, k, last=True)

    def sampled(self, n_random: int, n_columns: int) -> None:
        """Random mixtures, with signs of +1 and -1, of all columns."""
        n, k = self.plan.chunk(n_random)
        if k < n_random:
            raise ValueError(f"memory_budget {self.plan.budget} bytes holds {k} columns of one sample, not {n_random}")
        for tally in self.tallies:
            tally.is_random = True
        for uses, outputs in self._passes(n):
            done = self._take_last(uses, outputs)
            if len(done) == len(self.tallies):
                continue
            shape = (n_random, len(outputs), n_columns)
            signs = torch.randint(2, shape, generator=self.generator, dtype=torch.float64).mul_(2).sub_(1)
            mixed = self.loss.factor(outputs).mixed(0, signs.to(outputs.device))
            for tally, phi, delta in self._back(uses, outputs, mixed, done, last=True):
                tally.add_random(phi, delta)

    def to_tolerance(self, tolerance: float, n_columns: int) -> None:
        """The columns over a threshold, which falls until the bound on the rest is within every layer's tolerance."""
        sizes = Sizes()
        self._first_pass(self.plan.chunk(1)[0], sizes)
        share = tolerance / certificate()  # what the bound would be if a layer saw the outputs' columns as they are
        while True:
            self._over(sizes.threshold(share), n_columns)
            worst = max(tally.bound_share() for tally in self.tallies)
            if worst <= tolerance:
                return
            share *= tolerance / worst / 2
            for tally in self.tallies:
                tally.clear()

    def _over(self, threshold: float, n_columns: int) -> None:
        """Samples that need about as many columns go together; what each leaves out is probed."""
        self.n_samples = 0
        n, _ = self.plan.chunk(1)
        for piece, _ in self.batches.read(self.network, _SORTED_CHUNKS * n):
            with torch.no_grad():
                outputs = torch.cat([self.network(part) for part in cut(piece, n)])
            whole = self.loss.factor(outputs)
            needed = n_kept(whole.sizes(), threshold)
            order = needed.argsort(descending=True, stable=True)
            while len(order):
                most = int(needed[order[0]])
                n_now, k = self.plan.chunk(most + N_PROBES)
                uses, outputs = self._record(select(piece, order[:n_now]))
                factor = whole.part(order[:n_now])
                done = self._take(uses, outputs, most, k, last=False, factor=factor)
                noise = torch.randn(N_PROBES, len(outputs), n_columns, generator=self.generator)
                mixed = factor.mixed(most, noise.to(outputs.device).double())
                for tally, phi, delta in self._back(uses, outputs, mixed, done, last=True):
                    tally.add_probes(phi, delta)
                order = order[n_now:]

    def _take(
        self, uses: Uses, outputs: Tensor, n_columns: int, k: int, last: bool, factor: Factor | None = None
    ) -> set[int]:
        """The first columns of some samples, k at a time; which layers needed none, and have all of Lambda."""
        done = self._take_last(uses, outputs)
        if len(done) == len(self.tallies):
            return done
        factor = factor or self.loss.factor(outputs)
        for start in range(0, n_columns, k):
            stop = min(start + k, n_columns)
            part = factor.columns(start, stop)
            for tally, phi, delta in self._back(uses, outputs, part, done, last and stop == n_columns):
                tally.add(phi, delta)
        return done

    def _take_last(self, uses: Uses, outputs: Tensor) -> set[int]:
        done = set()
        for index, tally in enumerate(self.tallies):
            phi = uses.last(index, outputs)
            if phi is not None:
                tally.add_last(phi, self.loss.diagonal_and_rank_one(outputs))
                done.add(index)
        return done

    def _back(
        self, uses: Uses, outputs: Tensor, columns: Tensor, done: set[int], last: bool
    ) -> Iterator[tuple[Tally, Tensor, Tensor]]:
        """Send columns back and hand out phi and delta, one layer after another, some samples at a time."""
        uses.backward(outputs, columns.to(outputs.dtype), not last, done)
        for index, tally in enumerate(self.tallies):
            for phi, delta in uses.joined(index, self.plan.piece(index, len(columns))):
                yield tally, phi, delta

    def _passes(self, n: int) -> Iterable[tuple[Uses, Tensor]]:
        """The recorded forward pass of each chunk, the features' scales being known before the first is handed out."""
        kept = self._first_pass(n) if self.normalized else None
        return kept if kept is not None else (self._record(inputs) for inputs, _ in self.batches.read(self.network, n))

    def _first_pass(self, n: int, sizes: Sizes | None = None) -> list[tuple[Uses, Tensor]] | None:
        """Set the scales (and count column sizes); the recorded passes if a quarter of the budget holds them all."""
        moments = [Moments() for _ in self.layers]
        kept: list[tuple[Uses, Tensor]] | None = None if sizes else []
        with hooked(self.layers, lambda at, module, x, _: moments[at].add(self.layers[at].features(module, x))):
            for inputs, _ in self.batches.read(self.network, n):
                if kept is not None and 4 * (self.n_samples + n) * self.plan.saved > self.plan.budget:
                    kept, self.n_samples = None, 0
                if kept is not None:
                    kept.append(self._record(inputs))
                    continue
                with torch.no_grad():
                    outputs = self.network(inputs)
                if sizes:
                    sizes.add(self.loss.factor(outputs).sizes())
        if self.normalized:
            for tally, layer, seen in zip(self.tallies, self.layers, moments, strict=True):
                tally.scale = seen.deviation().repeat_interleave(layer.window, 1) if seen.count else None
        return kept

    def _record(self, inputs: Inputs) -> tuple[Uses, Tensor]:
        uses = Uses(self.layers)
        with uses.recorded():
            outputs = self.network(inputs)
        self.n_samples += len(outputs)
        return uses, outputs
