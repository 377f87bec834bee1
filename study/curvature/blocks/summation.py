"""Passes over the data that sum up a network's curvature: all columns of Lambda, those that matter, or random ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from ..losses.dense_factor import DenseFactor
from ..losses.loss import Loss
from ..losses.loss_factor import N_PROBES, Factor, Sizes, certificate, n_kept
from ..losses.own_loss import OwnLoss
from ..networks.batches import Batches, Inputs, cut, select
from ..networks.layers import Layer
from ..networks.network import Network
from ..networks.passes import Passes, Total
from ..progress import Advance
from .budget import Plan
from .chain import chain_of
from .features import Moments
from .recording import Seen, hooked
from .result import Tally
from .sweep import sweep
from .verification import Verification

# With a tolerance, samples are sorted by the columns that they need within this many chunks.
_SORTED_CHUNKS = 16
# Columns that samples which need fewer may be given for going along: a group of their own would cost as much.
_SPARE = 600
# So many samples of a chunk say which column sizes there are: a first guess, which the bound then holds to account.
_COUNTED = 100
# The guess, as a share of what would do if a layer saw the columns as the outputs do: over the tolerance costs a pass.
_MARGIN = 0.9


@dataclass
class Run:
    """One measurement: a first pass for the features' scales, and the pass that sums."""

    network: Network
    layers: list[Layer]
    batches: Batches
    loss: Loss | OwnLoss
    plan: Plan
    tallies: list[Tally]
    normalized: bool
    generator: torch.Generator
    verification: Verification
    passes: Passes
    n_samples: int = 0
    count: float = 0.0  # what the sums are divided by: the number of samples, or of their weights
    advance: Advance = lambda n: None  # called when so many samples are summed up

    def complete(self, n_columns: int) -> None:
        """All columns of every sample; of a loss that is not convex in the outputs, those of both signs."""
        n, k = self.plan.chunk(n_columns)
        for seen in self._passes(n):
            if isinstance(self.loss, Loss):
                self._take(seen, n_columns, k, last=True)
            else:
                positive, negative = self.loss.factors(seen.outputs, seen.targets)
                self._take(seen, positive.n_columns, k, last=not negative.n_columns, factor=positive)
                self._take(seen, negative.n_columns, k, last=True, factor=negative, sign=-1)
            self.advance(len(seen.outputs))
            del seen  # its graph, before the next is recorded

    def sampled(self, n_random: int, n_columns: int) -> None:
        """Random mixtures, with signs of +1 and -1, of all columns."""
        n, k = self.plan.chunk(n_random)
        if k < n_random:
            raise ValueError(f"memory_budget {self.plan.budget} bytes holds {k} columns of one sample, not {n_random}")
        for tally in self.tallies:
            tally.is_random = True
        for seen in self._passes(n):
            done = self._take_last(seen)
            shape = (n_random, len(seen.outputs), n_columns)
            signs = torch.randint(2, shape, generator=self.generator, dtype=torch.float64).mul_(2).sub_(1)
            mixed = self.loss.factor(seen.outputs, seen.targets).mixed(0, signs.to(seen.outputs.device))
            for tally, phi, delta in self._back(seen, mixed, done, last=True):
                tally.add_random(phi, delta)
            self.advance(len(seen.outputs))

    def to_tolerance(self, tolerance: float, n_columns: int) -> None:
        """The columns over a threshold, which falls until the bound on the rest is within every layer's tolerance."""
        sizes = Sizes()
        self._first_pass(self.plan.chunk(1)[0], sizes)
        share = _MARGIN * tolerance / certificate()
        threshold = sizes.threshold(share)
        while True:
            self._over(threshold, n_columns)
            worst = max(tally.bound_share() for tally in self.tallies)
            if worst <= tolerance:
                return
            share *= tolerance / worst / 2
            # The columns that were counted say nothing of those which are smaller than all of them.
            threshold = min(sizes.threshold(share), threshold * tolerance / worst / 2)
            for tally in self.tallies:
                tally.clear()

    def _over(self, threshold: float, n_columns: int) -> None:
        """Samples that need about as many columns go together; what each leaves out is probed."""
        self.n_samples, self.count = 0, 0.0
        n, _ = self.plan.chunk(1)
        self.passes.begin()
        for piece, targets in self._read(_SORTED_CHUNKS * n):
            with torch.no_grad():
                outputs = torch.cat([self.network(part) for part in cut(piece, n)])
            self.passes.see(Total.of(outputs))
            whole = self.loss.factor(outputs, targets)
            needed = n_kept(whole.sizes(), threshold)
            order = needed.argsort(descending=True, stable=True)
            while len(order):
                most = int(needed[order[0]])
                n_now, k = self.plan.chunk(most + N_PROBES)
                spare = (most - needed[order[:n_now]]).cumsum(0)
                n_now = min(n_now, max(1, int((spare <= _SPARE).sum())))
                now = order[:n_now]
                seen = self._record(select(piece, now), targets[now])
                factor = whole.part(now)
                done = self._take(seen, most, k, last=False, factor=factor)
                noise = torch.randn(N_PROBES, n_now, n_columns, generator=self.generator)
                mixed = factor.mixed(most, noise.to(outputs.device).double())
                for tally, phi, delta in self._back(seen, mixed, done, last=True):
                    tally.add_probes(phi, delta)
                self.advance(n_now)
                order = order[n_now:]
        self.passes.end()

    def _take(
        self, seen: Seen, n_columns: int, k: int, last: bool, factor: Factor | DenseFactor | None = None, sign: int = 1
    ) -> set[int]:
        """The first columns of some samples, k at a time; which layers needed none, and have all of Lambda."""
        done = self._take_last(seen)
        if len(done) == len(self.tallies):
            return done
        factor = factor or self.loss.factor(seen.outputs, seen.targets)
        chain = chain_of(seen.outputs, seen.uses, done) if self.verification.by_hand else None
        for start in range(0, n_columns, k):
            stop = min(start + k, n_columns)
            part = factor.columns(start, stop, seen.outputs.dtype)
            if chain:
                sweep(chain, seen.uses, part, self.plan, self.tallies, sign)
                continue
            for tally, phi, delta in self._back(seen, part, done, last and stop == n_columns):
                tally.add(phi, delta, sign)
        return done

    def _take_last(self, seen: Seen) -> set[int]:
        done: set[int] = set()
        if not isinstance(self.loss, Loss):
            return done
        for index, tally in enumerate(self.tallies):
            phi = seen.uses.last(index, seen.outputs)
            if phi is not None:
                tally.add_last(phi, self.loss.diagonal_and_rank_one(seen.outputs, seen.targets))
                done.add(index)
        return done

    def _back(self, seen: Seen, columns: Tensor, done: set[int], last: bool) -> Iterator[tuple[Tally, Tensor, Tensor]]:
        """Send columns back and hand out phi and delta, one layer after another, some samples at a time."""
        seen.uses.backward(seen.outputs, columns.to(seen.outputs.dtype), not last, done)
        for index, tally in enumerate(self.tallies):
            for phi, delta in seen.uses.joined(index, self.plan.piece(index, len(columns))):
                yield tally, phi, delta

    def _passes(self, n: int) -> Iterator[Seen]:
        """The recorded forward pass of each chunk, the features' scales being known before the first is handed out."""
        kept = self._first_pass(n) if self.normalized else []
        n_kept = len(kept)
        self.passes.begin()
        while kept:
            yield self._counted(kept.pop(0))
        for inputs, targets in islice(self._read(n), n_kept, None):
            yield self._counted(self._record(inputs, targets))
        self.passes.end()

    def _counted(self, seen: Seen) -> Seen:
        self.passes.see(Total.of(seen.outputs))
        return seen

    def _first_pass(self, n: int, sizes: Sizes | None = None) -> list[Seen]:
        """Set the scales (and count column sizes); the recorded passes of the first chunks, if they come first again.

        As many as a quarter of the budget holds.
        """
        moments = [Moments() for _ in self.layers]
        kept: list[Seen] = []
        is_recording = sizes is None
        self.passes.begin()
        for inputs, targets in self._read(n):
            if is_recording and 4 * (self.n_samples + n) * self.plan.saved > self.plan.budget:
                is_recording = False
                if not self.batches.is_repeatable:
                    kept, self.n_samples, self.count = [], 0, 0.0
            with hooked(self.layers, lambda at, module, x, _: moments[at].add(self.layers[at].features(module, x))):
                if is_recording:
                    uses, outputs = self.verification.recorded(inputs)
                else:
                    with torch.no_grad():
                        outputs = self.network(inputs)
            self.passes.see(Total.of(outputs))
            if is_recording:
                kept.append(self._verified(inputs, Seen(uses, outputs, targets)))
            if sizes:
                if not outputs.isfinite().all():
                    raise ValueError("the model's outputs are not finite: no tolerance can be kept")
                some = torch.randperm(len(outputs), generator=self.generator)[:_COUNTED].to(outputs.device)
                sizes.add(self.loss.factor(outputs[some], targets[some]).sizes())
        self.passes.end()
        if self.normalized:
            for tally, layer, moment in zip(self.tallies, self.layers, moments, strict=True):
                if moment.count:
                    tally.scale = moment.deviation().repeat_interleave(layer.window, 1)
                else:  # the layer is not run: what it would read does not vary
                    tally.scale = tally.weight.new_zeros(1, tally.weight.shape[1], dtype=torch.float64)
        return kept

    def _read(self, n: int) -> Iterator[tuple[Inputs, Tensor]]:
        """The data in chunks, the targets of each being checked."""
        for inputs, targets in self.batches.read(self.network.place, n):
            self.loss.check(targets, self.plan.n_outputs)
            yield inputs, targets

    def _record(self, inputs: Inputs, targets: Tensor) -> Seen:
        uses, outputs = self.verification.recorded(inputs)
        return self._verified(inputs, Seen(uses, outputs, targets))

    def _verified(self, inputs: Inputs, seen: Seen) -> Seen:
        """A forward pass that has just been recorded, verified and counted."""
        self.verification.verify(inputs, seen.uses, seen.outputs)
        self.n_samples += len(seen.outputs)
        self.count += self.loss.count(seen.targets)
        return seen
