"""Fully connected networks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from study.models.registry import model

if TYPE_CHECKING:
    from torch import nn


@model("mlp")
def mlp(shape: tuple[int, ...], n_classes: int, hidden: tuple[int, ...]) -> nn.Module:
    """Fully connected ReLU network with layers fc1, fc2, ... of widths `hidden`, on flattened inputs."""
    from collections import OrderedDict
    from math import prod

    from torch import nn

    widths = [prod(shape), *hidden, n_classes]
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    for i in range(1, len(widths)):
        layers[f"fc{i}"] = nn.Linear(widths[i - 1], widths[i])
        if i < len(widths) - 1:
            layers[f"relu{i}"] = nn.ReLU()
    return nn.Sequential(layers)
