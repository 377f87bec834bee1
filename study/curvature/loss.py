"""The losses whose Hessian in the network's outputs is known in closed form, as a factor Lambda_i = S_i S_i^T."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .loss_factor import DiagonalFactor, Factor, SoftmaxFactor, softmax

LOSSES = ("cross_entropy", "binary_cross_entropy", "squared_error")


@dataclass(frozen=True)
class Loss:
    """A mean over samples of one of `LOSSES`.

    cross_entropy: softmax, int class targets (n,) or probabilities (n, C), optional label smoothing.
    binary_cross_entropy: sigmoid of each output, summed over outputs and multiplied by `scale`.
    squared_error: squared differences, summed over outputs and multiplied by `scale`; targets (n, C), or int class
        targets (n,), which stand for their one-hot vectors.
    """

    name: str
    label_smoothing: float = 0.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        if self.name not in LOSSES:
            raise ValueError(f"loss {self.name!r} is not one of {', '.join(LOSSES)}")
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"label_smoothing {self.label_smoothing!r} is not in [0, 1)")

    def n_columns(self, n_outputs: int) -> int:
        """The rank of Lambda: C - 1 for the softmax, whose Lambda sends (1, ..., 1) to 0; otherwise C."""
        return n_outputs - 1 if self.name == "cross_entropy" else n_outputs

    def sum(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The loss of outputs (n, C), summed over the samples; divide by their number for L."""
        self.check(targets, outputs.shape[1])
        if self.name == "cross_entropy":
            return self.scale * F.cross_entropy(
                outputs, _as_class_target(targets, outputs), label_smoothing=self.label_smoothing, reduction="sum"
            )
        if self._takes_classes(targets, outputs.shape[1]):
            targets = F.one_hot(targets.long(), outputs.shape[1])
        targets = targets.reshape(outputs.shape).to(outputs.dtype)
        if self.name == "binary_cross_entropy":
            return self.scale * F.binary_cross_entropy_with_logits(outputs, targets, reduction="sum")
        return self.scale * (outputs - targets).square().sum()

    def check(self, targets: Tensor, n_outputs: int) -> None:
        """Raise ValueError for targets that this loss cannot have with outputs (n, n_outputs)."""
        n = len(targets)
        if self._takes_classes(targets, n_outputs):
            if targets.shape != (n,):
                raise ValueError(f"targets have shape {tuple(targets.shape)}; classes have shape ({n},)")
            if n and not 0 <= int(targets.min()) <= int(targets.max()) < n_outputs:
                found = f"{int(targets.min())} to {int(targets.max())}"
                raise ValueError(
                    f"targets are classes {found}; the model's {n_outputs} outputs allow 0 to {n_outputs - 1}"
                )
        elif targets.numel() != n * n_outputs:
            raise ValueError(f"targets have shape {tuple(targets.shape)}, the outputs ({n}, {n_outputs})")

    def _takes_classes(self, targets: Tensor, n_outputs: int) -> bool:
        """Whether targets are classes: ints, for a softmax, or for a squared error of more than one output a sample."""
        if targets.is_floating_point() or self.name == "binary_cross_entropy":
            return False
        return self.name == "cross_entropy" or (n_outputs > 1 and targets.ndim == 1)

    def factor(self, outputs: Tensor) -> Factor:
        """S of Lambda_i = S_i S_i^T for outputs (n, C).

        Label smoothing and the targets themselves do not enter: each of these losses is linear in its targets.
        """
        wide = outputs.detach().double()
        if self.name == "cross_entropy":
            return SoftmaxFactor.of(wide, self.scale)
        if self.name == "binary_cross_entropy":
            return DiagonalFactor.of(self.scale * wide.sigmoid() * (-wide).sigmoid())
        return DiagonalFactor.of(torch.full_like(wide, 2 * self.scale))

    def diagonal_and_rank_one(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Lambda_i = diag(a_i) - b_i b_i^T for outputs (n, C): a and b, (n, C).

        In float64 for the softmax: where p is nearly one, p - p^2 in float32 keeps no digit.
        """
        if self.name == "cross_entropy":
            p = softmax(outputs.detach())
            return (p, p) if self.scale == 1 else (self.scale * p, self.scale**0.5 * p)
        if self.name == "binary_cross_entropy":
            slope = outputs.detach().sigmoid() * (-outputs.detach()).sigmoid()
            return self.scale * slope, torch.zeros_like(slope)
        return torch.full_like(outputs, 2 * self.scale), torch.zeros_like(outputs)

    def curvature(self, outputs: Tensor, vectors: Tensor) -> Tensor:
        """Lambda_i applied to vectors (..., n, C)."""
        if self.name == "cross_entropy":
            p = outputs.softmax(1)
            product = p * (vectors - (p * vectors).sum(-1, keepdim=True))
        elif self.name == "binary_cross_entropy":
            product = outputs.sigmoid() * (-outputs).sigmoid() * vectors
        else:
            product = 2 * vectors
        return self.scale * product


def resolve_loss(loss: str | Loss | nn.Module) -> Loss:
    """A `Loss` from a name, a Loss or one of torch's loss modules with reduction "mean"; ValueError otherwise."""
    if isinstance(loss, Loss):
        return loss
    if isinstance(loss, str):
        return Loss(loss)
    if isinstance(loss, nn.CrossEntropyLoss):
        is_plain = loss.reduction == "mean" and loss.weight is None and loss.ignore_index < 0
        if is_plain:
            return Loss("cross_entropy", label_smoothing=loss.label_smoothing)
    raise ValueError(f"loss {loss!r} is not one of {', '.join(LOSSES)}, a Loss or nn.CrossEntropyLoss()")


def _as_class_target(targets: Tensor, outputs: Tensor) -> Tensor:
    return targets.to(outputs.dtype) if targets.is_floating_point() else targets.long()
