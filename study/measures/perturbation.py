"""A network whose parameters are moved: what noise and ascent have in common."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from study.choice import word
from study.measures.ascent import Point
from study.measures.context import MeasureContext

if TYPE_CHECKING:
    from torch import Tensor, nn

FOLDED, AS_TRAINED = word("true", "false"), word("false", "true")  # whether batch-norm is folded into the weights first
SAMPLES = 512  # of the training set, the first ones; ours: a search takes hundreds of passes over them


class Perturbed:
    """A network on some samples, all of its parameters, biases too, as one vector `weights` (n,)."""

    def __init__(self, model: nn.Module, x: Tensor, labels: Tensor, loss: str) -> None:
        import torch

        from study.models.pooling import HalvingPool

        self.model, self.x, self.labels, self.loss = model, x, labels, loss
        self._shapes = {name: p.shape for name, p in model.named_parameters()}
        self._pools = [module for module in model.modules() if isinstance(module, HalvingPool)]
        if x.ndim == 4 and x.device.type == "cpu" and x.dtype == torch.float32 and not self._pools:
            # As in training, convolutions need not reorder them: an ascent of NiN takes .72 of the time. Networks that
            # pool keep the order that their published values were taken in.
            self.x = x.contiguous(memory_format=torch.channels_last)
        self.weights = torch.cat([p.detach().flatten() for p in model.parameters()])

    @property
    def size(self) -> float:
        """The root of the mean square of the parameters."""
        return math.sqrt(float(self.weights.double().square().mean()))

    def named(self, weights: Tensor) -> dict[str, Tensor]:
        """A vector of parameters (n,) by their names, in their shapes."""
        parts = weights.split([shape.numel() for shape in self._shapes.values()])
        return {name: part.view(shape) for (name, shape), part in zip(self._shapes.items(), parts, strict=True)}

    def outputs(self, weights: Tensor) -> Tensor:
        """Outputs (n, C) with other parameters, differentiable in them once."""
        from torch.func import functional_call

        with self._first_order():
            return functional_call(self.model, self.named(weights), (self.x,))

    def mean_loss(self, outputs: Tensor) -> Tensor:
        """Mean loss of outputs, a float64 scalar."""
        from study.loss import sample_losses

        return sample_losses(outputs.double(), self.labels, self.loss).mean()

    def error(self, outputs: Tensor) -> float:
        """Share of samples that are misclassified."""
        from study.loss import predicted

        return float((predicted(outputs) != self.labels).double().mean())

    @contextlib.contextmanager
    def _first_order(self) -> Iterator[None]:
        """Pooling as for one plain gradient: faster, and the same to the bit."""
        before = [pool.first_order for pool in self._pools]
        try:
            for pool in self._pools:
                pool.first_order = True
            yield
        finally:
            for pool, was in zip(self._pools, before, strict=True):
                pool.first_order = was


def first_samples(ctx: MeasureContext, folded: str = "false", n: int = SAMPLES) -> Perturbed:
    """The network on the first n samples: as trained, or with batch-norm folded in ("true"), in the same dtype."""
    model = ctx.model
    if folded == "true":
        model = copy.deepcopy(ctx.folded).to(next(ctx.model.parameters()).dtype)
    return Perturbed(model, ctx.x[:n], ctx.labels[:n], ctx.loss)


def shared_samples(ctx: MeasureContext, folded: str) -> Perturbed:
    """The same on SAMPLES, made once."""
    return ctx.shared(lambda ctx: first_samples(ctx, folded), ("samples", folded))


def shared_start(ctx: MeasureContext, folded: str) -> Point:
    """Their mean loss where every ascent from the weights begins, made once."""
    network = shared_samples(ctx, folded)

    def start(ctx: MeasureContext) -> Point:
        return Point(lambda weights: network.mean_loss(network.outputs(weights)), network.weights)

    return ctx.shared(start, ("start", folded))
