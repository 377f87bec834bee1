"""The one definition of loss and error: per-sample losses in the model's dtype, summed in float64, in a fixed order."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from study.choice import Registry

if TYPE_CHECKING:
    import torch
    from torch import Tensor

CHUNK = 2048  # inputs a forward pass; part of the definition only through rounding

SampleLoss = Callable[["Tensor", "Tensor"], "Tensor"]
LOSSES: Registry[SampleLoss] = Registry("loss")


def loss(name: str) -> Callable[[SampleLoss], SampleLoss]:
    """Register (logits (*s, C), labels (*s)) -> the loss of each sample (*s)."""

    def register(function: SampleLoss) -> SampleLoss:
        LOSSES.add(name, function)
        return function

    return register


@loss("cross_entropy")
def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """-log softmax(logits)[label]."""
    from torch.nn import functional

    if logits.ndim > 2 and logits.stride(-1) > 1:
        return _cross_entropy_by_class(logits.flatten(0, -2).mT, labels.flatten()).view(labels.shape)
    return functional.cross_entropy(logits.flatten(0, -2), labels.flatten(), reduction="none").view(labels.shape)


def _cross_entropy_by_class(logits: Tensor, labels: Tensor) -> Tensor:
    """Of logits (C, n), each class side by side in memory: measured 5 to 7 times faster for 10 classes, the same bits.

    torch computes the last samples, which fill no vector register, by other code than the rest; here those are zeros.
    """
    from torch.nn import functional

    n = len(labels)
    log_p = functional.pad(logits, (0, -n % 64)).log_softmax(0)[:, :n]
    return -log_p.gather(0, labels.unsqueeze(0)).squeeze(0)


@loss("squared_error")
def squared_error(logits: Tensor, labels: Tensor) -> Tensor:
    """Sum over the C outputs of (logit - onehot)^2."""
    from torch.nn import functional

    return (logits - functional.one_hot(labels, logits.shape[-1]).to(logits.dtype)).square().sum(-1)


@loss("binary_cross_entropy")
def binary_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """-log sigmoid(logit) of class 1, -log sigmoid(-logit) of class 0, of the one output (*s, 1)."""
    from torch.nn import functional

    return cross_entropy(functional.pad(logits, (1, 0)), labels)  # torch's own has a sigmoid; see models/activation.py


def by_class(logits: Tensor, loss: str) -> Tensor:
    """The same logits (networks, n, C), each class side by side in memory where that makes the loss faster."""
    if loss != "cross_entropy" or logits.device.type != "cpu":
        return logits
    return logits.permute(2, 0, 1).contiguous().permute(1, 2, 0)


def mean_loss_gradient(logits: Tensor, labels: Tensor, loss: str) -> Tensor:
    """The gradient of each network's mean loss in its logits (networks, n, C), to the bits of autograd's.

    Cross-entropy takes the operations of torch's own derivative without the graph, whose making is longer for a small
    batch than they are.
    """
    import torch

    if loss != "cross_entropy":
        leaf = logits.detach().requires_grad_()
        return torch.autograd.grad(sample_losses(leaf, labels, loss).mean(-1).sum(), [leaf])[0]
    by_class = logits.stride(-1) > 1
    rows, target = logits.flatten(0, -2), labels.flatten()
    if by_class:
        n, rows = len(target), torch.nn.functional.pad(rows.mT, (0, -len(target) % 64))
    slope, axis = -1 / labels.shape[-1], 0 if by_class else 1
    log_p = rows.log_softmax(axis)
    given = torch.zeros_like(rows)
    (given[:, :n] if by_class else given).scatter_(axis, target.unsqueeze(axis), slope)
    found = torch._log_softmax_backward_data(given, log_p, axis, rows.dtype)
    return (found[:, :n].mT if by_class else found).unflatten(0, labels.shape)


def n_outputs(loss: str, n_classes: int) -> int:
    """How many outputs a network has: one a class, but one in all for `binary_cross_entropy`."""
    return 1 if loss == "binary_cross_entropy" else n_classes


def predicted(logits: Tensor) -> Tensor:
    """The class of the largest of several outputs (*s, C), or by the sign of one (*s, 1): (*s) int64."""
    return logits.argmax(-1) if logits.shape[-1] > 1 else (logits.squeeze(-1) > 0).long()


def sample_losses(logits: Tensor, labels: Tensor, loss: str) -> Tensor:
    """Loss of each sample, shape = labels.shape, for logits of shape (*labels.shape, C). Raises ValueError: no loss."""
    if loss not in LOSSES:
        raise ValueError(f"loss: {loss!r}: allowed: {', '.join(LOSSES)}")
    return LOSSES[loss](logits, labels)


def mean_loss_and_error(
    forward: Callable[[Tensor], Tensor], x: Tensor, labels: Tensor, loss: str, chunk: int = CHUNK
) -> tuple[Tensor, Tensor]:
    """Mean loss and fraction misclassified, float64, over all samples.

    `labels` has shape (n,) or, for a stack of networks, (networks, n); `forward` maps inputs to logits of shape
    (n, C) or (networks, n, C). A NaN logit counts as an error.
    """
    import torch

    losses = errors = torch.zeros((), dtype=torch.float64, device=x.device)
    with torch.no_grad():
        for start in range(0, len(x), chunk):
            logits, y = forward(x[start : start + chunk]), labels[..., start : start + chunk]
            losses = losses + sample_losses(logits, y, loss).sum(-1, dtype=torch.float64)
            logits = logits.contiguous()
            correct = (predicted(logits) == y) & logits.isfinite().all(-1)
            errors = errors + (~correct).sum(-1, dtype=torch.float64)
    return losses / len(x), errors / len(x)


def evaluate(
    model: torch.nn.Module, data: Any, train_labels: Tensor, loss: str
) -> dict[str, dict[str, float | int | None]]:
    """Losses and errors of one network on the data it was trained on (with its own labels), on the test set, and on
    what is held out for validation if anything is. None for a loss that is not finite, as JSON has it."""
    parts = {"train": (data.train_x, train_labels), "test": (data.test_x, data.test_y)}
    if data.validation_x is not None:
        parts["validation"] = (data.validation_x, data.validation_y)
    result: dict[str, dict[str, float | int | None]] = {}
    for name, (x, y) in parts.items():
        mean, error = (part.item() for part in mean_loss_and_error(model, x, y, loss))
        result[name] = {"loss": mean if math.isfinite(mean) else None, "error": error, "n": len(x)}
    return result


def gap(train: Mapping[str, Any], test: Mapping[str, Any], what: str) -> float | None:
    """Test less training "loss" or "error", of parts of `evaluate`; None where one of them is not there."""
    known, other = train.get(what), test.get(what)
    return None if known is None or other is None else float(other - known)
