"""Epochs of a stack: their steps, the checks between and after these, and a snapshot where a stop is met."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from study.data.dataset import Tensors
from study.data.pixels import decoded
from study.loss import mean_loss_and_error
from study.storage.atomic import write_tensors
from study.training.checkpoint import Run
from study.training.forward import StackedForward
from study.training.stack import State, member, select
from study.training.start import with_own_labels
from study.training.steps import Epoch, Steps


@dataclass(frozen=True)
class Epochs:
    """Takes the networks of a stack, `runs`, through epochs: `state` moves in place, and each run says how far it is.

    `labels` (networks, n) are each network's own; `guard` is called before a snapshot is written.
    """

    forward: StackedForward
    steps: Steps
    runs: Sequence[Run]
    state: State
    labels: Tensor
    data: Tensors
    guard: Callable[[], None]

    def train(self) -> None:
        """One epoch of each network, and the row of its curve."""
        runs, n, k = self.runs, len(self.data.train_y), self.runs[0].config.checks_per_epoch
        epoch = Epoch(runs, n, str(self.labels.device))
        checks = {epoch.n_steps * i // k for i in range(1, k)} - {0, epoch.n_steps}
        for step in range(1, epoch.n_steps + 1):
            self.steps(epoch.given(step), epoch.size)
            for run in runs:
                run.step += 1
            if step in checks:
                self.check([i for i, run in enumerate(runs) if run.near()])
        for run in runs:
            run.epoch += 1
        for run, (loss, error) in zip(runs, self.check(range(len(runs)), at_epoch_end=True), strict=True):
            finite = math.isfinite(loss)
            row = {"epoch": run.epoch, "step": run.step, "train_loss": loss if finite else None, "train_error": error}
            run.rows.append(row)

    def check(self, which: Sequence[int], at_epoch_end: bool = False) -> list[tuple[float, float]]:
        """Full training loss and error of some networks; a stop that is met now gets its snapshot."""
        if not which:
            return []
        n, n_own = len(self.data.train_y), self.data.n_own
        results = own = self._on_training(which, n)
        if n_own not in (None, n) and at_epoch_end and any(self.runs[i].open_stops("error") for i in which):
            own = self._on_training(which, n_own)
        for i, (loss, _), (_, error) in zip(which, results, own, strict=True):
            run = self.runs[i]
            run.last_loss = loss
            for stop in run.meets(loss, error, at_epoch_end):
                run.reached[stop] = {"epoch": run.epoch, "step": run.step, "train_loss": loss}
                self.guard()
                write_tensors(run.paths.stop(stop).weights, member(self.state.network, i))
        return results

    def test(self) -> None:
        """Put the test loss and error beside those of the epoch that has ended."""
        labels = torch.stack([with_own_labels(run.config, self.data).test_y for run in self.runs])
        every = self._on(self.data.test_x, labels, range(len(self.runs)))
        for run, (loss, error) in zip(self.runs, every, strict=True):
            run.rows[-1] |= {"test_loss": loss if math.isfinite(loss) else None, "test_error": error}

    def _on_training(self, which: Sequence[int], n: int | None) -> list[tuple[float, float]]:
        """Loss and error of some networks on the first n training inputs."""
        return self._on(self.data.train_x[:n], self.labels[:, :n], which)

    def _on(self, x: Tensor, labels: Tensor, which: Sequence[int]) -> list[tuple[float, float]]:
        """Loss and error of some networks on inputs x, with labels (networks, n) of them all."""
        parameters, buffers = self.state.parameters, self.state.buffers
        if len(which) < len(self.runs):
            parameters, buffers, labels = select(parameters, which), select(buffers, which), labels[list(which)]
        loss, error = mean_loss_and_error(
            lambda some: self.forward.evaluate(parameters, buffers, decoded(some)), x, labels, self.runs[0].config.loss
        )
        return list(zip(loss.tolist(), error.tolist(), strict=True))
