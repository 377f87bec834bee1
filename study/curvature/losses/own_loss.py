"""A loss of one's own: any function of outputs and targets, its Hessian in the outputs taken by autograd."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .dense_factor import DenseFactor

_SINGLES = 4  # samples of each chunk on which the loss is called one by one
_TOLERANCE = 1e-4  # of the sum of the parts, by which a mean over samples may miss them: rounding


@dataclass(frozen=True)
class OwnLoss:
    """The mean over samples of a loss that a function gives: function(outputs (n, C), targets) is one number.

    It must be the mean of what it is for each sample alone, which is checked on every chunk of the data. For a network
    of one output a sample whose targets are (n,), it is given outputs (n,): no loss is then broadcast to (n, n).
    """

    function: Callable[[Tensor, Tensor], Tensor]

    @property
    def name(self) -> str:
        """What errors call it."""
        return getattr(self.function, "__name__", type(self.function).__name__)

    def n_columns(self, n_outputs: int) -> int:
        """The largest rank of Lambda."""
        return n_outputs

    @staticmethod
    def held_bytes(n_outputs: int) -> int:
        """Bytes for one sample's Hessian, its eigenvectors, and what they are made from."""
        return 6 * 8 * n_outputs**2

    def check(self, targets: Tensor, n_outputs: int) -> None:
        """Which targets there may be, only the function itself can say."""

    def count(self, targets: Tensor) -> float:
        """How many samples these are."""
        return len(targets)

    def sum(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The loss of outputs (n, C), summed over the samples."""
        self._check_mean(outputs.detach(), targets)
        return len(outputs) * self._mean(outputs, targets)

    def hessian(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Lambda_i of each sample, (n, C, C), from C backward passes through the loss."""
        self._check_mean(outputs.detach(), targets)
        try:
            matrix = torch.stack(self._rows(outputs.detach().clone().requires_grad_(), targets), 1).detach()
        except RuntimeError as error:
            raise ValueError(f"loss {self.name} cannot be differentiated twice: {error}") from error
        return (matrix + matrix.transpose(1, 2)) / 2

    def _rows(self, free: Tensor, targets: Tensor) -> list[Tensor]:
        """Of each Lambda_i the C rows: the samples do not meet in the loss, so one backward pass gives a row of all."""
        with torch.enable_grad():
            total = len(free) * self._mean(free, targets)
            gradient = torch.zeros_like(free)
            if total.requires_grad:
                (gradient,) = torch.autograd.grad(total, free, create_graph=True, materialize_grads=True)
            if not gradient.requires_grad:  # the loss is linear
                return [gradient * 0] * free.shape[1]
            columns = [column.sum() for column in gradient.unbind(1)]
            return [torch.autograd.grad(c, free, retain_graph=True, materialize_grads=True)[0] for c in columns]

    def factors(self, outputs: Tensor, targets: Tensor) -> tuple[DenseFactor, DenseFactor]:
        """S and R of Lambda_i = S_i S_i^T - R_i R_i^T: R is without columns where the loss is convex."""
        return DenseFactor.both(self.hessian(outputs, targets))

    def factor(self, outputs: Tensor, targets: Tensor) -> DenseFactor:
        """S of Lambda_i = S_i S_i^T; ValueError where there is none, the loss not being convex in the outputs."""
        positive, negative = self.factors(outputs, targets)
        if negative.n_columns:
            raise ValueError(
                f"loss {self.name} is not convex in the outputs: columns must be 'exact', which adds up both signs"
            )
        return positive

    def curvature(self, outputs: Tensor, targets: Tensor) -> Callable[[Tensor], Tensor]:
        """Lambda_i of some samples, to be applied to vectors (..., n, C)."""
        hessian = self.hessian(outputs, targets)
        return lambda vectors: torch.einsum("ncd,...nd->...nc", hessian, vectors)

    def _mean(self, outputs: Tensor, targets: Tensor) -> Tensor:
        if targets.is_floating_point():
            targets = targets.to(outputs.dtype)
        is_single = outputs.shape[1] == 1 and targets.ndim == 1
        value = self.function(outputs[:, 0] if is_single else outputs, targets)
        if not isinstance(value, Tensor) or value.numel() != 1:
            shape = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(f"loss {self.name} gives {shape}; its mean over samples, one number, is needed")
        return value.reshape(())

    def _check_mean(self, outputs: Tensor, targets: Tensor) -> None:
        """Raise ValueError unless the loss of some samples is the mean over parts of them, and over each alone."""
        n, few = len(outputs), min(_SINGLES, len(outputs))
        if not outputs.isfinite().all():  # a network that has diverged: NaN, as of the other losses
            return
        with torch.no_grad():
            for n_all, size in ((few, 1), (n, -(-n // 2))):
                whole = n_all * float(self._mean(outputs[:n_all], targets[:n_all]))
                pieces = zip(outputs[:n_all].split(size), targets[:n_all].split(size), strict=True)
                parts = [len(part) * float(self._mean(part, of_part)) for part, of_part in pieces]
                if abs(whole - sum(parts)) <= _TOLERANCE * sum(map(abs, [whole, *parts])):
                    continue
                raise ValueError(
                    f"loss {self.name} is {whole / n_all:.4g} for {n_all} samples and {sum(parts) / n_all:.4g} in the "
                    f"mean over parts of them: it must be a mean over samples, each by itself (not a sum, a mean by "
                    f"weights, or over what is not ignored)"
                )
