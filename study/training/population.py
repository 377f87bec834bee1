"""The resumable training loop: all networks of a shard at once, or one after another, with the same code."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from study.config import RunConfig
from study.data.dataset import Tensors
from study.data.pixels import decoded, rows
from study.loss import mean_loss_and_error
from study.seams.noise import Noise
from study.seams.schedule import Time
from study.seeds import generator_for
from study.storage.atomic import write_tensors
from study.storage.paths import RunPaths
from study.training import checkpoint, saved
from study.training.background import Background
from study.training.checkpoint import Run
from study.training.forward import StackedForward
from study.training.saved import Group
from study.training.stack import State, member, select, stack_states
from study.training.start import build_model, training_labels
from study.training.step import Stepper


class Population:
    """Networks under training, those of one size as a stack; `train` runs to the end, and may be killed at any instant.

    `runs` are the networks of the stack, in order, `state` their tensors; `waiting` those of other sizes. With
    `test_curve` a row of the curve has the test loss and error too, which change nothing else.
    """

    def __init__(
        self, configs: Sequence[RunConfig], paths: Sequence[RunPaths], data: Tensors, device: str, mode: str,
        guard: Callable[[], None], tell: saved.Tell = lambda line: None, test_curve: bool = False,
    ) -> None:  # fmt: skip
        self.test_curve = test_curve
        self.data, self.device, self.mode, self.guard = data, device, mode, guard
        self.shape = configs[0]
        self.n_steps = math.ceil(len(data.train_y) / self.shape.batch_size)
        self.file, self.background = saved.PopulationFile(paths), Background()
        found = saved.load(paths, tell)
        started = [
            checkpoint.resume_or_start(c, p, data, found.get(p.key), guard) for c, p in zip(configs, paths, strict=True)
        ]
        self.runs: list[Run] = []
        self.waiting: list[tuple[Run, State]] = started
        self._enter()

    def _enter(self) -> None:
        """Stack the waiting runs that are of the size of the first of them."""
        hidden = self.waiting[0][0].hidden
        entering = [pair for pair in self.waiting if pair[0].hidden == hidden]
        self.waiting = [pair for pair in self.waiting if pair[0].hidden != hidden]
        template = build_model(self.shape, hidden)
        self.forward = StackedForward(template, self.shape.loss, self.mode, decoded(self.data.train_x[0]))
        self.runs = [run for run, _ in entering]
        self.state = stack_states([state for _, state in entering], self.device)
        self.labels = torch.stack([training_labels(run.config, self.data.train_y) for run in self.runs])
        self.stepper = self._stepper()

    def _stepper(self) -> Stepper:
        return Stepper(self.forward, [run.config for run in self.runs], self.runs[0].hidden, self.device)

    def train(
        self, *, should_stop: Callable[[], bool], on_epoch: Callable[[Sequence[Any]], None], save_every_seconds: float
    ) -> bool:
        """Train every network to its end. False if `should_stop` asked to leave first; all state is then on disk."""
        try:
            ended = self._train(should_stop, on_epoch, save_every_seconds)
        except BaseException:
            self.background.join()  # whoever catches it may let others write
            raise
        self.background.wait()
        return ended

    def _train(
        self, should_stop: Callable[[], bool], on_epoch: Callable[[Sequence[Any]], None], save_every_seconds: float
    ) -> bool:
        saved_at = time.monotonic()
        while self.runs:
            begin = time.perf_counter()
            self._epoch()
            for run in self.runs:
                run.seconds += (time.perf_counter() - begin) / len(self.runs)
            if self.test_curve:
                self._test()
            leaving = should_stop()
            self._retire()
            due = time.monotonic() - saved_at >= save_every_seconds and not self.background.busy
            if (self.runs or self.waiting) and (leaving or due):
                self.save()
                saved_at = time.monotonic()
            on_epoch(self.runs)
            if not self.runs and self.waiting and not leaving:
                self._enter()
            if leaving:
                return not (self.runs or self.waiting)
        return True

    def _epoch(self) -> None:
        config, runs, n = self.shape, self.runs, len(self.data.train_y)
        orders = torch.stack(
            [torch.randperm(n, generator=generator_for(r.config.seed, "order", r.epoch)) for r in runs]
        )
        orders = orders.to(self.device)
        noise = Noise([r.config.seed for r in runs], [r.epoch for r in runs], self.device)
        epochs, ends = ([r.epoch for r in runs], [r.config.max_epochs for r in runs])
        done, last = (torch.tensor(v, dtype=torch.float64, device=self.device) for v in (epochs, ends))
        n_steps = self.n_steps
        checks = {n_steps * k // config.checks_per_epoch for k in range(1, config.checks_per_epoch)} - {0, n_steps}
        for step in range(1, n_steps + 1):
            batch = orders[:, (step - 1) * config.batch_size : step * config.batch_size]
            x, labels = decoded(rows(self.data.train_x, batch)), self.labels.gather(1, batch)
            self.stepper.step(self.state, x, labels, noise, Time(done, last, (step - 1) / n_steps, n_steps))
            for run in runs:
                run.step += 1
            if step in checks:
                self._check([i for i, run in enumerate(runs) if run.near()])
        for run in runs:
            run.epoch += 1
        for run, (loss, error) in zip(runs, self._check(range(len(runs))), strict=True):
            finite = math.isfinite(loss)
            row = {"epoch": run.epoch, "step": run.step, "train_loss": loss if finite else None, "train_error": error}
            run.rows.append(row)

    def _check(self, which: Sequence[int]) -> list[tuple[float, float]]:
        """Full training loss and error of some networks; a stop that is met now gets its snapshot."""
        if not which:
            return []
        n, n_own = len(self.data.train_y), self.data.n_own
        results = own = self._evaluated(which, n)
        at_epoch_end = self.runs[0].step % self.n_steps == 0
        if n_own not in (None, n) and at_epoch_end and any(self.runs[i].open_stops("error") for i in which):
            own = self._evaluated(which, n_own)
        for i, (loss, _), (_, error) in zip(which, results, own, strict=True):
            run = self.runs[i]
            run.last_loss = loss
            for stop in run.meets(loss, error, at_epoch_end):
                run.reached[stop] = {"epoch": run.epoch, "step": run.step, "train_loss": loss}
                self._snapshot(i, stop)
        return results

    def _evaluated(self, which: Sequence[int], n: int | None) -> list[tuple[float, float]]:
        """Loss and error of some networks on the first n training inputs."""
        return self._on(self.data.train_x[:n], self.labels[:, :n], which)

    def _on(self, x: Tensor, labels: Tensor, which: Sequence[int]) -> list[tuple[float, float]]:
        """Loss and error of some networks on inputs x, with labels (networks, n) of them all."""
        parameters, buffers = self.state.parameters, self.state.buffers
        if len(which) < len(self.runs):
            parameters, buffers, labels = select(parameters, which), select(buffers, which), labels[list(which)]
        loss, error = mean_loss_and_error(
            lambda some: self.forward.evaluate(parameters, buffers, decoded(some)), x, labels, self.shape.loss
        )
        return list(zip(loss.tolist(), error.tolist(), strict=True))

    def _test(self) -> None:
        """Put the test loss and error beside those of the epoch that has ended."""
        labels = self.data.test_y.expand(len(self.runs), -1)
        for run, (loss, error) in zip(
            self.runs, self._on(self.data.test_x, labels, range(len(self.runs))), strict=True
        ):
            run.rows[-1] |= {"test_loss": loss if math.isfinite(loss) else None, "test_error": error}

    def _snapshot(self, i: int, stop: str) -> None:
        self.guard()
        write_tensors(self.runs[i].paths.stop(stop).weights, member(self.state.network, i))

    def _retire(self) -> None:
        """End the runs that are done, let those that grow leave, and compact the stack to the others."""
        keep = []
        for i, run in enumerate(self.runs):
            if not math.isfinite(run.last_loss):
                run.status = "diverged"
            elif len(run.reached) == len(run.config.stops):
                run.status = "finished"
            elif run.epoch >= run.config.max_epochs:
                run.status = "not_converged"
            if run.status:
                self._finish(i)
            elif run.widths() != run.hidden:
                self.waiting.append((run, checkpoint.grown(run, self.state.member(i))))
            else:
                keep.append(i)
        if len(keep) < len(self.runs):
            self.runs = [self.runs[i] for i in keep]
            if keep:
                self.state, self.labels = self.state.select(keep), self.labels[keep]
                self.stepper = self._stepper()

    def _finish(self, i: int) -> None:
        run = self.runs[i]
        self.background.wait()  # it may be writing this run's curve
        if run.status == "not_converged":  # a stop that was missed is recorded with the weights of the end
            for stop in run.config.stops:
                if stop not in run.reached:
                    self._snapshot(i, stop)
        n_parameters = sum(tensor[0].numel() for tensor in self.state.parameters.values())
        checkpoint.finish(run, n_parameters, self.device, self.mode, self.guard)

    def save(self) -> None:
        """Copy every network's state, and write it beside the training: from there it goes on to the same bits."""
        runs, guard = [*self.runs, *(run for run, _ in self.waiting)], self.guard
        groups = [Group([run.paths.key], [run.progress()], stack_states([s], "cpu")) for run, s in self.waiting]
        if self.runs:
            keys, progress = [run.paths.key for run in self.runs], [run.progress() for run in self.runs]
            groups.append(Group(keys, progress, self.state.copied()))
        curves = [(run.paths, run.epoch, run.rows) for run in runs]
        for run in runs:
            run.rows = []

        def write() -> None:
            for paths, epoch, lines in curves:
                checkpoint.append_rows(paths, epoch, lines, guard)
            self.file.write(groups, guard)

        self.background.start(write)
