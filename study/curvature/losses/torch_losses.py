"""What may be given as a loss: a name, a `Loss`, one of torch's own, or a function of outputs and targets."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from .loss import LOSSES, Loss
from .own_loss import OwnLoss

GivenLoss = str | Loss | Callable[[Tensor, Tensor], Tensor]

# What torch's own functions are without options.
_FUNCTIONS: dict[object, type[nn.Module]] = {
    F.cross_entropy: nn.CrossEntropyLoss,
    F.mse_loss: nn.MSELoss,
    F.binary_cross_entropy_with_logits: nn.BCEWithLogitsLoss,
    F.nll_loss: nn.NLLLoss,
}
_ALLOWED = f"one of {', '.join(LOSSES)}, a Loss, a loss of torch.nn, or a function of outputs and targets"


def resolve_loss(loss: GivenLoss) -> Loss | OwnLoss:
    """A `Loss` from a name, a Loss or one of torch's modules that mean one; of any other function an `OwnLoss`.

    A subclass may compute something else than its parent, so it is a function like any other. Raises ValueError for
    what is none of these, for a reduction of torch's that is no mean, and for NLLLoss.
    """
    if isinstance(loss, Loss | OwnLoss):
        return loss
    if isinstance(loss, str):
        return Loss(loss)
    if isinstance(loss, type):
        raise ValueError(f"loss is the class {loss.__name__}, not one of its kind: {loss.__name__}()")
    if not callable(loss):
        raise ValueError(f"loss {loss!r} is not {_ALLOWED}")
    module = _FUNCTIONS[loss]() if loss in _FUNCTIONS else loss
    return _of_module(module) if isinstance(module, nn.Module) else OwnLoss(loss)


def _of_module(module: nn.Module) -> Loss | OwnLoss:
    kind, options = type(module), vars(module) | module._buffers
    if isinstance(module, nn.NLLLoss):
        raise ValueError(
            "NLLLoss is linear in the network's outputs, so that it has no Gauss-Newton matrix: measure the network "
            "without its LogSoftmax, with 'cross_entropy'"
        )
    reduction = options.get("reduction", "mean")
    if kind.__module__ == nn.MSELoss.__module__ and reduction not in ("mean", "batchmean"):
        raise ValueError(f"reduction {reduction!r} of {kind.__name__}: allowed: 'mean'")
    if kind is nn.CrossEntropyLoss:
        return Loss("cross_entropy", **{name: options[name] for name in ("label_smoothing", "weight", "ignore_index")})
    if kind is nn.BCEWithLogitsLoss:
        weights = {name: options[name] for name in ("weight", "pos_weight")}
        return Loss("binary_cross_entropy", **weights, average_outputs=True)
    return Loss("squared_error", average_outputs=True) if kind is nn.MSELoss else OwnLoss(module)


def counted(count: float) -> float:
    """What a sum over all samples is divided by; ValueError where no sample counts."""
    if not count > 0:
        raise ValueError("every target is the ignore_index or of a class of weight 0: the loss is a mean over nothing")
    return count
