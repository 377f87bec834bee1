"""Whether a network can be trained in a stack, found out on a random input before anything is loaded or written."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from study.config import ConfigError, RunConfig
from study.data.dataset import known
from study.device import is_of_the_machine
from study.seams.noise import Noise
from study.seams.precision import PRECISIONS
from study.training.forward import StackedForward
from study.training.stack import stack_tensors
from study.training.start import build_model


def check_trainable(config: RunConfig, n_train: int | None) -> None:
    """Take the gradients of two networks as one stack. Raises ConfigError, one line, where that fails.

    `n_train` is the number of training inputs; a last batch of one of them is tried too, which norm layers refuse. None
    where it is not known yet. What vmap cannot do is refused on every device, so that a study runs on each. Costs 0.4 s
    at most for the networks of the published studies.
    """
    try:
        model = build_model(config)
        shape = known(config.dataset).shape
        example = torch.rand(shape, generator=torch.Generator().manual_seed(0))
        forward = StackedForward(model, config.loss, "stacked", example, PRECISIONS[config.precision.name])
        _gradients(forward, example, 2)
    except ConfigError:
        raise
    except Exception as error:
        if isinstance(error, MemoryError) or is_of_the_machine(error):
            raise ConfigError(
                "model", str(config.model), "allowed: networks that fit into this machine's memory"
            ) from error
        allowed = "allowed: networks that torch.func.vmap can train in a stack; this one"
        raise ConfigError("model", config.model.name, f"{allowed}: {_line(error)}") from error
    if config.batch_size == 1 and any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in model.modules()):
        text = f"allowed with the norm layers of model {config.model}: 2 or more images a step"
        raise ConfigError("batch_size", 1, text)
    if n_train is None or n_train % config.batch_size != (1 if config.batch_size > 1 else 0):
        return
    try:
        _gradients(forward, example, 1)
    except Exception as error:
        text = f"{n_train} training images leave a batch of 1, allowed with model {config.model}: 2 or more"
        raise ConfigError("batch_size", config.batch_size, f"{text} ({_line(error)})") from error


def _gradients(forward: StackedForward, example: Tensor, n: int) -> None:
    """Of two networks alike, each on n inputs alike."""
    own = {name: parameter.detach() for name, parameter in forward.own.items()}
    parameters, buffers = (stack_tensors([each] * 2, "cpu") for each in (own, forward.own_buffers))  # statistics move
    x = torch.stack([example] * n * 2).view(2, n, *example.shape)
    labels = torch.zeros(2, n, dtype=torch.int64)
    rates = {path: torch.full((2,), 0.5) for path in forward.dropouts}
    masks = forward.masks(rates, Noise([0, 1], [0, 0], "cpu"), n)
    forward.gradients(parameters, buffers, masks, x, labels, None)


def _line(error: Exception) -> str:
    first = str(error).strip().partition("\n")[0].partition(". ")[0]
    return first or type(error).__name__
