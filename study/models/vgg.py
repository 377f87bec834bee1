"""Deep plain convolutional networks, with and without batch-norm."""

from __future__ import annotations

from typing import TYPE_CHECKING

from study.choice import ConfigError, integer, number, word
from study.models.norm import MOMENTUM
from study.models.registry import model

if TYPE_CHECKING:
    from torch import nn


@model(
    "vgg",
    min_dimensions=3,
    reads_hidden=False,
    depth=integer(4, least=1),
    width=integer(64, least=1),
    norm=word("batch", "none"),
    dropout=number(0.0, least=0, below=1),
    norm_momentum=MOMENTUM,
)
def vgg(
    shape: tuple[int, ...], n_classes: int, hidden: tuple[int, ...],
    *, depth: int, width: int, norm: str, dropout: float, norm_momentum: float,
) -> nn.Module:  # fmt: skip
    """VGG-like: `depth` blocks of two 3x3 convolutions and max-pooling, widths `width` to 8 times it; a linear layer.

    After Simonyan and Zisserman 2015 (1409.1556), whose networks are deeper: widths double from block to block, ReLU
    follows each convolution, behind batch-norm where there is some. Dropout stands after each block.
    """
    from collections import OrderedDict

    from torch import nn

    from study.models.pooling import HalvingPool

    halvings = min(shape[-2:]).bit_length() - 1
    if depth > halvings:
        allowed = f"allowed: at most {halvings}, as often as {shape[-2]} x {shape[-1]} pixels can be halved"
        raise ConfigError("model.vgg.depth", depth, allowed)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    inputs = shape[0]
    for block in range(1, depth + 1):
        outputs = width * min(2 ** (block - 1), 8)
        for name in (f"{block}_1", f"{block}_2"):
            layers[f"conv{name}"] = nn.Conv2d(inputs, outputs, 3, padding=1)
            if norm == "batch":
                layers[f"norm{name}"] = nn.BatchNorm2d(outputs, momentum=norm_momentum)
            layers[f"relu{name}"] = nn.ReLU()
            inputs = outputs
        layers[f"pool{block}"] = HalvingPool()
        layers[f"dropout{block}"] = nn.Dropout(dropout)
    layers["flatten"] = nn.Flatten()
    layers["fc"] = nn.Linear(inputs * (shape[-2] >> depth) * (shape[-1] >> depth), n_classes)
    return nn.Sequential(layers)
