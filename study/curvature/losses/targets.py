"""What targets a loss may have: others are refused in one line that says what is allowed."""

from __future__ import annotations

import torch
from torch import Tensor

_CROSS_ENTROPY = (
    "cross_entropy takes classes (n,) of an integer type, or probabilities (n, C), none negative, each row with the "
    "sum 1; other numbers go with squared_error"
)
_SUM = 1e-3  # by how much the probabilities of a sample may miss 1: rounding of float32, and of a mixture of samples
_COARSE_SUM = 2e-2  # the same for types of 16 bits


def check_classes(targets: Tensor, n_outputs: int, ignored: int | None = None) -> None:
    """Raise ValueError unless targets are (n,) classes in [0, n_outputs), or `ignored`."""
    n = len(targets)
    if targets.shape != (n,):
        raise ValueError(f"targets have shape {tuple(targets.shape)}; classes have shape ({n},)")
    counted = targets if ignored is None else targets[targets != ignored]
    if counted.numel() and not 0 <= int(counted.min()) <= int(counted.max()) < n_outputs:
        found = f"{int(counted.min())} to {int(counted.max())}"
        raise ValueError(f"targets are classes {found}; the model's {n_outputs} outputs allow 0 to {n_outputs - 1}")


def check_probabilities(targets: Tensor, n_outputs: int) -> None:
    """Raise ValueError unless targets (n, n_outputs) are probabilities of the classes."""
    found = f"targets are {_kind(targets)} of shape {tuple(targets.shape)}"
    if targets.shape != (len(targets), n_outputs):
        raise ValueError(f"{found} for outputs ({len(targets)}, {n_outputs}): {_CROSS_ENTROPY}")
    if not targets.numel():
        return
    if not targets.isfinite().all() or targets.min() < 0:
        raise ValueError(f"{found} and from {_number(targets.min())} to {_number(targets.max())}: {_CROSS_ENTROPY}")
    sums = targets.double().sum(1)
    worst = sums[(sums - 1).abs().argmax()]
    if abs(float(worst) - 1) > (_SUM if targets.element_size() >= 4 else _COARSE_SUM):
        raise ValueError(f"{found}, a row of them with the sum {_number(worst)}: {_CROSS_ENTROPY}")


def check_values(targets: Tensor, n_outputs: int, name: str) -> None:
    """Raise ValueError unless targets are as many finite numbers as outputs; for a sigmoid in [0, 1]."""
    if targets.numel() != len(targets) * n_outputs:
        raise ValueError(f"targets have shape {tuple(targets.shape)}, the outputs ({len(targets)}, {n_outputs})")
    if not targets.numel():
        return
    low, high = targets.min(), targets.max()
    if name == "binary_cross_entropy" and not (low >= 0 and high <= 1):
        raise ValueError(
            f"targets are from {_number(low)} to {_number(high)}: binary_cross_entropy takes probabilities in [0, 1]; "
            "other numbers go with squared_error"
        )
    if not torch.isfinite(targets).all():
        raise ValueError("targets are not finite: squared_error takes finite numbers")


def _kind(targets: Tensor) -> str:
    return str(targets.dtype).removeprefix("torch.")


def _number(value: Tensor) -> str:
    return f"{float(value):.4g}"
