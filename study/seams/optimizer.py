"""Optimizers on stacked parameters: pieces applied in turn to each tensor's gradient; the last one moves the weights.

A piece is `(g, w, slots, c) -> g`: the gradient as it has become, the weights, the optimizer's own buffers of this
tensor, all (networks, *shape), and the coefficients lr, momentum, weight_decay, vectors (networks,) of which those that
are 0 everywhere but lr are left out: the same bits in less time. To add an optimizer, register its pieces here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from study.choice import Registry

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Stack = dict[str, "Tensor"]  # parameter name -> (networks, *shape)
Piece = Callable[["Tensor", "Tensor", Stack, Mapping[str, "Tensor"]], "Tensor"]


@dataclass(frozen=True)
class Optimizer:
    """Pieces, the buffers that they keep (all zero at first), and whether the field `momentum` means something.

    `like` names buffers of a parameter's shape, `counters` those of one number a network.
    """

    pieces: tuple[Piece, ...]
    like: tuple[str, ...] = ()
    counters: tuple[str, ...] = ()
    reads_momentum: bool = False

    def start(self, parameters: Stack) -> dict[str, Stack]:
        """Its buffers before the first step: buffer -> parameter name -> stack."""
        import torch

        state = {slot: {n: torch.zeros_like(w) for n, w in parameters.items()} for slot in self.like}
        return state | {s: {n: column(w.new_zeros(len(w)), w) for n, w in parameters.items()} for s in self.counters}

    def move(
        self, parameters: Stack, gradients: Stack, state: dict[str, Stack], coefficients: Mapping[str, Tensor]
    ) -> None:
        """One step, in place on `parameters` and `state`."""
        for name, w in parameters.items():
            slots, g = {slot: stack[name] for slot, stack in state.items()}, gradients[name]
            for piece in self.pieces:
                g = piece(g, w, slots, coefficients)


OPTIMIZERS: Registry[Optimizer] = Registry("optimizer")


def column(vector: Tensor, like: Tensor) -> Tensor:
    """A vector (networks,) in a shape that multiplies a stack (networks, *shape)."""
    return vector.view(-1, *[1] * (like.ndim - 1))


def vectors(values: Mapping[str, Sequence[float]], device: str | torch.device) -> dict[str, Tensor]:
    """Coefficients as vectors; but for lr, left out where all are 0."""
    import torch

    kept = {name: v for name, v in values.items() if name == "lr" or any(v)}
    return {name: torch.tensor(v, device=device) for name, v in kept.items()}


def decay(g: Tensor, w: Tensor, slots: Stack, c: Mapping[str, Tensor]) -> Tensor:
    """Weight decay as torch.optim's: g + weight_decay w."""
    return g.addcmul(w, column(c["weight_decay"], w)) if "weight_decay" in c else g


def accumulate(g: Tensor, w: Tensor, slots: Stack, c: Mapping[str, Tensor]) -> Tensor:
    """Heavy-ball momentum as torch.optim.SGD's: b <- momentum b + g, with b = 0 before the first step."""
    if "momentum" not in c:  # the buffer would be g itself
        return g
    return slots["momentum"].mul_(column(c["momentum"], w)).add_(g)


def descend(g: Tensor, w: Tensor, slots: Stack, c: Mapping[str, Tensor]) -> Tensor:
    """w <- w - lr g."""
    w.addcmul_(g, column(c["lr"], w), value=-1)
    return g


def adapt(g: Tensor, w: Tensor, slots: Stack, c: Mapping[str, Tensor]) -> Tensor:
    """torch.optim.Adam's step with its defaults: betas .9 and .999, eps 1e-8."""
    count = slots["count"].add_(1)
    mean = slots["mean"].lerp_(g, 0.1)
    square = slots["square"].mul_(0.999).addcmul_(g, g, value=0.001)
    scale = (square / (1 - 0.999**count)).sqrt_().add_(1e-8)
    w.sub_(column(c["lr"], w) * (mean / (1 - 0.9**count)) / scale)
    return g


OPTIMIZERS.add("sgd", Optimizer((decay, accumulate, descend), like=("momentum",), reads_momentum=True))
OPTIMIZERS.add("adam", Optimizer((decay, adapt), like=("mean", "square"), counters=("count",)))
