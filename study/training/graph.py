"""One training step recorded as a CUDA graph: a GPU is given it whole, where it waits for one call after another.

A recorded step reads its batch, its time and its noise from tensors that stay where they are; each is copied there
before the step is replayed. The first replay is compared with the step itself, bit for bit. Nothing here needs a GPU
but `record`, and a test gives another in its place.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from study.device import is_out_of_memory
from study.seams.noise import Draw, Noise
from study.seams.optimizer import Stack
from study.seams.schedule import Time
from study.training.stack import State

Work = Callable[[], None]
Record = Callable[[Work], Work]  # gives what does the work again, on the same tensors
WARM_UP = 3  # times that the work is done before: libraries choose their kernels then; as torch's own examples do


@dataclass(frozen=True)
class Given:
    """What a step of a stack is given: which images, (networks, batch), the epoch's noise, and the time."""

    batch: Tensor
    noise: Noise
    time: Time


class NotRecorded(Exception):
    """Why a step cannot be recorded; it has been done nevertheless."""


class HeldNoise(Noise):
    """Another noise's draws of one step, in tensors that stay; `refill` copies those of the next step there."""

    def __init__(self, source: Noise) -> None:
        self._source, self._next, self._open = source, 0, True
        self._held: list[tuple[str, Draw, Tensor]] = []

    def close(self) -> None:
        """No draw is added from here on: the same are given again from the first."""
        self._open = False

    def refill(self, source: Noise) -> None:
        """Draw what a step draws."""
        for purpose, draw, tensor in self._held:
            tensor.copy_(source.drawn(purpose, draw))

    def drawn(self, purpose: str, draw: Draw) -> Tensor:
        """What the step is given: drawn where it asks for the first time, and held."""
        if self._open:
            self._held.append((purpose, draw, self._source.drawn(purpose, draw)))
            return self._held[-1][-1].clone()
        if not self._held:
            raise NotRecorded(f"draws {purpose} in one step and nothing in another")
        purpose_held, _, tensor = self._held[self._next]
        if purpose_held != purpose:
            raise NotRecorded(f"draws {purpose} in one step and {purpose_held} in another")
        self._next = (self._next + 1) % len(self._held)
        return tensor


class RecordedStep:
    """A step of one stack, `step`, which moves `state` in place; making it does the step once.

    Raises NotRecorded, after the step has been done all the same, where recording fails or the first replay differs;
    where several networks have no memory for it that is raised as it is: fewer at a time may have.
    """

    def __init__(self, step: Callable[[Given], None], state: State, given: Given, record: Record) -> None:
        noise, before = HeldNoise(given.noise), state.map(_copied)
        step(replace(given, noise=noise))
        noise.close()
        after = state.map(_copied)
        time, self._epochs_done = given.time, given.time.epochs_done
        part = time.epochs_done.new_zeros(()) + time.part
        held = Time(time.epochs_done.clone(), time.max_epochs.clone(), part, time.n_steps)
        self._held, self._noise = Given(given.batch.clone(), noise, held), noise
        try:
            self._replay = record(lambda: step(self._held))
            _copy(before, state)
            self._replay()
            same = _same_bits(state, after)
        except (RuntimeError, NotRecorded) as error:
            if is_out_of_memory(error) and len(given.batch) > 1:
                raise
            _copy(after, state)
            raise NotRecorded(str(error).strip().partition("\n")[0]) from error
        if not same:
            _copy(after, state)
            raise NotRecorded("the recorded step gives other bits than the step itself")

    def __call__(self, given: Given) -> None:
        """Do the step with another batch, as large as the first."""
        held, time = self._held, given.time
        held.batch.copy_(given.batch)
        held.time.part.fill_(time.part)  # type: ignore[union-attr]  # a tensor here
        if time.epochs_done is not self._epochs_done:  # a new epoch's
            held.time.epochs_done.copy_(time.epochs_done)
            held.time.max_epochs.copy_(time.max_epochs)
            self._epochs_done = time.epochs_done
        self._noise.refill(given.noise)
        self._replay()


def record(work: Work) -> Work:
    """Record work on a GPU after it has been done a few times, on a stream of its own. Raises RuntimeError."""
    here = torch.cuda.current_stream()
    aside = _aside(here.device_index)
    aside.wait_stream(here)
    with torch.cuda.stream(aside):
        for _ in range(WARM_UP):
            work()
    here.wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph, stream=aside, capture_error_mode="thread_local"):
            work()
    finally:
        torch.cuda.set_stream(here)  # a capture that fails raises at its end before it gives the stream back
    here.wait_stream(aside)

    def replay() -> None:
        graph.replay()

    return replay


@functools.cache
def _aside(device_index: int) -> torch.cuda.Stream:
    """One stream a device, for every recording: cuBLAS keeps memory for each stream that it has worked on."""
    return torch.cuda.Stream(device_index)


def _copied(stack: Stack) -> Stack:
    return {name: tensor.clone() for name, tensor in stack.items()}


def _tensors(state: State) -> list[Tensor]:
    stacks = [state.parameters, state.buffers, *state.optimizer.values(), state.mask]
    return [tensor for stack in stacks for tensor in stack.values()]


def _copy(source: State, target: State) -> None:
    for there, here in zip(_tensors(target), _tensors(source), strict=True):
        there.copy_(here)


def _same_bits(a: State, b: State) -> bool:
    """Also where a number is none: a network that diverges is no reason."""
    pairs = zip(_tensors(a), _tensors(b), strict=True)
    return all(torch.equal(x.reshape(-1).view(torch.uint8), y.reshape(-1).view(torch.uint8)) for x, y in pairs)
