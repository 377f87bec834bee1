"""A network whose parameters are moved: what noise and ascent have in common."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from study.choice import word
from study.measures.context import MeasureContext
from study.measures.perturbation.ascent import Point

if TYPE_CHECKING:
    from torch import Tensor, nn

    from study.transforms.folding import Folding

_CHECKED = 64  # samples, on which a folded network must give what the network does
FOLDED, AS_TRAINED = word("true", "false"), word("false", "true")  # whether batch-norm is folded into the weights first
SAMPLES = 512  # of the training set, the first ones; ours: a search takes hundreds of passes over them


class Perturbed:
    """A network on some samples, all of its parameters, biases too, as one vector `weights` (n,).

    `running` is what passes go through: `model`, or for images a copy whose batch-norms are folded anew into whatever
    weights it is given. That is the same function, and an ascent of NiN takes .83 of the time. Raises ValueError for
    parameters of 16 bits.
    """

    def __init__(self, model: nn.Module, x: Tensor, labels: Tensor, loss: str) -> None:
        import torch

        from study.models.pooling import HalvingPool

        check_precision(model)
        self.x, self.labels, self.loss = x, labels, loss
        self._folding = _folding(model, x)
        self.running = self._folding.model if self._folding else model
        self.shapes = {name: p.shape for name, p in model.named_parameters()}
        self._tied = tied(self.running)
        self._pools = [module for module in self.running.modules() if isinstance(module, HalvingPool)]
        if x.ndim == 4 and x.device.type == "cpu" and x.dtype == torch.float32 and not self._pools:
            # As in training, convolutions need not reorder them: an ascent of NiN takes .72 of the time. Networks that
            # pool keep the order that their published values were taken in.
            self.x = x.contiguous(memory_format=torch.channels_last)
        self.weights = torch.cat([p.detach().flatten() for p in model.parameters()])

    def batches(self, n: int) -> list[Perturbed]:
        """The same network on n samples at a time."""
        parts = []
        for x, labels in zip(self.x.split(n), self.labels.split(n), strict=True):
            part = copy.copy(self)
            part.x, part.labels = x, labels
            parts.append(part)
        return parts

    @property
    def folds(self) -> bool:
        """Whether `running` has batch-norms folded in: its layers then differ where the network's norms do."""
        return self._folding is not None and self._folding.folds

    @property
    def size(self) -> float:
        """The root of the mean square of the parameters."""
        return math.sqrt(float(self.weights.double().square().mean()))

    def named(self, weights: Tensor) -> dict[str, Tensor]:
        """A vector of parameters (n,) by their names, in their shapes."""
        parts = weights.split([shape.numel() for shape in self.shapes.values()])
        return {name: part.view(shape) for (name, shape), part in zip(self.shapes.items(), parts, strict=True)}

    def parameters(self, weights: Tensor) -> dict[str, Tensor]:
        """Those that `running` has with a vector of parameters (n,) of the network."""
        named = self.named(weights)
        return self._folding.parameters(named) if self._folding else named

    def outputs(self, weights: Tensor) -> Tensor:
        """Outputs (n, C) with other parameters, differentiable in them once."""
        from torch.func import functional_call

        named = self.parameters(weights)
        named |= {other: named[name] for other, name in self._tied.items()}
        with self._first_order():
            return functional_call(self.running, named, (self.x,), tie_weights=False)

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


def check_precision(model: nn.Module) -> None:
    """Raises ValueError for parameters of 16 bits: what they are moved by is rounded away."""
    import torch

    for name, parameter in model.named_parameters():
        if parameter.dtype not in (torch.float32, torch.float64):
            raise ValueError(f"{name}: {parameter.dtype} rounds small perturbations to 0: allowed: float32, float64")


def tied(model: nn.Module) -> dict[str, str]:
    """Names of parameters that another module has, too, and their first names.

    For functional_call, which would tie them by itself, but then leaves its own tensors in a module that is registered
    by two names (torch 2.13): with tie_weights=False it does not, and is given these.
    """
    first: dict[nn.Parameter, str] = {}
    found = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        known = first.setdefault(parameter, name)
        if owner(model, known) is not owner(model, name):
            found[name] = known
    return found


def owner(model: nn.Module, name: str) -> nn.Module:
    """The module that a parameter is of, by its name."""
    return model.get_submodule(name.rpartition(".")[0])


def _folding(model: nn.Module, x: Tensor) -> Folding | None:
    """How the batch-norms of a network of images are folded; None where that cannot be, or is another function."""
    import torch
    from torch.func import functional_call

    from study.transforms.folding import Folding
    from study.transforms.rescaling import function_difference

    if x.ndim != 4:
        return None
    try:
        found, some = Folding(model), x[:_CHECKED]
        if found.folds:
            with torch.no_grad():
                parameters = found.parameters(dict(model.named_parameters()))
                parameters |= {other: parameters[name] for other, name in tied(found.model).items()}
                after = functional_call(found.model, parameters, (some,), tie_weights=False)
                function_difference(model(some), after)
    except ValueError:
        return None
    return found


def first_samples(ctx: MeasureContext, folded: str = "false", n: int = SAMPLES) -> Perturbed:
    """The network on the first n samples: as trained, or with batch-norm folded in ("true"), in the same dtype."""
    check_precision(ctx.model)
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
