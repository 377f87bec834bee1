"""How many networks of a shape a device holds at once: bounded on a CPU, by a trial step of a few on a GPU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from study.config import RunConfig
from study.data.dataset import Tensors
from study.data.pixels import decoded
from study.device import free_bytes, is_out_of_memory
from study.loss import CHUNK, mean_loss_and_error
from study.seams.noise import Noise
from study.seams.precision import PRECISIONS
from study.seams.schedule import Time
from study.training.forward import StackedForward
from study.training.stack import State, stack_states
from study.training.start import build_model
from study.training.step import Stepper

TRIAL = (2, 4)  # networks; of one alone a convolution is another kernel
# Of the free memory; the rest is for copies while the stack changes and while a step is recorded, and fragments; ours.
SHARE = 0.6


@dataclass(frozen=True)
class Fit:
    """What is to fit: a stack of networks like one of this config, these widths and this state, on this data."""

    config: RunConfig
    hidden: tuple[int, ...]
    state: State
    data: Tensors
    device: str

    def capacity(self, n: int) -> int:
        """How many of `n` networks can be trained at once, at least 1; all where nobody knows the memory.

        Costs next to nothing on a CPU; on a GPU a step of 2 and of 4 networks, and an evaluation.
        """
        if n <= max(TRIAL) or (free := free_bytes(self.device)) is None:
            return n
        try:
            each = self.bound() if self.device == "cpu" else self._measured()
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            return 1
        return max(1, min(n, int(SHARE * free / each)))

    def bound(self) -> float:
        """Bytes that a network takes at most, here where an allocator does not count them.

        Its tensors with their gradient and copies, and the outputs of its layers: of a batch, kept for the backward
        pass, or of an evaluation. The tests hold it to what torch's operations make.
        """
        n_in, n_out = self.data.train_x[0].numel(), self._outputs_of_a_sample()
        step = self.config.batch_size * (2 * n_in + 6 * n_out)
        evaluation = min(CHUNK, len(self.data.train_x)) * (n_in + 2 * n_out)
        return 4.0 * max(step, evaluation) + 4.0 * self._own_bytes()

    def _measured(self) -> float:
        """Bytes that a network takes, by what the GPU's allocator counts."""
        self.trial(TRIAL[0])  # libraries take memory of their own at their first use, and keep it
        few, more = (self._taken(k) for k in TRIAL)
        return max((more - few) / (TRIAL[1] - TRIAL[0]), 3.0 * self._own_bytes())

    def _taken(self, k: int) -> int:
        """Bytes that k networks take: theirs, a step's and an evaluation's, as a recorded step keeps its own."""
        own, (step, evaluation) = k * self._own_bytes(), self.works(k)
        return own + self._peak_bytes(step) + self._peak_bytes(evaluation)

    def trial(self, k: int) -> None:
        """Both works of k networks."""
        for work in self.works(k):
            work()

    def works(self, k: int) -> tuple[Callable[[], object], Callable[[], object]]:
        """A training step of k copies of the network, and their loss as at an epoch's end."""
        config, data, device = self.config, self.data, self.device
        stack = stack_states([self.state] * k, device)
        zero, one = (torch.full((k,), v, dtype=torch.float64, device=device) for v in (0.0, 1.0))
        example, precision = decoded(data.train_x[0]), PRECISIONS[config.precision.name]
        stacked = StackedForward(build_model(config, self.hidden), config.loss, "stacked", example, precision)
        stepper, noise = Stepper(stacked, [config] * k, self.hidden, device), Noise([0] * k, [0] * k, device)
        x, y = data.train_x[: config.batch_size], data.train_y[: config.batch_size].expand(k, -1)

        def step() -> None:  # a recorded one keeps its batch, too
            batch = decoded(x.unsqueeze(0).expand(k, *x.shape).contiguous())
            stepper.step(stack, batch, y, noise, Time(zero, one, 0.0, 1))

        def forward(some: Tensor) -> Tensor:
            return stacked.evaluate(stack.parameters, stack.buffers, decoded(some))

        return step, lambda: mean_loss_and_error(
            forward, data.train_x[:CHUNK], data.train_y[:CHUNK].expand(k, -1), config.loss
        )

    def _peak_bytes(self, work: Callable[[], object]) -> int:
        torch.cuda.reset_peak_memory_stats(self.device)
        before = torch.cuda.memory_allocated(self.device)
        work()
        return torch.cuda.max_memory_allocated(self.device) - before

    def _own_bytes(self) -> int:
        state = self.state
        stacks = [state.parameters, state.buffers, state.mask, *state.optimizer.values()]
        return max(1, sum(tensor.nbytes for stack in stacks for tensor in stack.values()))

    def _outputs_of_a_sample(self) -> int:
        """Numbers that the layers of a network give for one input."""
        network = build_model(self.config, self.hidden).eval()
        n = 0

        def count(module: nn.Module, given: Any, made: Any) -> None:
            nonlocal n
            n += made.numel() if isinstance(made, Tensor) else 0

        for module in network.modules():
            module.register_forward_hook(count)
        with torch.no_grad():
            network(decoded(self.data.train_x[:1]).cpu())
        return n
