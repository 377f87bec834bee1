"""Several networks of one shape as one: parameters stacked along a first axis, one forward and one backward for all."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from study.config import RunConfig
from study.loss import sample_losses
from study.models.pooling import HalvingPool
from study.models.registry import build_model
from study.training.update import Stack


def execution_mode(config: RunConfig, device: str) -> str:
    """How networks of a shard are trained: "stacked" (all in one batch) or "sequential" (one after another).

    On a CPU a stack of convolutions becomes a grouped convolution, measured 1.4 to 1.8 times slower than one network
    after another, while stacked fully connected networks are several times faster; on a GPU stacking wins for both.
    Both give the same numbers within floating-point rounding.
    """
    convolves = any(isinstance(m, nn.modules.conv._ConvNd) for m in build_model(config).modules())
    return "sequential" if convolves and device == "cpu" else "stacked"


def stack_states(states: Sequence[Stack], device: str | torch.device) -> Stack:
    """One stack of several networks' tensors."""
    return {name: torch.stack([s[name] for s in states]).to(device) for name in states[0]}


def select(stack: Stack, keep: Sequence[int]) -> Stack:
    """The networks `keep` of a stack, copied."""
    if not stack:
        return {}
    index = torch.tensor(list(keep), device=next(iter(stack.values())).device)
    return {name: tensor.index_select(0, index) for name, tensor in stack.items()}


def member(stack: Stack, i: int) -> Stack:
    """Network i of a stack, copied to the CPU."""
    return {name: tensor[i].detach().cpu().clone() for name, tensor in stack.items()}


class StackedForward:
    """Logits and gradients of a stack of networks of one architecture (no buffers, no randomness in the forward)."""

    def __init__(self, template: nn.Module, loss: str, mode: str) -> None:
        if any(True for _ in template.buffers()):
            raise ValueError(
                f"model: {type(template).__name__}: has buffers, allowed: models whose state is parameters only"
            )
        self.template, self.loss, self.mode = template, loss, mode
        for module in template.modules():
            if isinstance(module, HalvingPool):
                module.first_order = mode == "sequential"
        self.own = dict(template.named_parameters())

    def __call__(self, parameters: Stack, x: Tensor, *, shared: bool) -> Tensor:
        """Logits (networks, n, C); x is (n, *shape) when shared by all networks, else (networks, n, *shape)."""
        if self.mode == "sequential":
            self._point_at(parameters)
            alone: Tensor = self.template(x if shared else x[0])
            return alone.unsqueeze(0)
        forward = vmap(
            lambda p, inputs: functional_call(self.template, p, (inputs,)), in_dims=(0, None if shared else 0)
        )
        logits: Tensor = forward(parameters, x)
        return logits

    def _point_at(self, parameters: Stack) -> None:
        """Let the template's own parameters be the one network's: a small batch costs less than functional_call."""
        for name, own in self.own.items():
            own.data = parameters[name][0]

    def gradients(self, parameters: Stack, x: Tensor, labels: Tensor) -> Stack:
        """Gradient of each network's mean loss over its own batch x (networks, n, *shape), labels (networks, n).

        The networks share nothing, so one backward pass of the summed losses gives every network its own gradient.
        """
        if self.mode == "sequential":
            loss = sample_losses(self(parameters, x, shared=False), labels, self.loss).mean()
            alone = torch.autograd.grad(loss, list(self.own.values()))
            return {name: gradient.unsqueeze(0) for name, gradient in zip(self.own, alone, strict=True)}
        leaves = {name: tensor.detach().requires_grad_() for name, tensor in parameters.items()}
        total = sample_losses(self(leaves, x, shared=False), labels, self.loss).mean(-1).sum()
        return dict(zip(leaves, torch.autograd.grad(total, list(leaves.values())), strict=True))
