"""The seam `batch`: what a training step sees of its images and labels. Measures and stops see the data as they are.

An entry is `(batch) -> (x, labels)`, of the shapes of `batch.x` and `batch.labels`. All randomness comes from
`batch.noise`, each network's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from study.choice import Option, Registry

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


def batch(name: str, **options: Option) -> Callable[[Seen], Seen]:
    """Register an entry under its name, with its options."""

    def register(function: Seen) -> Seen:
        BATCHES.add(name, function, options, described_by=function)
        return function

    return register


@batch("plain")
def plain(batch: Batch) -> tuple[Tensor, Tensor]:
    """The images as they are."""
    return batch.x, batch.labels
