"""The resumable training loop: all networks of a shard at once, or one after another, with the same code."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from study.config import RunConfig
from study.data.dataset import Tensors
from study.data.pixels import decoded
from study.device import is_out_of_memory
from study.provenance import provenance
from study.seams.precision import PRECISIONS
from study.storage.atomic import write_tensors
from study.storage.paths import RunPaths
from study.training import checkpoint, saved
from study.training.background import Background
from study.training.capacity import Fit
from study.training.checkpoint import Run
from study.training.epochs import Epochs
from study.training.forward import StackedForward
from study.training.graph import record
from study.training.saved import Group
from study.training.stack import State, joined, stack_states
from study.training.start import build_model, training_labels
from study.training.step import Stepper
from study.training.steps import Recording, Steps


def depends_on_stack(device: str) -> bool:
    """Whether a network's bits depend on how many stand beside it: a GPU chooses kernels by the size of a batch."""
    return device != "cpu"


class Population:
    """Networks under training, as many of one size as fit as a stack; `train` runs to the end, and may be killed.

    `runs` are the networks of the stack, in order, `state` their tensors; `waiting` those of other sizes, and those
    that do not fit: they take the places of networks that end. Where the memory does not last, training goes on from
    the state on disk with half as many at a time. With `test_curve` a row of the curve has the test loss and error too,
    which change nothing else.
    """

    def __init__(
        self, configs: Sequence[RunConfig], paths: Sequence[RunPaths], data: Tensors, device: str, mode: str,
        guard: Callable[[], None], tell: saved.Tell = lambda line: None, test_curve: bool = False,
    ) -> None:  # fmt: skip
        self.test_curve = test_curve
        self.data, self.device, self.mode, self.guard, self.tell = data, device, mode, guard, tell
        self.shape, self.members = configs[0], list(zip(configs, paths, strict=True))
        self.file, self.background = saved.PopulationFile(paths), Background()
        self.recording = Recording(record if device != "cpu" and mode == "stacked" else None, tell)
        self.most = len(configs)  # networks at a time
        self.by_stack = depends_on_stack(device)
        self.runs: list[Run] = []
        self.waiting: list[tuple[Run, State]] = []
        self._begin()

    def _begin(self) -> None:
        """Every network that has not ended, as it was saved or at its start."""
        while self._tried(self._load) is None:
            pass

    def _load(self) -> bool:
        members = [(c, p) for c, p in self.members if not p.outcome.exists()]
        found = saved.load([p for _, p in members], self.tell)
        before = {key: one.progress.get("stack") or {} for key, one in found.items()}
        # As they stood: on a GPU bits depend on the stack. What is new comes after them.
        members.sort(key=lambda pair: before.get(pair[1].key, {}).get("place", len(members)))
        each = [checkpoint.resume_or_start(c, p, self.data, found.get(p.key), self.guard) for c, p in members]
        by = provenance(self.device, self.mode)
        for run, state in each:
            if run.status:  # it was saved at its end, and killed before it said so
                self._end(run, state)
            elif by not in run.trained_by:
                run.trained_by.append(by)
        self.runs, self.waiting = [], [pair for pair in each if not pair[0].status]
        if self.waiting:
            self._enter(before.get(members[0][1].key, {}).get("room"))
            if self.by_stack and not found:
                self.save()  # how many there was room for
        return True

    def _enter(self, room: int | None = None) -> None:
        """Stack waiting runs that are of the size of the first of them, as many as fit, or as there was room for."""
        first, state = self.waiting[0]
        n = sum(run.hidden == first.hidden for run, _ in self.waiting)
        if room is None:
            room = Fit(first.config, first.hidden, state, self.data, self.device).capacity(n)
            if room < min(n, self.most):
                self.tell(
                    f"{room} of {n} networks fit into the memory of {self.device}; the others follow as these end"
                )
        self.room = min(self.most, room)
        entering = self._taken(first.hidden, self.room)
        template = build_model(self.shape, first.hidden)
        example, precision = decoded(self.data.train_x[0]), PRECISIONS[self.shape.precision.name]
        self.forward = StackedForward(template, self.shape.loss, self.mode, example, precision)
        self.runs = [run for run, _ in entering]
        self._stack(stack_states([state for _, state in entering], self.device), self._labels(self.runs))

    def _taken(self, hidden: tuple[int, ...], n: int) -> list[tuple[Run, State]]:
        """The first n waiting runs of a size, which wait no more."""
        taken = [pair for pair in self.waiting if pair[0].hidden == hidden][:n]
        chosen = {run.paths.key for run, _ in taken}
        self.waiting = [pair for pair in self.waiting if pair[0].paths.key not in chosen]
        return taken

    def _labels(self, runs: Sequence[Run]) -> Tensor:
        return torch.stack([training_labels(run.config, self.data.train_y) for run in runs])

    def _stack(self, state: State, labels: Tensor) -> None:
        """Go on with the stack of `runs`."""
        self.state, self.labels = state, labels
        stepper = Stepper(self.forward, [run.config for run in self.runs], self.runs[0].hidden, self.device)
        steps = Steps(stepper, state, self.data.train_x, labels, self.recording)
        self.epochs = Epochs(self.forward, steps, self.runs, state, labels, self.data, self.guard)

    def _tried(self, work: Callable[[], bool]) -> bool | None:
        """What `work` returns; None where there was no memory for it: half as many networks are trained at a time then.

        Raises RuntimeError where one network alone does not fit.
        """
        try:
            return work()
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            n, why = len(self.runs), textwrap.shorten(str(error).partition("\n")[0], 140)
            if n <= 1:
                allowed = f"allowed: networks of which one fits into the memory of {self.device}"
                raise RuntimeError(f"model: {self.shape.model}: {allowed} ({why})") from error
        # Only here is the error gone, and with it what the calls that it came through still held.
        self._let_go()
        self.background.wait()
        self.most = n // 2
        self.tell(f"{n} networks at a time ran out of memory ({why}); {self.most} at a time go on from the last save")
        return None

    def _let_go(self) -> None:
        """Free the stack, and what a recorded step keeps."""
        for name in ("epochs", "state", "labels", "forward"):
            self.__dict__.pop(name, None)

    def train(
        self, *, should_stop: Callable[[], bool], on_epoch: Callable[[Sequence[Any]], None], save_every_seconds: float
    ) -> bool:
        """Train every network to its end. False if `should_stop` asked to leave first; all state is then on disk."""
        try:
            while (ended := self._tried(lambda: self._train(should_stop, on_epoch, save_every_seconds))) is None:
                self._begin()
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
                self.epochs.test()
            leaving = should_stop()
            self._retire()
            due = time.monotonic() - saved_at >= save_every_seconds and not self.background.busy
            if (self.runs or self.waiting) and (leaving or due):
                self.save()
                saved_at = time.monotonic()
            on_epoch(self.runs)
            if not self.runs and self.waiting and not leaving:
                self._let_go()  # before the memory is asked for
                self._enter()
                if self.by_stack:
                    self.save()  # how many there is room for now
            if leaving:
                return not (self.runs or self.waiting)
        return True

    def _epoch(self) -> None:
        self.epochs.train()

    def _retire(self) -> None:
        """End the runs that are done, let those that grow leave, and fill their places."""
        n = len(self.runs)
        for run in self.runs:
            run.status = run.ended
        growing = [i for i, run in enumerate(self.runs) if not run.status and run.widths() != run.hidden]
        self.waiting += [(self.runs[i], checkpoint.grown(self.runs[i], self.state.member(i))) for i in growing]
        self._leave(growing)
        ended = [i for i, run in enumerate(self.runs) if run.status]
        if ended and self.by_stack:
            self.save()  # or a kill between this and the next save would have the others go on in another stack
        for i in ended:
            self._end(self.runs[i], self.state.member(i))
        self._leave(ended)
        if self.runs and len(self.runs) < n:
            self._refill()

    def _leave(self, which: Sequence[int]) -> None:
        keep = [i for i in range(len(self.runs)) if i not in which]
        self.runs = [self.runs[i] for i in keep]
        if which and keep:
            self.state, self.labels = self.state.select(keep), self.labels[keep]

    def _refill(self) -> None:
        """Go on with those that are left, and waiting runs of their size in the places of the others."""
        state, labels = self.state, self.labels
        if entering := self._taken(self.runs[0].hidden, self.room - len(self.runs)):
            new = [run for run, _ in entering]
            state = joined(state, stack_states([state for _, state in entering], self.device))
            labels = torch.cat([labels, self._labels(new)])
            self.runs += new
        self._stack(state, labels)

    def _end(self, run: Run, state: State) -> None:
        self.background.wait()  # it may be writing this run's curve
        if run.status == "not_converged":  # a stop that was missed is recorded with the weights of the end
            for stop in run.config.stops:
                if stop not in run.reached:
                    self.guard()
                    write_tensors(run.paths.stop(stop).weights, state.network)
        n_parameters = sum(tensor.numel() for tensor in state.parameters.values())
        checkpoint.finish(run, n_parameters, self.guard)

    def save(self) -> None:
        """Copy every network's state, and write it beside the training: from there it goes on to the same bits."""
        runs, guard = [*self.runs, *(run for run, _ in self.waiting)], self.guard
        groups = [self._group(0, self.runs, self.state.copied())] if self.runs else []
        for hidden in dict.fromkeys(run.hidden for run, _ in self.waiting):
            these = [pair for pair in self.waiting if pair[0].hidden == hidden]
            state = stack_states([state for _, state in these], "cpu")
            groups.append(self._group(sum(len(g.keys) for g in groups), [run for run, _ in these], state))
        curves = [(run.paths, run.epoch, run.rows) for run in runs]
        for run in runs:
            run.rows = []

        def write() -> None:
            for paths, epoch, rows in curves:
                checkpoint.append_rows(paths, epoch, rows, guard)
            self.file.write(groups, guard)

        self.background.start(write)

    def _group(self, place: int, runs: Sequence[Run], state: State) -> Group:
        """Runs with their state, and where they stand: in the stack, or in the queue behind it."""
        stack = [{"place": place + i, "room": self.room} for i in range(len(runs))]
        progress = [run.progress() | {"stack": at} for run, at in zip(runs, stack, strict=True)]
        return Group([run.paths.key for run in runs], progress, state)
