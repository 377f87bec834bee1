"""Measures of how a network came about: of the curve of its training loss, not of its weights."""

from __future__ import annotations

from study.choice import Option, number
from study.measures.context import MeasureContext
from study.measures.registry import measure

_LOSS: Option = number(0.1, least=1e-12)


@measure("steps_to_loss", of_history=True, loss=_LOSS)
def steps_to_loss(ctx: MeasureContext, loss: float) -> float:
    """Steps of training until the training loss was first as low as a given one.

    min t with L(w_t) <= loss, over the steps at which L was taken: ends of epochs, and where a stop was met. Source:
    Jiang et al. 2020 (1912.02178), number 63, whose text was not read; read in no published code. Parameters: none.
    Data: training set, mean, as it was taken during training. Fails (recorded as missing) where the loss was not
    reached until this stop, and where no curve is known, as of a checkpoint of another program. Deterministic. Cost: no
    pass. Invariant: layer-wise, neuron-wise, permutation, norm-layer.
    """
    return float(_first(ctx, loss))


@measure("steps_between_losses", of_history=True, loss=_LOSS, factor=number(10.0, least=1.01))
def steps_between_losses(ctx: MeasureContext, loss: float, factor: float) -> float:
    """Steps of training from one training loss to a lower one.

    steps_to_loss(loss / factor) - steps_to_loss(loss): from 0.1 to 0.01. Source: Jiang et al. 2020 (1912.02178),
    number 63, as `steps_to_loss`. Parameters: none. Data: training set, mean, as it was taken during training.
    Fails (recorded as missing) where `steps_to_loss` does. Deterministic. Cost: no pass. Invariant: layer-wise,
    neuron-wise, permutation, norm-layer.
    """
    return float(_first(ctx, loss / factor) - _first(ctx, loss))


def _first(ctx: MeasureContext, loss: float) -> int:
    """The first step at which the training loss was at most `loss`."""
    if not ctx.history:
        raise ValueError("history: none is known of this network: the curve of its training loss is needed")
    for step, value in ctx.history:
        if value <= loss:
            return step
    least = min(value for _, value in ctx.history)
    raise ValueError(f"loss: {loss:g}: was not reached until this stop: the lowest was {least:.3g}")
