"""The resumable training loop: all networks of a shard at once, or one after another, with the same code."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from study.config import RunConfig
from study.data.dataset import Tensors, training_labels
from study.loss import mean_loss_and_error
from study.models.registry import build_model
from study.names import Stop
from study.provenance import provenance
from study.seeds import generator_for
from study.storage.atomic import read_tensors, write_bytes, write_json, write_tensors
from study.storage.paths import RunPaths
from study.training.stack import StackedForward, member, select, stack_states
from study.training.update import Stack, new_state, update, vectors

NEAR = 2.0  # within this factor of a loss stop the loss is checked `checks_per_epoch` times an epoch


@dataclass
class _Run:
    """Train state of one network apart from its tensors."""

    config: RunConfig
    paths: RunPaths
    epoch: int = 0
    step: int = 0
    last_loss: float = math.inf
    reached: dict[str, dict[str, float]] = field(default_factory=dict)
    rows: list[dict[str, float | None]] = field(default_factory=list)  # epochs not yet on disk
    seconds: float = 0.0
    status: str = ""

    def open_stops(self, kind: str) -> list[tuple[float, str]]:
        """Stops of a kind that are still to be met, the next one first."""
        missing = [Stop.parse(s) for s in self.config.stops if s not in self.reached]
        return [(s.value, s.text) for s in sorted(missing, key=lambda s: s.rank) if s.kind == kind]

    def near(self) -> bool:
        """Whether the next loss stop is close enough to look more often than at epoch ends."""
        stops = self.open_stops("loss")
        return bool(stops) and self.last_loss <= NEAR * stops[0][0]


class Population:
    """A stack of networks under training; `train` runs it to the end, and may be killed at any instant."""

    def __init__(
        self, configs: Sequence[RunConfig], paths: Sequence[RunPaths], data: Tensors, device: str, mode: str,
        guard: Callable[[], None],
    ) -> None:  # fmt: skip
        self.data, self.device, self.mode, self.guard = data, device, mode, guard
        self.shape = configs[0]
        self.forward = StackedForward(build_model(self.shape).to(device).eval(), self.shape.loss, mode)
        self.runs, states = [], []
        for config, path in zip(configs, paths, strict=True):
            run, state = _load_or_start(config, path, guard)
            self.runs.append(run)
            states.append(state)
        self.parameters = stack_states([s["parameters"] for s in states], device)
        self.optimizer = {
            slot: stack_states([s["optimizer"][slot] for s in states], device) for slot in states[0]["optimizer"]
        }
        self.labels = torch.stack([training_labels(c, data.train_y) for c in configs])
        self._set_hyperparameters()

    def _set_hyperparameters(self) -> None:
        names = ("lr", "momentum", "weight_decay")
        self.hp = vectors({name: [getattr(r.config, name) for r in self.runs] for name in names}, self.device)

    def train(
        self, *, should_stop: Callable[[], bool], on_epoch: Callable[[Sequence[Any]], None], save_every_seconds: float
    ) -> bool:
        """Train every network to its end. False if `should_stop` asked to leave first; all state is then on disk."""
        saved = time.monotonic()
        while self.runs:
            begin = time.perf_counter()
            self._epoch()
            for run in self.runs:
                run.seconds += (time.perf_counter() - begin) / len(self.runs)
            leaving = should_stop()
            self._retire()
            if self.runs and (leaving or time.monotonic() - saved >= save_every_seconds):
                self.save()
                saved = time.monotonic()
            on_epoch(self.runs)
            if leaving:
                return not self.runs
        return True

    def _epoch(self) -> None:
        config, n = self.shape, len(self.data.train_y)
        orders = torch.stack(
            [torch.randperm(n, generator=generator_for(r.config.seed, "order", r.epoch)) for r in self.runs]
        )
        orders = orders.to(self.device)
        n_steps = math.ceil(n / config.batch_size)
        checks = {n_steps * k // config.checks_per_epoch for k in range(1, config.checks_per_epoch)} - {0, n_steps}
        for step in range(1, n_steps + 1):
            batch = orders[:, (step - 1) * config.batch_size : step * config.batch_size]
            gradients = self.forward.gradients(self.parameters, self.data.train_x[batch], self.labels.gather(1, batch))
            with torch.no_grad():
                update(config.optimizer, self.parameters, gradients, self.optimizer, self.hp)
            for run in self.runs:
                run.step += 1
            if step in checks:
                self._check([i for i, run in enumerate(self.runs) if run.near()])
        for run in self.runs:
            run.epoch += 1
        for run, (loss, error) in zip(self.runs, self._check(range(len(self.runs))), strict=True):
            finite = math.isfinite(loss)
            row = {"epoch": run.epoch, "step": run.step, "train_loss": loss if finite else None, "train_error": error}
            run.rows.append(row)

    def _check(self, which: Sequence[int]) -> list[tuple[float, float]]:
        """Full training loss and error of some networks; a stop that is met now gets its snapshot."""
        if not which:
            return []
        whole = len(which) == len(self.runs)
        parameters = self.parameters if whole else select(self.parameters, which)
        labels = self.labels if whole else self.labels[list(which)]
        loss, error = mean_loss_and_error(
            lambda x: self.forward(parameters, x, shared=True), self.data.train_x, labels, self.shape.loss
        )
        results = list(zip(loss.tolist(), error.tolist(), strict=True))
        at_epoch_end = self.runs[0].step % math.ceil(len(self.data.train_y) / self.shape.batch_size) == 0
        for i, (value, _) in zip(which, results, strict=True):
            run = self.runs[i]
            run.last_loss = value
            met = [stop for target, stop in run.open_stops("loss") if value <= target]
            if at_epoch_end:
                met += [
                    stop for target, stop in run.open_stops("epoch") if run.epoch >= target and math.isfinite(value)
                ]
            for stop in met:
                run.reached[stop] = {"epoch": run.epoch, "step": run.step, "train_loss": value}
                self._snapshot(i, stop)
        return results

    def _snapshot(self, i: int, stop: str) -> None:
        self.guard()
        write_tensors(self.runs[i].paths.stop(stop).weights, member(self.parameters, i))

    def _retire(self) -> None:
        """End the runs that are done, and compact the stack to the others."""
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
            else:
                keep.append(i)
        if len(keep) < len(self.runs):
            self.runs = [self.runs[i] for i in keep]
            if keep:
                self.parameters, self.labels = select(self.parameters, keep), self.labels[keep]
                self.optimizer = {slot: select(stack, keep) for slot, stack in self.optimizer.items()}
                self._set_hyperparameters()

    def _finish(self, i: int) -> None:
        run = self.runs[i]
        if run.status == "not_converged":  # a stop that was missed is recorded with the weights of the end
            for stop in run.config.stops:
                if stop not in run.reached:
                    self._snapshot(i, stop)
        self._append_rows(run)
        end = {
            "epoch": run.epoch,
            "step": run.step,
            "train_loss": run.last_loss if math.isfinite(run.last_loss) else None,
        }
        self.guard()
        n_parameters = sum(tensor[0].numel() for tensor in self.parameters.values())
        outcome = {
            "status": run.status,
            "n_parameters": n_parameters,
            "end": end,
            "reached": run.reached,
            "seconds": run.seconds,
        }
        write_json(run.paths.outcome, {**outcome, "provenance": provenance(self.device, self.mode)})
        run.paths.state.unlink(missing_ok=True)

    def save(self) -> None:
        """Write every network's state, from which training goes on to the same bits."""
        for i, run in enumerate(self.runs):
            self._append_rows(run)
            self.guard()
            progress = {"epoch": run.epoch, "step": run.step, "last_loss": run.last_loss, "reached": run.reached,
                        "seconds": run.seconds}  # fmt: skip
            optimizer = {slot: member(stack, i) for slot, stack in self.optimizer.items()}
            write_tensors(
                run.paths.state, {**progress, "parameters": member(self.parameters, i), "optimizer": optimizer}
            )

    def _append_rows(self, run: _Run) -> None:
        """Bring epochs.jsonl up to the state that is written next; epochs beyond the state of a killed run are cut."""
        self.guard()
        old = run.paths.epochs.read_bytes() if run.paths.epochs.exists() else b""
        new = "".join(json.dumps(row, allow_nan=False) + "\n" for row in run.rows)
        write_bytes(
            run.paths.epochs, b"".join(old.splitlines(keepends=True)[: run.epoch - len(run.rows)]) + new.encode()
        )
        run.rows = []


def _load_or_start(config: RunConfig, paths: RunPaths, guard: Callable[[], None]) -> tuple[_Run, dict[str, Any]]:
    """A run as its checkpoint left it, or at its start, with its initial weights on disk."""
    run = _Run(config, paths)
    if paths.state.exists():
        state = read_tensors(paths.state)
        run.epoch, run.step, run.last_loss = state["epoch"], state["step"], state["last_loss"]
        run.reached, run.seconds = dict(state["reached"]), state["seconds"]
        return run, state
    parameters: Stack = {name: p.detach().clone() for name, p in build_model(config).named_parameters()}
    guard()
    write_tensors(paths.init, parameters)
    one = {name: p.unsqueeze(0) for name, p in parameters.items()}
    optimizer = {slot: member(stack, 0) for slot, stack in new_state(config.optimizer, one).items()}
    return run, {"parameters": parameters, "optimizer": optimizer}
