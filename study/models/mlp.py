"""Fully connected networks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from study.choice import number, word
from study.models.registry import model

if TYPE_CHECKING:
    from torch import nn


@model(
    "mlp",
    activation=word("relu", "tanh", "gelu", "silu", "leaky_relu", "softplus"),
    dropout=number(0.0, least=0, below=1),
)
def mlp(
    shape: tuple[int, ...], n_classes: int, hidden: tuple[int, ...], *, activation: str, dropout: float
) -> nn.Module:
    """Fully connected network with layers fc1, fc2, ... of widths `hidden`, on flattened inputs.

    Activations are torch.nn's with their defaults, to rounding; dropout stands after each.
    """
    from collections import OrderedDict
    from math import prod

    from torch import nn

    from study.models.activation import ACTIVATIONS

    widths = [prod(shape), *hidden, n_classes]
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    for i in range(1, len(widths)):
        layers[f"fc{i}"] = nn.Linear(widths[i - 1], widths[i])
        if i < len(widths) - 1:
            layers[f"{activation}{i}"] = ACTIVATIONS[activation]()
            layers[f"dropout{i}"] = nn.Dropout(dropout)
    return nn.Sequential(layers)
