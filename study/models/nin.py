"""Networks in networks, the architecture of the field's large grids."""

from __future__ import annotations

from typing import TYPE_CHECKING

from study.choice import integer, number
from study.models.norm import MOMENTUM
from study.models.registry import model

if TYPE_CHECKING:
    from torch import nn


@model(
    "nin",
    min_dimensions=3,
    reads_hidden=False,
    depth=integer(2, least=1),
    width=integer(200, least=1),
    dropout=number(0.0, least=0, below=1),
    norm_momentum=MOMENTUM,
)
def nin(
    shape: tuple[int, ...], n_classes: int, hidden: tuple[int, ...],
    *, depth: int, width: int, dropout: float, norm_momentum: float,
) -> nn.Module:  # fmt: skip
    """NiN: `depth` blocks of a 3x3 convolution of stride 2 and two 1x1, `width` channels, each with batch-norm, ReLU.

    A last 1x1 convolution to the classes has them too; then the mean over pixels. As in the code of Dziugaite et al.
    2020 (2010.11924: depth 2 to 6, width 8 to 16 times 25), with biases before batch-norm. Dropout, which Jiang et al.
    2020 vary, stands after each block and drops single numbers, not channels.
    """
    from collections import OrderedDict

    from torch import nn

    layers: OrderedDict[str, nn.Module] = OrderedDict()

    def add(name: str, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        layers[f"conv{name}"] = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2)
        layers[f"norm{name}"] = nn.BatchNorm2d(outputs, momentum=norm_momentum)
        layers[f"relu{name}"] = nn.ReLU()

    for block in range(1, depth + 1):
        add(f"{block}_1", shape[0] if block == 1 else width, width, 3, stride=2)
        add(f"{block}_2", width, width, 1)
        add(f"{block}_3", width, width, 1)
        layers[f"dropout{block}"] = nn.Dropout(dropout)
    add("_out", width, n_classes, 1)
    layers["pool"] = nn.AdaptiveAvgPool2d(1)
    layers["flatten"] = nn.Flatten()
    return nn.Sequential(layers)
