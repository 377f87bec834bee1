"""Update rules on stacked parameters: every hyperparameter is a vector with one entry a network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

Stack = dict[str, Tensor]  # parameter name -> (networks, *shape)
Rule = Callable[[Stack, Stack, dict[str, Stack], dict[str, Tensor]], None]


def _column(vector: Tensor, like: Tensor) -> Tensor:
    return vector.view(-1, *[1] * (like.ndim - 1))


def _decayed(gradient: Tensor, w: Tensor, hp: dict[str, Tensor]) -> Tensor:
    return torch.addcmul(gradient, w, _column(hp["weight_decay"], w)) if "weight_decay" in hp else gradient


def _sgd(parameters: Stack, gradients: Stack, state: dict[str, Stack], hp: dict[str, Tensor]) -> None:
    """torch.optim.SGD: b <- momentum b + (g + weight_decay w); w <- w - lr b, with b = 0 before the first step."""
    for name, w in parameters.items():
        g = _decayed(gradients[name], w, hp)
        if "momentum" not in hp:  # the buffer would be g itself
            w.addcmul_(g, _column(hp["lr"], w), value=-1)
            continue
        buffer = state["momentum"][name].mul_(_column(hp["momentum"], w)).add_(g)
        w.addcmul_(buffer, _column(hp["lr"], w), value=-1)


def _adam(parameters: Stack, gradients: Stack, state: dict[str, Stack], hp: dict[str, Tensor]) -> None:
    """torch.optim.Adam with its defaults (betas .9 and .999, eps 1e-8); weight decay is added to the gradient."""
    for name, w in parameters.items():
        g = _decayed(gradients[name], w, hp)
        count = state["count"][name].add_(1)
        mean = state["mean"][name].lerp_(g, 0.1)
        square = state["square"][name].mul_(0.999).addcmul_(g, g, value=0.001)
        scale = (square / (1 - 0.999**count)).sqrt_().add_(1e-8)
        w.sub_(_column(hp["lr"], w) * (mean / (1 - 0.9**count)) / scale)


_STATE: dict[str, tuple[str, ...]] = {"sgd": ("momentum",), "adam": ("mean", "square", "count")}
_RULES: dict[str, Rule] = {"sgd": _sgd, "adam": _adam}


def new_state(kind: str, parameters: Stack) -> dict[str, Stack]:
    """Zeroed buffers of a rule: buffer name -> parameter name -> stack."""
    state = {slot: {n: torch.zeros_like(p) for n, p in parameters.items()} for slot in _STATE[kind]}
    if kind == "adam":
        state["count"] = {n: _column(p.new_zeros(len(p)), p) for n, p in parameters.items()}
    return state


def vectors(values: Mapping[str, Sequence[float]], device: str | torch.device) -> dict[str, Tensor]:
    """lr, momentum and weight_decay as vectors; but for lr, left out where all are 0: the same bits in less time."""
    kept = {name: v for name, v in values.items() if name == "lr" or any(v)}
    return {name: torch.tensor(v, device=device) for name, v in kept.items()}


def update(kind: str, parameters: Stack, gradients: Stack, state: dict[str, Stack], hp: dict[str, Tensor]) -> None:
    """One step in place on `parameters` and `state`; `hp` holds vectors of shape (networks,) made by `vectors`."""
    _RULES[kind](parameters, gradients, state, hp)
