"""The standard deviation of each input feature of each layer, for the invariant form of relative flatness.

A linear layer's features are its inputs (over samples and, in a sequence, positions); a convolution's are its input
channels (over samples and pixels), so the kernel's columns of a channel share a scale; a norm layer's scale reads
its own normalized channel. A feature that never varies has scale 0: it acts as a bias, and the normalized form
leaves it out.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .contraction import wide

_PIECE = 2**20  # numbers at once: a third of the time of passing over 25,000 x 84 as a whole


class Moments:
    """Running count, mean and sum of squared deviations of features (g, f), in float64 over batches.

    Batches are merged by the update of Chan, Golub and LeVeque 1979, which does not cancel.
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean = torch.zeros(())
        self.spread = torch.zeros(())

    def add(self, values: Tensor) -> None:
        """Take in values (n, g, f, P): n * P observations of each feature."""
        for piece in values.split(max(1, _PIECE // values[0].numel())):
            self._add(piece)

    def _add(self, values: Tensor) -> None:
        values = wide(values)
        count = values.shape[0] * values.shape[3]
        mean = values.mean((0, 3), keepdim=True)
        spread = (values - mean).square_().sum((0, 3)).double()  # half the time of torch.var_mean over these axes
        mean = mean[0, :, :, 0].double()
        if self.count:
            total = self.count + count
            shift = mean - self.mean
            spread = spread + self.spread + shift.square() * (self.count * count / total)
            mean = self.mean + shift * (count / total)
        self.count += count
        self.mean, self.spread = mean, spread

    def deviation(self) -> Tensor:
        """The standard deviation (divisor n) of each feature; 0 for one that does not vary.

        Relative to the mean, so that the rule is the same after a feature is rescaled; 1e-6 is float32's rounding.
        """
        deviation = (self.spread / self.count).sqrt()
        return torch.where(deviation > 1e-6 * self.mean.abs(), deviation, 0.0)
