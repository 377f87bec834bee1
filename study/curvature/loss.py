"""The losses whose Hessian in the network's outputs is known in closed form, as a factor Lambda_i = S_i S_i^T."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LOSSES = ("cross_entropy", "binary_cross_entropy", "squared_error")


@dataclass(frozen=True)
class Loss:
    """A mean over samples of one of `LOSSES`.

    cross_entropy: softmax, int class targets (n,) or probabilities (n, C), optional label smoothing.
    binary_cross_entropy: sigmoid of each output, summed over outputs and multiplied by `scale`.
    squared_error: squared differences, summed over outputs and multiplied by `scale`.
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
        if self.name == "cross_entropy":
            return self.scale * F.cross_entropy(
                outputs, _as_class_target(targets, outputs), label_smoothing=self.label_smoothing, reduction="sum"
            )
        targets = targets.reshape(outputs.shape).to(outputs.dtype)
        if self.name == "binary_cross_entropy":
            return self.scale * F.binary_cross_entropy_with_logits(outputs, targets, reduction="sum")
        return self.scale * (outputs - targets).square().sum()

    def columns(self, outputs: Tensor) -> Tensor:
        """S of Lambda_i = S_i S_i^T for outputs (n, C): (k, n, C), largest columns first, in the outputs' dtype.

        Label smoothing and the targets themselves do not enter: each of these losses is linear in its targets.
        """
        wide = outputs.detach().double()
        if self.name == "cross_entropy":
            factor = softmax_factor(wide.softmax(1))
        else:
            slope = (
                wide.sigmoid() * (-wide).sigmoid() if self.name == "binary_cross_entropy" else 2 * torch.ones_like(wide)
            )
            factor = torch.diag_embed(slope.sqrt()).transpose(0, 1)
        return (factor * self.scale**0.5).to(outputs.dtype)

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


def softmax_factor(p: Tensor) -> Tensor:
    """The Cholesky factor of diag(p) - p p^T for probabilities p (n, C), classes taken by falling p: (C - 1, n, C).

    Closed form (Tanabe and Sagae 1992, doi 10.1111/j.2517-6161.1992.tb01875.x): with q_k the mass of the classes after
    the k-th, column k is sqrt(p_k q_k / q_{k-1}) at k and -p_i / q_k times that at every i after k. What is left when
    the columns stop at r is the covariance of the remaining classes, so the first few columns hold nearly all of Lambda
    where p is concentrated.
    """
    ordered, order = p.sort(dim=1, descending=True)
    mass = ordered.flip(1).cumsum(1).flip(1)  # mass[k] = q_{k-1}: summed from the small end, no cancellation
    after = mass[:, 1:]
    pivot = (ordered[:, :-1] * after / mass[:, :-1].clamp_min(torch.finfo(p.dtype).tiny)).sqrt()
    share = torch.where(after[:, :, None] > 0, ordered[:, None, :] / after[:, :, None], 0.0)
    n_classes = p.shape[1]
    rows = torch.eye(n_classes, dtype=p.dtype, device=p.device)[:-1] - share.triu(1)
    factor = torch.zeros_like(rows).scatter(2, order[:, None, :].expand_as(rows), rows * pivot[:, :, None])
    return factor.transpose(0, 1)


def resolve_loss(loss: str | Loss | nn.Module) -> Loss:
    """A `Loss` from a name, a Loss or one of torch's loss modules with reduction "mean"; ValueError otherwise."""
    if isinstance(loss, Loss):
        return loss
    if isinstance(loss, str):
        return Loss(loss)
    is_plain = isinstance(loss, nn.CrossEntropyLoss) and loss.reduction == "mean" and loss.weight is None
    if is_plain and loss.ignore_index < 0:
        return Loss("cross_entropy", label_smoothing=loss.label_smoothing)
    raise ValueError(
        f"loss {loss!r} is not one of {', '.join(LOSSES)}, a study.curvature.Loss or nn.CrossEntropyLoss()"
    )


def _as_class_target(targets: Tensor, outputs: Tensor) -> Tensor:
    return targets.to(outputs.dtype) if targets.is_floating_point() else targets.long()
