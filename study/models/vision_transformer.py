"""Vision transformers for small images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from study.choice import ConfigError, integer
from study.models.registry import model

if TYPE_CHECKING:
    from torch import nn


@model(
    "vit",
    min_dimensions=3,
    reads_hidden=False,
    patch=integer(4, least=1),
    depth=integer(4, least=1),
    heads=integer(4, least=1),
    width=integer(64, least=4),
)
def vit(
    shape: tuple[int, ...], n_classes: int, hidden: tuple[int, ...], *, patch: int, depth: int, heads: int, width: int
) -> nn.Module:
    """Vision transformer: tokens of `width` numbers, each `patch` x `patch` pixels; `depth` blocks of `heads` heads.

    Behind attention a layer four times as wide. After Dosovitskiy et al. 2021, with fixed positions and the mean over
    tokens (Beyer et al. 2022); no dropout.
    """
    if any(side % patch for side in shape[1:]):
        allowed = f"allowed: a divisor of both sides of {shape[1]} x {shape[2]} pixels"
        raise ConfigError("model.vit.patch", patch, allowed)
    if width % heads or width % 4:
        raise ConfigError("model.vit.width", width, f"allowed: a multiple of 4 and of the {heads} heads")
    from study.models.attention import VisionTransformer

    return VisionTransformer(shape, n_classes, patch=patch, depth=depth, heads=heads, width=width)
