"""A vision transformer (Dosovitskiy et al. 2021, 2010.11929) of plain layers, which vmap can train, as modules."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from study.models.activation import GELU


class Attention(nn.Module):
    """Self-attention of several heads without dropout; written out: the fused kernels have no second derivative."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (n, tokens, width) to the same shape."""
        layers = (self.query, self.key, self.value)
        q, k, v = (layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for layer in layers)
        weights = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)
        result: Tensor = self.out((weights @ v).transpose(1, 2).flatten(2))
        return result


class EncoderBlock(nn.Module):
    """Attention, then a layer four times as wide with GELU, each behind a layer-norm and added to its inputs."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width), Attention(width, heads)
        self.norm2, self.gelu = nn.LayerNorm(width), GELU()
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (n, tokens, width) to the same shape."""
        x = x + self.attention(self.norm1(x))
        result: Tensor = x + self.fc2(self.gelu(self.fc1(self.norm2(x))))
        return result


class VisionTransformer(nn.Module):
    """Patches as tokens, encoder blocks, the mean over tokens, a linear layer.

    Positions are fixed sines and cosines and there is no class token, as in Beyer et al. 2022 (2205.01580): so every
    weight is a layer's. Patches are cut by a change of shape, not by a convolution: a stack of products is fast on a
    CPU too.
    """

    positions: Tensor

    def __init__(
        self, shape: tuple[int, ...], n_classes: int, *, patch: int, depth: int, heads: int, width: int
    ) -> None:
        super().__init__()
        self.patch = patch
        self.embed = nn.Linear(shape[0] * patch**2, width)
        self.register_buffer("positions", _positions(shape[1] // patch, shape[2] // patch, width), persistent=False)
        self.blocks = nn.Sequential(*(EncoderBlock(width, heads) for _ in range(depth)))
        self.norm, self.fc = nn.LayerNorm(width), nn.Linear(width, n_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Images (n, channels, height, width) to logits (n, classes)."""
        n, channels, height, width = x.shape
        cut = x.reshape(n, channels, height // self.patch, self.patch, width // self.patch, self.patch)
        tokens = self.embed(cut.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)) + self.positions
        logits: Tensor = self.fc(self.norm(self.blocks(tokens)).mean(1))
        return logits


def _positions(rows: int, columns: int, width: int) -> Tensor:
    """Sines and cosines of the row and the column of each patch, a quarter of the width each, (patches, width)."""
    frequency = 10_000.0 ** -(torch.arange(width // 4, dtype=torch.float64) / max(width // 4 - 1, 1))
    row, column = torch.meshgrid(torch.arange(rows).double(), torch.arange(columns).double(), indexing="ij")
    angles = [place.reshape(-1, 1) * frequency for place in (column, row)]
    found = torch.cat([f(angle) for angle in angles for f in (torch.sin, torch.cos)], dim=1)
    return found.to(torch.get_default_dtype())
