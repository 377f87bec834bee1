"""The choice `optimizer`: how a gradient moves stacked weights, as pieces applied in turn to each tensor's gradient.

A piece is `(g, w, slots, c) -> g`: the gradient as it has become, the weights, the optimizer's own buffers of this
tensor, all (networks, *shape), and the coefficients: lr, momentum, weight_decay, of which those that are 0 everywhere
but lr are left out (the same bits in less time), and the optimizer's options; numbers are vectors (networks,). The last
piece moves the weights. Each is torch.optim's of the same name. To add an optimizer, register its pieces here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from study.choice import Registry, number, word

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Stack = dict[str, "Tensor"]  # parameter name -> (networks, *shape)
Piece = Callable[["Tensor", "Tensor", Stack, Mapping[str, Any]], "Tensor"]


@dataclass(frozen=True)
class Optimizer:
    """Pieces, the buffers that they keep (all zero at first), and what the field `momentum` is to them.

    `like` names buffers of a parameter's shape, `counters` those of one number a network.
    """

    pieces: tuple[Piece, ...]
    like: tuple[str, ...] = ()
    counters: tuple[str, ...] = ()
    momentum: Literal["none", "read", "needed"] = "none"

    def start(self, parameters: Stack) -> dict[str, Stack]:
        """Its buffers before the first step: buffer -> parameter name -> stack."""
        import torch

        state = {slot: {n: torch.zeros_like(w) for n, w in parameters.items()} for slot in self.like}
        return state | {s: {n: column(w.new_zeros(len(w)), w) for n, w in parameters.items()} for s in self.counters}

    def move(
        self, parameters: Stack, gradients: Stack, state: dict[str, Stack], coefficients: Mapping[str, Any]
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


def decay(g: Tensor, w: Tensor, slots: Stack, c: Mapping[str, Any]) -> Tensor:
    """Weight decay: g + weight_decay w, or, decoupled from the gradient, w <- w - lr weight_decay w."""
    if "weight_decay" not in c:
        return g
    if c.get("decay") == "decoupled":
        return decay_apart(g, w, slots, c)
    return g.addcmul(w, column(c["weight_decay"], w))


def decay_apart(g: Tensor, w: Tensor, slots: Stack, c: Mapping[str, Any]) -> Tensor:
    """Decoupled weight decay as torch.optim.AdamW's: w <- w (1 - lr weight_decay); the gradient knows nothing of it."""
    if "weight_decay" in c:
        w.mul_(column(1 - c["lr"] * c["weight_decay"], w))
    return g


def accumulate(g: Tensor, w: Tensor, slots: Stack, c: Mapping[str, Any]) -> Tensor:
    """Heavy-ball momentum as torch.optim.SGD's: b <- momentum b + g, with b = 0 before the first step."""
    if "momentum" not in c:  # the buffer would be g itself
        return g
    return slots["momentum"].mul_(column(c["momentum"], w)).add_(g)


def look_ahead(g: Tensor, w: Tensor, slots: Stack, c: Mapping[str, Any]) -> Tensor:
    """Nesterov's momentum as torch.optim.SGD's: b <- momentum b + g, and g + momentum b in the place of b."""
    return g.addcmul(accumulate(g, w, slots, c), column(c["momentum"], w))


def descend(g: Tensor, w: Tensor, slots: Stack, c: Mapping[str, Any]) -> Tensor:
    """w <- w - lr g."""
    w.addcmul_(g, column(c["lr"], w), value=-1)
    return g


def scale_by_moments(g: Tensor, w: Tensor, slots: Stack, c: Mapping[str, Any]) -> Tensor:
    """Adam's direction: mean of g over the root of the mean of g^2, both freed of their start at 0, plus eps."""
    count, beta1, beta2 = slots["count"].add_(1), column(c["beta1"], w), column(c["beta2"], w)
    mean = slots["mean"].mul_(beta1).addcmul_(g, 1 - beta1)
    square = slots["square"].mul_(beta2).addcmul_(g, g * (1 - beta2))
    scale = (square / (1 - beta2**count)).sqrt_().add_(column(c["eps"], w))
    return (mean / (1 - beta1**count)).div_(scale)


def scale_by_root(g: Tensor, w: Tensor, slots: Stack, c: Mapping[str, Any]) -> Tensor:
    """RMSprop's direction: g over the root of the mean of g^2, plus eps."""
    alpha = column(c["alpha"], w)
    square = slots["square"].mul_(alpha).addcmul_(g, g * (1 - alpha))
    return g / square.sqrt().add_(column(c["eps"], w))


# Numbers are torch's own defaults, but for the weight decay of AdamW, which is the field's.
_DECAY = {"decay": word("coupled", "decoupled")}
_EPS = {"eps": number(1e-8, least=0)}
_BETAS = {"beta1": number(0.9, least=0, below=1), "beta2": number(0.999, least=0, below=1), **_EPS}
_ALPHA = {"alpha": number(0.99, least=0, below=1), **_EPS}

_HEAVY_BALL = Optimizer((decay, accumulate, descend), ("momentum",), momentum="read")
_NESTEROV = Optimizer((decay, look_ahead, descend), ("momentum",), momentum="needed")
_ADAM = Optimizer((decay, scale_by_moments, descend), ("mean", "square"), ("count",))
_ADAMW = Optimizer((decay_apart, scale_by_moments, descend), ("mean", "square"), ("count",))
_RMSPROP = Optimizer((decay, scale_by_root, accumulate, descend), ("square", "momentum"), momentum="read")

for _name, _optimizer, _options, _meaning in (
    ("sgd", _HEAVY_BALL, _DECAY, "torch.optim.SGD, with the field `momentum`."),
    ("nesterov", _NESTEROV, _DECAY, "torch.optim.SGD with nesterov=True; needs `momentum`."),
    ("adam", _ADAM, _BETAS, "torch.optim.Adam: weight decay goes into the gradient."),
    ("adamw", _ADAMW, _BETAS, "torch.optim.AdamW: weight decay is decoupled from the gradient."),
    ("rmsprop", _RMSPROP, {**_DECAY, **_ALPHA}, "torch.optim.RMSprop, not centered, with the field `momentum`."),
):
    OPTIMIZERS.add(_name, _optimizer, _options, described_by=_meaning)
