"""The steps of an epoch of one stack: its batches on the device, and each step done by itself or as it was recorded."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from study.data.pixels import decoded, rows
from study.device import upload
from study.seams.noise import Noise
from study.seams.schedule import Time
from study.seeds import generator_for
from study.training import graph
from study.training.checkpoint import Run
from study.training.graph import Given, NotRecorded, Record, RecordedStep
from study.training.saved import Tell
from study.training.stack import State
from study.training.step import Stepper

# Whole steps of a stack before one is recorded: recording does it six times (itself, warming up, once more, a replay).
# However short the stack's life, that costs no more than the steps which were done without.
WORTH = graph.WARM_UP + 3


class Recording:
    """Whether steps are recorded, by `record`; not any more after one could not be, which `tell` gets to know."""

    def __init__(self, record: Record | None, tell: Tell) -> None:
        self.record, self._tell = record, tell

    def give_up(self, why: NotRecorded) -> None:
        """Do all steps one call after another from here on."""
        self.record = None
        self._tell(f"steps are not recorded as a CUDA graph, which takes more time: {why}")


class Steps:
    """Moves a stack, `state`, with images that all its networks share and labels (networks, n) of their own."""

    def __init__(self, stepper: Stepper, state: State, images: Tensor, labels: Tensor, recording: Recording) -> None:
        self.stepper, self.state, self.images, self.labels = stepper, state, images, labels
        self.recording = recording
        self._recorded: RecordedStep | None = None
        self._n_done = 0  # whole steps that were not recorded

    def __call__(self, given: Given, size: int) -> None:
        """One step, in place on the stack; `size` is that of a whole batch."""
        record, is_whole = self.recording.record, given.batch.shape[1] == size
        if record is None or not is_whole or self._n_done < WORTH:
            self._step(given)
            self._n_done += is_whole
        elif self._recorded is not None:
            self._recorded(given)
        else:
            try:
                self._recorded = RecordedStep(self._step, self.state, given, record)
            except NotRecorded as why:
                self.recording.give_up(why)

    def _step(self, given: Given) -> None:
        x, labels = decoded(rows(self.images, given.batch)), self.labels.gather(1, given.batch)
        self.stepper.step(self.state, x, labels, given.noise, given.time)


class Epoch:
    """What the steps of the next epoch of these runs are given, each run's of its own epoch; `n` images.

    All that comes from a generator is drawn on the CPU, the same for every device, and goes up at once.
    """

    def __init__(self, runs: Sequence[Run], n: int, device: str) -> None:
        config = runs[0].config
        self.size, self.n_steps = config.batch_size, -(-n // config.batch_size)
        orders = [torch.randperm(n, generator=generator_for(r.config.seed, "order", r.epoch)) for r in runs]
        self._orders = upload(torch.stack(orders), device)
        self._noise = Noise([r.config.seed for r in runs], [r.epoch for r in runs], device)
        epochs, ends = [r.epoch for r in runs], [r.config.max_epochs for r in runs]
        self._done, self._last = (upload(torch.tensor(v, dtype=torch.float64), device) for v in (epochs, ends))

    def given(self, step: int) -> Given:
        """Of step 1 to `n_steps`."""
        batch = self._orders[:, (step - 1) * self.size : step * self.size]
        return Given(batch, self._noise, Time(self._done, self._last, (step - 1) / self.n_steps, self.n_steps))
