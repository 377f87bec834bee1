"""Whether a network can be trained in a stack, found out on a random input before anything is loaded or written."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from study.config import ConfigError, RunConfig
from study.data.dataset import known
from study.device import is_of_the_machine
from study.seams.noise import Noise
from study.seams.optimizer import Stack
from study.seams.precision import PRECISIONS
from study.training.forward import StackedForward
from study.training.stack import stack_tensors
from study.training.start import build_model

LARGE = 3_000_000  # numbers of a network of which the shapes are followed first, which costs a second at once; ours


def check_trainable(config: RunConfig, n_train: int | None) -> None:
    """Take the gradients of two networks as one stack. Raises ConfigError, one line, where that fails.

    `n_train` is the number of training inputs; a last batch of one of them is tried too, which norm layers refuse. None
    where it is not known yet. What vmap cannot do is refused on every device, so that a study runs on each. Of a
    large network the operations are followed on tensors without content, and what these refuse is tried on its numbers.
    Costs 0.4 s at most for the networks of the published studies.
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
    size = sum(tensor.numel() for tensor in forward.own.values())
    if size <= LARGE or not _shapes_fit(forward, example, n):
        _take(forward, example, n, "cpu")


def _shapes_fit(forward: StackedForward, example: Tensor, n: int) -> bool:
    """Whether the gradients can be taken of tensors without content; False also where only those with content can."""
    given = {*forward.own_buffers, *(f"{path}.kept" for path in forward.dropouts)}
    if forward.precision.bf16 or {name for name, _ in forward.template.named_buffers()} - given:
        return False  # autocast, and buffers that no file holds, know none but those with content
    try:
        _take(forward, example, n, "meta")
    except Exception:
        return False
    return True


def _take(forward: StackedForward, example: Tensor, n: int, device: str) -> None:
    """Gradients of two networks alike, each on n inputs alike."""

    def twice(tensors: Stack) -> Stack:
        if device == "meta":  # to stack there would import torch's compiler
            return {name: tensor.new_empty((2, *tensor.shape), device=device) for name, tensor in tensors.items()}
        return stack_tensors([tensors] * 2, device)  # copies: running statistics move

    parameters, buffers = twice({name: p.detach() for name, p in forward.own.items()}), twice(forward.own_buffers)
    x = torch.stack([example] * n * 2).view(2, n, *example.shape).to(device)
    labels = torch.zeros(2, n, dtype=torch.int64, device=device)
    rates = {path: torch.full((2,), 0.5) for path in forward.dropouts}
    masks = forward.masks(rates, Noise([0, 1], [0, 0], "cpu"), n)
    forward.gradients(parameters, buffers, {name: mask.to(device) for name, mask in masks.items()}, x, labels, None)


def _line(error: Exception) -> str:
    first = str(error).strip().partition("\n")[0].partition(". ")[0]
    return first or type(error).__name__
