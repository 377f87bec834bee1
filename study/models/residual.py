"""Residual networks of basic blocks (He et al. 2016, 1512.03385), as modules."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with batch-norm, and around them the inputs themselves: relu(body(x) + shortcut(x))."""

    def __init__(self, inputs: int, outputs: int, stride: int, *, projects: bool, norm_momentum: float) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs, momentum=norm_momentum)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs, momentum=norm_momentum)
        self.shortcut = _shortcut(inputs, outputs, stride, projects, norm_momentum)
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Inputs (n, channels, height, width) to (n, outputs, height / stride, width / stride), rounded up."""
        body = self.norm2(self.conv2(self.relu1(self.norm1(self.conv1(x)))))
        result: Tensor = self.relu2(body + self.shortcut(x))
        return result


def _shortcut(inputs: int, outputs: int, stride: int, projects: bool, norm_momentum: float) -> nn.Module:
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    if not projects:
        return PaddedShortcut(outputs - inputs, stride)
    conv = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs, momentum=norm_momentum))


class PaddedShortcut(nn.Module):
    """Option A of the paper: every `stride`-th pixel, and `more` channels of zeros behind; it has no weights."""

    def __init__(self, more: int, stride: int) -> None:
        super().__init__()
        self.more, self.stride = more, stride

    def forward(self, x: Tensor) -> Tensor:
        """Inputs (n, channels, height, width) to (n, channels + more, height / stride, width / stride), rounded up."""
        return functional.pad(x[..., :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.more))


class ResNet(nn.Module):
    """A 3x3 convolution, stages of `blocks` basic blocks, each stage but the first of stride 2, the mean over pixels.

    `widths` are those of the stages; `projects`: where the shape changes, the shortcut is a 1x1 convolution with
    batch-norm (option B), else PaddedShortcut (option A).
    """

    def __init__(
        self, channels: int, n_classes: int, widths: Sequence[int], blocks: int, *, projects: bool, norm_momentum: float
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, widths[0], 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(widths[0], momentum=norm_momentum)
        self.relu = nn.ReLU()
        self.stages = nn.Sequential()
        inputs = widths[0]
        for stage, outputs in enumerate(widths):
            for block in range(blocks):
                stride = 2 if stage > 0 and block == 0 else 1
                made = BasicBlock(inputs, outputs, stride, projects=projects, norm_momentum=norm_momentum)
                self.stages.add_module(f"block{stage + 1}_{block + 1}", made)
                inputs = outputs
        self.pool, self.flatten = nn.AdaptiveAvgPool2d(1), nn.Flatten()
        self.fc = nn.Linear(inputs, n_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Images (n, channels, height, width) to logits (n, classes)."""
        features = self.stages(self.relu(self.norm(self.conv(x))))
        logits: Tensor = self.fc(self.flatten(self.pool(features)))
        return logits
