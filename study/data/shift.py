"""Shifted test sets: the test images after noise, blur, ..., at five severities, the same for every network.

They are ours, made from the test images and a seed, and not CIFAR-10-C. Levels are ours, too; those in pixels are for
images of 32 x 32, and on much smaller ones the first severities change little.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from study.choice import Registry
from study.seeds import generator_for

if TYPE_CHECKING:
    from torch import Generator, Tensor

SEVERITIES = (1, 2, 3, 4, 5)
_SIDE = 32  # of the images that levels in pixels are meant for; they grow and shrink with the image

# (images (n, c, h, w) in [0, 1], level, generator) -> the same shape, to be cut to [0, 1].
Shift = Callable[["Tensor", float, "Generator"], "Tensor"]
SHIFTS: Registry[tuple[Shift, tuple[float, ...]]] = Registry("shifts")


def shift(name: str, *levels: float) -> Callable[[Shift], Shift]:
    """Register a shift with its level at each severity."""

    def register(function: Shift) -> Shift:
        SHIFTS.add(name, (function, levels), described_by=function)
        return function

    return register


def shifted(x: Tensor, name: str, severity: int) -> Tensor:
    """Test images (n, c, h, w) under a shift. They are brought to [0, 1] by their least and largest value, and back.

    Raises ValueError for what are no images. Draws depend on the shift, the severity and the place in the set alone.
    """
    if x.ndim != 4:
        raise ValueError(
            f"shifts: {tuple(x.shape[1:])}: inputs of one network, allowed: images (channels, rows, columns)"
        )
    function, levels = SHIFTS[name]
    low, high = x.min(), x.max()
    span = (high - low).clamp_min(1e-12)
    images = ((x - low) / span).cpu()
    moved = function(images, levels[severity - 1], generator_for(0, "shift", name, severity))
    return moved.clamp(0, 1).to(x) * span + low


@shift("gaussian_noise", 0.04, 0.08, 0.12, 0.16, 0.20)
def gaussian_noise(x: Tensor, level: float, generator: Generator) -> Tensor:
    """Normal noise on every value, of this standard deviation, black to white being 1."""
    import torch

    return x + level * torch.randn(x.shape, generator=generator)


@shift("blur", 0.5, 0.75, 1.0, 1.5, 2.0)
def blur(x: Tensor, level: float, generator: Generator) -> Tensor:
    """Gaussian blur of this standard deviation in pixels of 32; outside the image is its edge."""
    import torch
    from torch.nn import functional

    sigma = level * x.shape[-1] / _SIDE
    reach = min(math.ceil(3 * sigma), min(x.shape[-2:]) - 1)
    kernel = torch.exp(-torch.arange(-reach, reach + 1).square() / (2 * sigma**2))
    kernel = kernel / kernel.sum()
    flat = x.flatten(0, 1)[:, None]
    wide = functional.pad(flat, (reach,) * 4, mode="replicate")
    rows = functional.conv2d(wide, kernel.view(1, 1, -1, 1))
    return functional.conv2d(rows, kernel.view(1, 1, 1, -1)).view(x.shape)


@shift("contrast", 0.75, 0.6, 0.45, 0.3, 0.15)
def contrast(x: Tensor, level: float, generator: Generator) -> Tensor:
    """What an image differs from its own mean by, times this."""
    mean = x.mean((1, 2, 3), keepdim=True)
    return mean + level * (x - mean)


@shift("brightness", 0.05, 0.1, 0.15, 0.2, 0.3)
def brightness(x: Tensor, level: float, generator: Generator) -> Tensor:
    """Every value and this."""
    return x + level


@shift("pixelate", 0.75, 0.5, 0.375, 0.25, 0.1875)
def pixelate(x: Tensor, level: float, generator: Generator) -> Tensor:
    """Means over fewer pixels, this share of them a side, shown as squares."""
    from torch.nn import functional

    rows, columns = x.shape[-2:]
    small = max(1, round(level * rows)), max(1, round(level * columns))
    return functional.interpolate(functional.adaptive_avg_pool2d(x, small), (rows, columns), mode="nearest-exact")


@shift("rotation", 4, 8, 12, 16, 20)
def rotation(x: Tensor, level: float, generator: Generator) -> Tensor:
    """Turned by this many degrees, each image to a side that is drawn; outside the image is its edge."""
    import torch

    sign = 2.0 * torch.randint(2, (len(x),), generator=generator) - 1
    angle = sign * math.radians(level)
    zero = torch.zeros_like(angle)
    rows = (angle.cos(), -angle.sin(), zero, angle.sin(), angle.cos(), zero)
    return _moved(x, torch.stack(rows, 1).view(-1, 2, 3))


@shift("translation", 1, 2, 3, 4, 5)
def translation(x: Tensor, level: float, generator: Generator) -> Tensor:
    """Moved by this many pixels of 32, each image in a direction that is drawn; outside the image is its edge."""
    import torch

    angle = 2 * math.pi * torch.rand(len(x), generator=generator)
    along, zero = 2 * level / _SIDE, torch.zeros_like(angle)  # an image is 2 wide
    one = zero + 1
    rows = (one, zero, along * angle.cos(), zero, one, along * angle.sin())
    return _moved(x, torch.stack(rows, 1).view(-1, 2, 3))


def _moved(x: Tensor, theta: Tensor) -> Tensor:
    """Images read at other places, between pixels bilinearly."""
    from torch.nn import functional

    grid = functional.affine_grid(theta, list(x.shape), align_corners=False)
    return functional.grid_sample(x, grid, padding_mode="border", align_corners=False)
