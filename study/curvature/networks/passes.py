"""Is every pass over the data the same? Samples are counted, and outputs summed up, each time."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

# How far outputs of the same samples in other batches may stand apart, relative to the largest, by bytes a number.
# Rounding is a hundredth of it (measured: ResNet-18 in float32, 2e-6).
_NOISE = {8: 1e-9, 4: 1e-4}


def noise(value: Tensor) -> float:
    """What rounding may do to numbers of this dtype, relative to the largest of them."""
    return _NOISE.get(value.element_size(), 5e-2)


@dataclass
class Total:
    """Sums over samples: their number, their outputs and the squares of those, and what the outputs' size allows."""

    n_samples: int
    sums: Tensor  # (2, C) float64
    sizes: Tensor  # (2, C)
    noise: float

    @classmethod
    def of(cls, outputs: Tensor) -> Total:
        """Of some outputs (n, C)."""
        wide = outputs.detach().double()
        squares = wide.square().sum(0)
        sums, sizes = torch.stack([wide.sum(0), squares]), torch.stack([wide.abs().sum(0), squares])
        return cls(len(outputs), sums, sizes, noise(outputs))

    def plus(self, other: Total) -> Total:
        """Of both."""
        n_samples = self.n_samples + other.n_samples
        return Total(n_samples, self.sums + other.sums, self.sizes + other.sizes, self.noise)

    def differs(self, other: Total) -> bool:
        """Whether the outputs are others: rounding is as often up as down, so that its sum grows with the root of n."""
        tolerance = self.noise * (1 / math.sqrt(self.n_samples) + 0.01)
        allowed = tolerance * torch.maximum(self.sizes, other.sizes).amax(1, keepdim=True)
        return bool(((self.sums - other.sums).abs() > allowed).any())


class Passes:
    """The passes over one data set: `begin`, `see` each chunk's outputs in any order, `end`."""

    def __init__(self) -> None:
        self._first: Total | None = None
        self._now: Total | None = None

    @property
    def is_first(self) -> bool:
        """Whether no pass has ended yet."""
        return self._first is None

    def begin(self) -> None:
        """A pass begins."""
        self._now = None

    def see(self, total: Total) -> None:
        """Take in some samples of this pass."""
        self._now = total if self._now is None else self._now.plus(total)

    def end(self) -> None:
        """Raise ValueError where the pass held other samples than the first, or gave other outputs."""
        first, now = self._first, self._now
        counts = [total.n_samples if total else 0 for total in (first, now)]
        if now is None and first is None:
            raise ValueError("data holds no sample")
        if first is None:
            self._first = now
        elif now is None or counts[0] != counts[1]:
            raise ValueError(
                f"data gave {counts[0]} samples in the first pass and {counts[1]} in another: it is read several times "
                f"(a stream behind a DataLoader that can be read once? give its batches as a list)"
            )
        elif now.differs(first):
            raise ValueError(
                "the outputs on the same data differ from pass to pass: the data change (augmentation in the Dataset?) "
                "or the model does (dropout that is always on?)"
            )
