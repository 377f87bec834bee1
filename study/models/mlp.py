"""Fully connected networks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from study.choice import number, word
from study.models.registry import model

if TYPE_CHECKING:
    from torch import nn

ACTIVATIONS = {
    "relu": "ReLU", "tanh": "Tanh", "gelu": "GELU", "silu": "SiLU", "leaky_relu": "LeakyReLU", "softplus": "Softplus",
}  # fmt: skip


@model("mlp", activation=word(*ACTIVATIONS), dropout=number(0.0, least=0, below=1))
def mlp(
    shape: tuple[int, ...], n_classes: int, hidden: tuple[int, ...], *, activation: str, dropout: float
) -> nn.Module:
    """Fully connected network with layers fc1, fc2, ... of widths `hidden`, on flattened inputs.

    Activations are torch.nn's with their defaults; dropout stands after each.
    """
    from collections import OrderedDict
    from math import prod

    from torch import nn

    widths = [prod(shape), *hidden, n_classes]
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    for i in range(1, len(widths)):
        layers[f"fc{i}"] = nn.Linear(widths[i - 1], widths[i])
        if i < len(widths) - 1:
            layers[f"{activation}{i}"] = getattr(nn, ACTIVATIONS[activation])()
            layers[f"dropout{i}"] = nn.Dropout(dropout)
    return nn.Sequential(layers)
