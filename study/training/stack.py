"""Several networks of one shape as one: every tensor of theirs stacked along a first axis."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from study.config import RunConfig
from study.seams.optimizer import Stack
from study.training.start import build_model


def execution_mode(config: RunConfig, device: str) -> str:
    """How networks of a shard are trained: "stacked" (all in one batch) or "sequential" (one after another).

    On a CPU a stack of convolutions becomes a grouped convolution, measured 1.4 to 1.8 times slower than one
    network after another; one after another, the plain ones among them go by hand (chain.py). Stacked fully
    connected networks are several times faster. On a GPU both are stacked; that was not measured, none was to be
    had. Time beside plain PyTorch that trains one network after another, on one core of an AMD EPYC (`make bench-
    training`): 64 digits networks .12 (.17 through vmap); LeNet5 .77, .74, .67 and .67 at batch 4, 32, 64 and 512
    (1.03, .89, .81, .76 through autograd); NiN .80 and ResNet-20 .86, whose images have the channels of a pixel
    side by side. Both give the same numbers within floating-point rounding.
    """
    convolves = any(isinstance(m, nn.modules.conv._ConvNd) for m in build_model(config).modules())
    return "sequential" if convolves and device == "cpu" else "stacked"


@dataclass
class State:
    """The tensors of one network in training, or of a stack of them with one more axis in front.

    `buffers` are a model's own that its file keeps (running statistics of norm layers); `optimizer` maps a buffer of
    the optimizer or the update to one tensor a parameter; `mask` is empty where all weights live.
    """

    parameters: Stack
    buffers: Stack = field(default_factory=dict)
    optimizer: dict[str, Stack] = field(default_factory=dict)
    mask: Stack = field(default_factory=dict)

    def map(self, change: Callable[[Stack], Stack]) -> State:
        """The same with each group of tensors changed."""
        optimizer = {slot: change(stack) for slot, stack in self.optimizer.items()}
        return State(change(self.parameters), change(self.buffers), optimizer, change(self.mask))

    def select(self, keep: Sequence[int]) -> State:
        """The networks `keep` of a stack, copied."""
        return self.map(lambda stack: select(stack, keep))

    def member(self, i: int) -> State:
        """Network i of a stack, copied to the CPU."""
        return self.map(lambda stack: member(stack, i))

    def copied(self) -> State:
        """The whole stack, copied to the CPU."""
        return self.map(lambda stack: {name: tensor.detach().to("cpu", copy=True) for name, tensor in stack.items()})

    @property
    def network(self) -> Stack:
        """Parameters and buffers: what a file of weights holds and `load_state_dict` reads."""
        return {**self.parameters, **self.buffers}

    def as_dict(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        return {name: getattr(self, name) for name in ("parameters", "buffers", "optimizer", "mask")}


def stack_states(states: Sequence[State], device: str | torch.device) -> State:
    """One stack of several networks."""
    first = states[0]
    optimizer = {slot: stack_tensors([s.optimizer[slot] for s in states], device) for slot in first.optimizer}
    parameters = stack_tensors([s.parameters for s in states], device)
    buffers = stack_tensors([s.buffers for s in states], device)
    return State(parameters, buffers, optimizer, stack_tensors(_whole_masks(states), device))


def joined(first: State, second: State) -> State:
    """Two stacks as one, copied."""

    def both(a: Stack, b: Stack) -> Stack:
        return {name: torch.cat([tensor, b[name]]) for name, tensor in a.items()}

    optimizer = {slot: both(stack, second.optimizer[slot]) for slot, stack in first.optimizer.items()}
    masks = _whole_masks([first, second])
    return State(
        both(first.parameters, second.parameters), both(first.buffers, second.buffers), optimizer, both(*masks)
    )


def _whole_masks(states: Sequence[State]) -> list[Stack]:
    """Masks that name the same parameters in every network: one that a network's own does not name lives whole."""
    masked = {name for state in states for name in state.mask}
    names = [name for name in states[0].parameters if name in masked]
    return [{n: s.mask[n] if n in s.mask else torch.ones_like(s.parameters[n]) for n in names} for s in states]


def stack_tensors(tensors: Sequence[Stack], device: str | torch.device) -> Stack:
    """One stack of several networks' tensors by name."""
    return {name: torch.stack([t[name] for t in tensors]).to(device) for name in tensors[0]}


def select(stack: Stack, keep: Sequence[int]) -> Stack:
    """The networks `keep` of a stack of tensors, copied."""
    if not stack:
        return {}
    index = torch.tensor(list(keep), device=next(iter(stack.values())).device)
    return {name: tensor.index_select(0, index) for name, tensor in stack.items()}


def member(stack: Stack, i: int) -> Stack:
    """Network i of a stack of tensors, copied to the CPU."""
    return {name: tensor[i].detach().cpu().clone() for name, tensor in stack.items()}
