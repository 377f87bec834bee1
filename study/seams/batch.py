"""The seam `batch`: what a training step sees of its images and labels. Measures and stops see the data as they are.

An entry is `(batch) -> (x, labels)`, of the shapes of `batch.x` and `batch.labels`. All randomness comes from
`batch.noise`, each network's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from study.choice import Check, ConfigError, Option, Registry, Value, integer, number

if TYPE_CHECKING:
    from torch import Tensor

    from study.seams.noise import Noise


@dataclass(frozen=True)
class Batch:
    """Inputs (networks, n, *shape) and labels (networks, n) of one step.

    `input_gradients(x)` is the gradient of each sample's loss with respect to its input, in evaluation mode, at the
    weights before the step; `options` holds vectors (networks,) or plain values.
    """

    x: Tensor
    labels: Tensor
    options: Mapping[str, Any]
    noise: Noise
    input_gradients: Callable[[Tensor], Tensor]


Seen = Callable[[Batch], "tuple[Tensor, Tensor]"]
BATCHES: Registry[Seen] = Registry("batch")


def batch(name: str, *, check: Check | None = None, **options: Option) -> Callable[[Seen], Seen]:
    """Register an entry under its name, with its options and what it cannot go with."""

    def register(function: Seen) -> Seen:
        BATCHES.add(name, function, options, described_by=function, check=check)
        return function

    return register


@batch("plain")
def plain(batch: Batch) -> tuple[Tensor, Tensor]:
    """The images as they are."""
    return batch.x, batch.labels


def _images_hold(options: Mapping[str, Value], run: Mapping[str, Any]) -> None:
    shape = run["shape"]
    if len(shape) != 3:
        raise ConfigError("batch", "augment", f"needs images (channels, height, width); {run['dataset']} has {shape}")
    for name in ("crop", "cutout"):
        if int(options[name]) >= min(shape[1:]):
            text = f"allowed: less than the side of the image, {min(shape[1:])}"
            raise ConfigError(f"batch.augment.{name}", options[name], text)


@batch("augment", check=_images_hold, crop=integer(4), flip=number(0.5, least=0, below=1), cutout=integer(0))
def augment(batch: Batch) -> tuple[Tensor, Tensor]:
    """Images shifted by up to `crop` pixels, mirrored with probability `flip`, and a square of side `cutout` blank.

    A shift cuts the image at random out of itself with `crop` zeros around; the centre of the square is any pixel, so
    that part of it may lie outside. All is drawn anew for each image and step. Costs one pass over the batch.
    """
    (n, channels, height, width), draw = batch.x.shape[1:], batch.noise.uniform
    crop, cutout = int(batch.options["crop"]), int(batch.options["cutout"])
    rows, columns = _indices(height, batch.x), _indices(width, batch.x)
    if cutout:
        centre = draw("cutout", (n, 2))
        top, left = ((centre[..., i, None] * side).long() - cutout // 2 for i, side in enumerate((height, width)))
        blank = _cross(_inside(rows - top, cutout), _inside(columns - left, cutout))
    if crop:
        shift = (draw("crop", (n, 2)) * (2 * crop + 1)).long() - crop
        rows, columns = rows + shift[..., :1], columns + shift[..., 1:]
    mirrored = draw("flip", (n,)) < batch.options["flip"].view(-1, 1)
    columns = columns.flip(-1).where(mirrored.unsqueeze(-1), columns)
    seen = _cross(_inside(rows, height), _inside(columns, width))
    if cutout:
        seen &= ~blank
    place = rows.clamp(0, height - 1).unsqueeze(-1) * width + columns.clamp(0, width - 1).unsqueeze(-2)
    place = place.flatten(2).unsqueeze(2).expand(-1, -1, channels, -1)
    return batch.x.flatten(3).gather(3, place).view(batch.x.shape) * seen.unsqueeze(2), batch.labels


def _indices(side: int, like: Tensor) -> Tensor:
    """0 to side - 1 for each image, (networks, n, side)."""
    import torch

    return torch.arange(side, device=like.device).expand(*like.shape[:2], side)


def _inside(index: Tensor, side: int) -> Tensor:
    return (index >= 0) & (index < side)


def _cross(rows: Tensor, columns: Tensor) -> Tensor:
    """Where both hold: (..., height) and (..., width) to (..., height, width)."""
    return rows.unsqueeze(-1) & columns.unsqueeze(-2)
