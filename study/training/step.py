"""One training step of a stack, through the seams in their order: schedule, batch, objective, update, mask."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from study.config import SEAMS, RunConfig
from study.seams.batch import BATCHES, Batch
from study.seams.noise import Noise
from study.seams.objective import OBJECTIVES, Evaluation
from study.seams.optimizer import OPTIMIZERS, Stack, vectors
from study.seams.schedule import SCHEDULES, Time
from study.seams.update import UPDATES, Step
from study.training.dropout import leave_out, rates
from study.training.forward import StackedForward
from study.training.stack import State
from study.training.start import build_model

STEPPED = ("optimizer", "objective", "update", "schedule", "batch")  # the seams whose options a step reads


def coefficients(configs: Sequence[RunConfig], device: str | torch.device) -> dict[str, dict[str, Any]]:
    """Of a stack: what may differ between its networks as vectors (networks,), the rest as it is; see schedule.py."""
    result: dict[str, dict[str, Any]] = {}
    for seam in STEPPED:
        registry = SEAMS[seam]
        options = [registry.options(getattr(c, seam)) for c in configs]
        stacked = registry.stacked(getattr(configs[0], seam))
        result[seam] = {
            name: torch.tensor([o[name] for o in options], device=device) if name in stacked else value
            for name, value in options[0].items()
        }
        if seam == "schedule":  # what is 0 everywhere is left out, as below: a constant rate takes no time
            result[seam] = {n: v for n, v in result[seam].items() if n not in stacked or any(o[n] for o in options)}
    plain = {name: [getattr(c, name) for c in configs] for name in ("momentum", "weight_decay")}
    rates = {"lr": [c.lr * c.lr_factor for c in configs]}
    result["optimizer"] |= vectors({**rates, **plain}, device)
    return result


def start_optimizer(config: RunConfig, parameters: Stack) -> dict[str, Stack]:
    """The buffers of the optimizer and of the update around it before the first step, for a stack."""
    buffers = UPDATES[config.update.name].buffers
    return OPTIMIZERS[config.optimizer.name].start(parameters) | buffers.start(parameters)


def _dropout_rates(configs: Sequence[RunConfig], hidden: tuple[int, ...], device: str) -> Stack:
    """Of each layer in each network, (networks,): a network is built for each set of a model's options."""
    built = {config.model: config for config in configs}
    networks = {chosen: build_model(config, hidden) for chosen, config in built.items()}
    return rates([networks[config.model] for config in configs], device)


class Stepper:
    """Moves a stack by one batch. `configs` are those of its networks, in order, of one shape, `hidden` its widths."""

    def __init__(
        self, forward: StackedForward, configs: Sequence[RunConfig], hidden: tuple[int, ...], device: str
    ) -> None:
        config = configs[0]
        self.forward = forward
        self.coefficients = coefficients(configs, device)
        self.rates = _dropout_rates(configs, hidden, device) if forward.dropouts else {}
        leave_out(forward.template, forward.dropouts, self.rates)
        self.schedule, self.batch = SCHEDULES[config.schedule.name], BATCHES[config.batch.name]
        self.objective, self.update = OBJECTIVES[config.objective.name], UPDATES[config.update.name]
        self.optimizer = OPTIMIZERS[config.optimizer.name]
        self.slots = (*self.optimizer.like, *self.optimizer.counters)

    def step(self, state: State, x: Tensor, labels: Tensor, noise: Noise, time: Time) -> None:
        """One step in place on `state`, with inputs (networks, n, *shape) and labels (networks, n)."""
        with self.forward.precision.step():
            self._step(state, x, labels, noise, time)

    def _step(self, state: State, x: Tensor, labels: Tensor, noise: Noise, time: Time) -> None:
        now = self.schedule(self.coefficients, time)
        input_gradients = partial(self.forward.input_gradients, state.parameters, state.buffers, labels=labels)
        x, labels = self.batch(Batch(x, labels, now["batch"], noise, input_gradients))
        gradients = self._gradients(state, x, labels, noise, now["objective"])
        own = {slot: state.optimizer[slot] for slot in self.slots}

        def move(found: Stack) -> None:
            self.optimizer.move(state.parameters, found, own, now["optimizer"])

        self.update.apply(Step(state.parameters, gradients, move, state.optimizer, now["update"], noise))
        for name, mask in state.mask.items():
            state.parameters[name].mul_(mask)

    def _gradients(self, state: State, x: Tensor, labels: Tensor, noise: Noise, options: Any) -> Any:
        """The gradient of the objective on this batch as a function of the weights that live; 0 where none does."""
        masks, buffers, mask = self.forward.masks(self.rates, noise, x.shape[1]), state.buffers, state.mask

        def objective(evaluation: Evaluation) -> Tensor:
            return self.objective(evaluation, options)

        def gradients(parameters: Stack) -> Stack:
            nonlocal buffers
            asked = None if self.objective is OBJECTIVES["plain"] else objective
            found = self.forward.gradients(_alive(parameters, mask), buffers, masks, x, labels, asked)
            buffers = {name: tensor.clone() for name, tensor in state.buffers.items()}  # the next calls leave no trace
            return _alive(found, mask)

        return gradients


def _alive(stack: Stack, mask: Stack) -> Stack:
    return {n: t * mask[n] if n in mask else t for n, t in stack.items()} if mask else stack
