"""The losses whose Hessian in the network's outputs is known in closed form, as a factor Lambda_i = S_i S_i^T."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real

import torch
import torch.nn.functional as F
from torch import Tensor

from .loss_factor import DiagonalFactor, Factor, SoftmaxFactor, softmax
from .loss_weights import Weights, checked_weights, like, sample_weights, softmax_scale
from .targets import check_classes, check_probabilities, check_values

LOSSES = ("cross_entropy", "binary_cross_entropy", "squared_error")
_OPTIONS = {
    "label_smoothing": ("cross_entropy",),
    "ignore_index": ("cross_entropy",),
    "weight": ("cross_entropy", "binary_cross_entropy"),
    "pos_weight": ("binary_cross_entropy",),
    "average_outputs": ("binary_cross_entropy", "squared_error"),
}


@dataclass(frozen=True)
class Loss:
    """A mean over samples of one of `LOSSES`, multiplied by `scale`; the options mean what they mean in torch.

    cross_entropy: softmax, int class targets (n,) or probabilities (n, C). `label_smoothing`; `weight` of each class
        and `ignore_index`: the mean is then one by the weights of the samples' classes, that of an ignored one 0.
    binary_cross_entropy: sigmoid of each output, summed over outputs; targets in [0, 1]. `weight` and `pos_weight` of
        each output.
    squared_error: squared differences, summed over outputs; targets (n, C), or int class targets (n,), which stand for
        their one-hot vectors.

    With `average_outputs` the last two are averaged over outputs, not summed: 1 / C times as much. Raises ValueError
    for an option that the loss does not have, or a value that it cannot have.
    """

    name: str
    label_smoothing: float = 0.0
    scale: float = 1.0
    weight: Weights | None = None
    pos_weight: Weights | None = None
    ignore_index: int | None = None
    average_outputs: bool = False

    def __post_init__(self) -> None:
        if self.name not in LOSSES:
            raise ValueError(f"loss {self.name!r} is not one of {', '.join(LOSSES)}")
        for option in ("weight", "pos_weight"):
            if (given := getattr(self, option)) is not None:
                object.__setattr__(self, option, checked_weights(option, given))
        for option, names in _OPTIONS.items():
            if getattr(self, option) != getattr(Loss, option) and self.name not in names:
                raise ValueError(f"{option} is not an option of {self.name}; it is one of {', '.join(names)}")
        if not (isinstance(self.label_smoothing, Real) and 0 <= self.label_smoothing <= 1):
            raise ValueError(f"label_smoothing {self.label_smoothing!r} is not in [0, 1]")
        if not (isinstance(self.scale, Real) and 0 < self.scale < math.inf):
            raise ValueError(f"scale {self.scale!r} is not a positive number")

    def n_columns(self, n_outputs: int) -> int:
        """The rank of Lambda: C - 1 for the softmax, whose Lambda sends (1, ..., 1) to 0; otherwise C."""
        return n_outputs - 1 if self.name == "cross_entropy" else n_outputs

    def sum(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The loss of outputs (n, C), summed over the samples; divide by `count` for L."""
        n_outputs = outputs.shape[1]
        self.check(targets, n_outputs)
        weight, pos_weight = like(outputs, self.weight), like(outputs, self.pos_weight)
        if self.name == "cross_entropy":
            ignored = -100 if self.ignore_index is None else self.ignore_index
            return self.scale * F.cross_entropy(
                outputs, _as_class_target(targets, outputs), weight, ignore_index=ignored,
                label_smoothing=self.label_smoothing, reduction="sum",
            )  # fmt: skip
        if self._takes_classes(targets, n_outputs):
            targets = F.one_hot(targets.long(), n_outputs)
        targets = targets.reshape(outputs.shape).to(outputs.dtype)
        scale = self._scale(n_outputs)
        if self.name == "binary_cross_entropy":
            return scale * F.binary_cross_entropy_with_logits(
                outputs, targets, weight, pos_weight=pos_weight, reduction="sum"
            )
        return scale * (outputs - targets).square().sum()

    def count(self, targets: Tensor) -> float:
        """What the sum over some samples is divided by for their mean: their number, or the sum of their weights."""
        if self.name != "cross_entropy" or targets.is_floating_point():
            return len(targets)
        return float(sample_weights(targets, self.weight, self.ignore_index).sum())

    def check(self, targets: Tensor, n_outputs: int) -> None:
        """Raise ValueError for targets that this loss cannot have with outputs (n, n_outputs)."""
        if self.name == "cross_entropy" and n_outputs < 2:
            raise ValueError(
                f"cross_entropy of {n_outputs} output is 0, whatever it says: binary_cross_entropy and squared_error "
                "are losses of single outputs"
            )
        for option in ("weight", "pos_weight"):
            n_weights = len(getattr(self, option) or ())
            if n_weights not in (0, n_outputs) and not (n_weights == 1 and self.name == "binary_cross_entropy"):
                raise ValueError(f"{option} holds {n_weights} numbers; the model has {n_outputs} outputs")
        if self._takes_classes(targets, n_outputs):
            check_classes(targets, n_outputs, self.ignore_index)
        elif self.name == "cross_entropy":
            check_probabilities(targets, n_outputs)
            if self.ignore_index is not None and self.ignore_index >= 0:
                raise ValueError(
                    f"ignore_index {self.ignore_index} goes with targets that are classes, not with floats"
                )
        else:
            check_values(targets, n_outputs, self.name)

    def _takes_classes(self, targets: Tensor, n_outputs: int) -> bool:
        """Whether targets are classes: ints, for a softmax, or for a squared error of more than one output a sample."""
        if targets.is_floating_point() or self.name == "binary_cross_entropy":
            return False
        return self.name == "cross_entropy" or (n_outputs > 1 and targets.ndim == 1)

    def factor(self, outputs: Tensor, targets: Tensor) -> Factor:
        """S of Lambda_i = S_i S_i^T for outputs (n, C).

        Label smoothing and the targets themselves enter by their weights alone: these losses are linear in the targets.
        """
        wide = outputs.detach().double()
        if self.name == "cross_entropy":
            return SoftmaxFactor.of(wide, self._softmax_scale(targets))
        return DiagonalFactor.of(self._slope(wide, targets))

    def diagonal_and_rank_one(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Lambda_i = diag(a_i) - b_i b_i^T for outputs (n, C): a and b, (n, C).

        In float64 for the softmax: where p is nearly one, p - p^2 in float32 keeps no digit.
        """
        if self.name == "cross_entropy":
            p, scale = softmax(outputs.detach()), self._softmax_scale(targets)
            return (p, p) if isinstance(scale, float) and scale == 1 else (scale * p, scale**0.5 * p)
        slope = self._slope(outputs.detach(), targets)
        return slope, torch.zeros_like(slope)

    def curvature(self, outputs: Tensor, targets: Tensor) -> Callable[[Tensor], Tensor]:
        """Lambda_i of some samples, to be applied to vectors (..., n, C)."""
        if self.name != "cross_entropy":
            slope = self._slope(outputs, targets)
            return lambda vectors: slope * vectors
        p, found = outputs.softmax(1), self._softmax_scale(targets)
        scale = found if isinstance(found, float) else found.to(p.dtype)
        return lambda vectors: scale * (p * (vectors - (p * vectors).sum(-1, keepdim=True)))

    def _scale(self, n_outputs: int) -> float:
        return self.scale / n_outputs if self.average_outputs else self.scale

    def _slope(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The diagonal of Lambda (n, C), for a loss of each output by itself."""
        scale = self._scale(outputs.shape[1])
        if self.name == "squared_error":
            return torch.full_like(outputs, 2 * scale)
        slope = scale * (outputs.sigmoid() * (-outputs).sigmoid())
        if (weight := like(outputs, self.weight)) is not None:
            slope = slope * weight
        if (positive := like(outputs, self.pos_weight)) is not None:
            slope = slope * (1 + (positive - 1) * targets.reshape(outputs.shape).to(outputs.dtype))
        return slope

    def _softmax_scale(self, targets: Tensor) -> float | Tensor:
        """What diag(p) - p p^T is multiplied by: one number for all samples, or (n, 1) float64."""
        by_sample = softmax_scale(targets, self.weight, self.ignore_index, self.label_smoothing)
        return float(self.scale) if by_sample is None else self.scale * by_sample


def _as_class_target(targets: Tensor, outputs: Tensor) -> Tensor:
    return targets.to(outputs.dtype) if targets.is_floating_point() else targets.long()
