"""Entries of every seam that no study has: a test registers them for its own time, to see that a seam holds."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from study.choice import Option, Registry, integer, number, word
from study.config import SEAMS
from study.data.dataset import Tensors
from study.models.registry import MODELS, Model
from study.seams.batch import Batch
from study.seams.growth import Growth
from study.seams.objective import Evaluation
from study.seams.optimizer import Optimizer, column
from study.seams.update import Step, Update


@contextlib.contextmanager
def registered(registry: Registry[Any], name: str, content: Any, **options: Option) -> Iterator[None]:
    """An entry that is there inside the block only."""
    registry.add(name, content, options)
    try:
        yield
    finally:
        registry.remove(name)


def norm_penalty(evaluation: Evaluation, options: Mapping[str, Any]) -> Tensor:
    """Mean loss + strength / 2 * squared norm of all weights: weight decay, by the objective."""
    norms = torch.stack([w.flatten(1).square().sum(1) for w in evaluation.parameters.values()]).sum(0)
    return evaluation.losses().mean(-1) + options["strength"] / 2 * norms


def gradient_penalty(evaluation: Evaluation, options: Mapping[str, Any]) -> Tensor:
    """Mean loss + strength / 2 * squared norm of its gradient: asks for second derivatives."""
    logits = evaluation.forward(evaluation.parameters, evaluation.x)
    loss = nn.functional.cross_entropy(logits.flatten(0, 1), evaluation.labels.flatten(), reduction="none")
    mean = loss.view(evaluation.labels.shape).mean(-1)
    found = torch.autograd.grad(mean.sum(), list(evaluation.parameters.values()), create_graph=True)
    return mean + options["strength"] / 2 * torch.stack([g.flatten(1).square().sum(1) for g in found]).sum(0)


def averaged(step: Step) -> None:
    """The optimizer, and a running mean of the weights and a count that it keeps and does not use."""
    step.move(step.gradients(step.parameters))
    for name, w in step.parameters.items():
        count = step.state["seen"][name].add_(1)
        step.state["average"][name].add_((w - step.state["average"][name]) / count)


def adversarial(batch: Batch) -> tuple[Tensor, Tensor]:
    """One signed step from a random start."""
    radius = column(batch.options["radius"], batch.x)
    start = batch.x + radius * (2 * batch.noise.uniform("start", batch.x.shape[1:]).to(batch.x) - 1)
    return start + radius * batch.input_gradients(start).sign(), batch.labels


def random_mask(
    network: nn.Module, data: Any, options: Mapping[str, Any], generator: torch.Generator
) -> dict[str, Tensor]:
    """A fraction of every weight matrix dies."""
    weights = {name: p for name, p in network.named_parameters() if p.ndim >= 2}
    return {
        name: (torch.rand(p.shape, generator=generator) >= options["sparsity"]).to(p) for name, p in weights.items()
    }


def doubled(hidden: tuple[int, ...], epoch: int, options: Mapping[str, Any]) -> tuple[int, ...]:
    """Half the widths until an epoch."""
    return hidden if epoch >= options["epoch"] else tuple(n // 2 for n in hidden)


def zero_outgoing(old: nn.Module, new: nn.Module, options: Mapping[str, Any], generator: torch.Generator) -> None:
    """The old network in a corner of the new one, whose other outgoing weights are 0: the same function."""
    with torch.no_grad():
        for before, after in zip(old.parameters(), new.parameters(), strict=True):
            if after.ndim == 2:
                after[:, before.shape[1] :] = 0
                after[: before.shape[0], : before.shape[1]] = before
            else:
                after[: before.shape[0]] = before


def flipped(data: Tensors, more: Any, options: Mapping[str, Any]) -> Tensors:
    """The training set again, `n` of it, with labels moved by one."""
    n = options["n"]
    x = torch.cat([data.train_x, data.train_x[:n]])
    return Tensors(x, torch.cat([data.train_y, (data.train_y[:n] + 1) % 10]), data.test_x, data.test_y)


def batch_norm_network(shape: tuple[int, ...], n_classes: int, hidden: tuple[int, ...]) -> nn.Module:
    """Two norm layers, one of them after a convolution."""
    channels, height, width = shape
    return nn.Sequential(
        nn.Conv2d(channels, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(),
        nn.Linear(2 * (height - 2) * (width - 2), hidden[0]), nn.BatchNorm1d(hidden[0]), nn.ReLU(),
        nn.Linear(hidden[0], n_classes),
    )  # fmt: skip


def norm_dropout_network(shape: tuple[int, ...], n_classes: int, hidden: tuple[int, ...]) -> nn.Module:
    """A norm layer and two dropout layers."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(math.prod(shape), hidden[0]), nn.BatchNorm1d(hidden[0]), nn.Dropout(0.4), nn.ReLU(),
        nn.Linear(hidden[0], hidden[0]), nn.Dropout(0.2), nn.ReLU(), nn.Linear(hidden[0], n_classes),
    )  # fmt: skip


# field -> name -> (what is registered, its options)
ENTRIES: dict[str, dict[str, tuple[Any, dict[str, Option]]]] = {
    "objective": {
        "norm_penalty": (norm_penalty, {"strength": number(0.0, least=0)}),
        "gradient_penalty": (gradient_penalty, {"strength": number(0.1, least=0)}),
    },
    "update": {
        "averaged": (Update(averaged, Optimizer((), ("average",), ("seen",))), {"kind": word("mean", "sum")}),
    },
    "batch": {"adversarial": (adversarial, {"radius": number(0.1, least=0)})},
    "mask": {"random": (random_mask, {"sparsity": number(0.5, least=0, below=1)})},
    "growth": {"doubled": (Growth(doubled, zero_outgoing), {"epoch": integer(2)})},
    "extra": {"flipped": (flipped, {"n": integer(10), "noise": number(0.0)})},
}


@contextlib.contextmanager
def all_registered() -> Iterator[None]:
    """Every entry of ENTRIES and the two networks, inside the block only."""
    with contextlib.ExitStack() as stack:
        for field, entries in ENTRIES.items():
            for name, (content, options) in entries.items():
                stack.enter_context(registered(SEAMS[field], name, content, **options))
        stack.enter_context(registered(MODELS, "batch_norm", Model(batch_norm_network, min_dimensions=3)))
        stack.enter_context(registered(MODELS, "norm_dropout", Model(norm_dropout_network)))
        yield
