"""Residual networks for small images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from study.choice import Option, integer
from study.models.norm import MOMENTUM
from study.models.registry import model

if TYPE_CHECKING:
    from torch import nn

DEPTHS = (8, 14, 20, 32, 44, 56, 110)  # 6 n + 2 layers


@model(
    "resnet",
    min_dimensions=3,
    reads_hidden=False,
    depth=Option(20, f"allowed: {', '.join(map(str, DEPTHS))}", lambda v: v in DEPTHS, stacked=False),
    width=integer(16, least=1),
    norm_momentum=MOMENTUM,
)
def resnet(
    shape: tuple[int, ...], n_classes: int, hidden: tuple[int, ...], *, depth: int, width: int, norm_momentum: float
) -> nn.Module:
    """ResNet of He et al. 2016 for CIFAR-10: `depth` layers, widths `width`, 2 and 4 times it; shortcuts of no weights.

    Where a block changes the shape, its shortcut takes every second pixel and adds channels of zeros (their option A).
    """
    from study.models.residual import ResNet

    widths = (width, 2 * width, 4 * width)
    return ResNet(shape[0], n_classes, widths, (depth - 2) // 6, projects=False, norm_momentum=norm_momentum)


@model("resnet18", min_dimensions=3, reads_hidden=False, width=integer(64, least=1), norm_momentum=MOMENTUM)
def resnet18(
    shape: tuple[int, ...], n_classes: int, hidden: tuple[int, ...], *, width: int, norm_momentum: float
) -> nn.Module:
    """ResNet-18 of He et al. 2016 with the first layer 3x3 and no pooling, for 32 x 32; widths `width` to 8 times it.

    Where a block changes the shape, its shortcut is a 1x1 convolution with batch-norm (their option B).
    """
    from study.models.residual import ResNet

    widths = tuple(width * 2**stage for stage in range(4))
    return ResNet(shape[0], n_classes, widths, 2, projects=True, norm_momentum=norm_momentum)
