"""Slow, obvious twins: training of one network as a user of torch would write it, with torch.optim and Python loops."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import lr_scheduler

from study.config import SEAMS, RunConfig
from study.seeds import generator_for

Batches = Sequence[tuple[Tensor, Tensor, int]]  # inputs, labels and epochs done, step by step
Twin = Callable[[RunConfig, nn.Module, Batches], None]
Stack = dict[str, Tensor]
Loss = Callable[[Callable[[Tensor], Tensor], Tensor, Tensor], Tensor]


def torch_optimizer(config: RunConfig, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    own = SEAMS["optimizer"].options(config.optimizer)
    common = {"lr": config.lr * config.lr_factor, "weight_decay": config.weight_decay}
    match config.optimizer.name:
        case "sgd" | "nesterov" as name:
            return torch.optim.SGD(parameters, momentum=config.momentum, nesterov=name == "nesterov", **common)
        case "adam" | "adamw" as name:
            kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[name]
            return kind(parameters, betas=(own["beta1"], own["beta2"]), eps=own["eps"], **common)
        case "rmsprop":
            return torch.optim.RMSprop(
                parameters, momentum=config.momentum, alpha=own["alpha"], eps=own["eps"], **common
            )
    raise AssertionError(config.optimizer.name)


def loss_of(config: RunConfig) -> Loss:
    def loss(model: Any, x: Tensor, y: Tensor) -> Tensor:
        logits = model(x)
        if config.loss == "cross_entropy":
            return functional.cross_entropy(logits, y)
        if config.loss == "binary_cross_entropy":
            return functional.binary_cross_entropy_with_logits(logits[:, 0], y.to(logits))
        return functional.mse_loss(logits, functional.one_hot(y, 10).to(logits), reduction="sum") / len(y)

    return loss


def option(config: RunConfig, seam: str, name: str) -> Any:
    return SEAMS[seam].options(getattr(config, seam))[name]


def descend(
    config: RunConfig, model: nn.Module, batches: Batches, loss: Loss,
    schedule: Callable[[torch.optim.Optimizer], Sequence[lr_scheduler.LRScheduler]] = lambda optimizer: (),
) -> None:  # fmt: skip
    """The usual loop, with schedulers asked after every step."""
    optimizer = torch_optimizer(config, list(model.train().parameters()))
    schedulers = schedule(optimizer)
    for x, y, _ in batches:
        optimizer.zero_grad()
        loss(model, x, y).backward()
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()


def plain(config: RunConfig, model: nn.Module, batches: Batches) -> None:
    descend(config, model, batches, loss_of(config))


def decayed_apart(config: RunConfig, model: nn.Module, batches: Batches) -> None:
    """Weights shrink before each step of an optimizer without weight decay, as in torch.optim.AdamW."""
    optimizer = torch_optimizer(replace(config, weight_decay=0.0), list(model.parameters()))
    for x, y, _ in batches:
        optimizer.zero_grad()
        loss_of(config)(model, x, y).backward()
        with torch.no_grad():
            for w in model.parameters():
                w.mul_(1 - config.lr * config.weight_decay)
        optimizer.step()


def decayed(config: RunConfig, model: nn.Module, batches: Batches) -> None:
    """A squared norm in the objective is weight decay for SGD."""
    plain(replace(config, weight_decay=option(config, "objective", "strength")), model, batches)


def smoothed(config: RunConfig, model: nn.Module, batches: Batches) -> None:
    """torch's label smoothing; a squared error to labels that are smoothed."""
    s = option(config, "objective", "smoothing")

    def loss(model: Any, x: Tensor, y: Tensor) -> Tensor:
        logits = model(x)
        if config.loss == "cross_entropy":
            return nn.CrossEntropyLoss(label_smoothing=s)(logits, y)
        if config.loss == "binary_cross_entropy":
            return functional.binary_cross_entropy_with_logits(logits[:, 0], (1 - s) * y.to(logits) + s / 2)
        targets = (1 - s) * functional.one_hot(y, 10).to(logits) + s / 10
        return (logits - targets).square().sum() / len(y)

    descend(config, model, batches, loss)


def gradient_penalized(config: RunConfig, model: nn.Module, batches: Batches) -> None:
    strength = option(config, "objective", "strength")

    def loss(model: Any, x: Tensor, y: Tensor) -> Tensor:
        mean = loss_of(config)(model, x, y)
        g = torch.autograd.grad(mean, list(model.parameters()), create_graph=True)
        return mean + strength / 2 * torch.stack([t.square().sum() for t in g]).sum()

    descend(config, model, batches, loss)


def scheduled(config: RunConfig, model: nn.Module, batches: Batches) -> None:
    """torch.optim.lr_scheduler with its clock in steps."""
    own, n_steps = SEAMS["schedule"].options(config.schedule), len(batches) // config.max_epochs

    def schedule(optimizer: torch.optim.Optimizer) -> list[lr_scheduler.LRScheduler]:
        n_warm, floor = int(own["warmup"] * n_steps), config.lr * config.lr_factor * own.get("floor", 0.0)
        warm = [lr_scheduler.LinearLR(optimizer, 1 / n_warm, 1.0, n_warm - 1)] if n_warm else []
        match config.schedule.name:
            case "step":
                return [*warm, lr_scheduler.StepLR(optimizer, own["every"] * n_steps, own["factor"])]
            case "drops":
                at = [int(epoch) * n_steps for epoch in own["at"].split("-")]
                return [*warm, lr_scheduler.MultiStepLR(optimizer, at, own["factor"])]
            case "cosine":
                falling = lr_scheduler.CosineAnnealingLR(optimizer, len(batches) - n_warm, floor)
                return [lr_scheduler.SequentialLR(optimizer, [*warm, falling], [n_warm])] if warm else [falling]
        return warm

    descend(config, model, batches, loss_of(config), schedule)


def _gradients(config: RunConfig, model: nn.Module, weights: Stack, x: Tensor, y: Tensor) -> Stack:
    """At other weights; running statistics stay as they are."""
    buffers = {name: b.clone() for name, b in model.named_buffers()}
    leaves = {name: w.detach().requires_grad_() for name, w in weights.items()}

    def forward(x: Tensor) -> Tensor:
        out: Tensor = torch.func.functional_call(model, {**leaves, **buffers}, (x,))
        return out

    found = torch.autograd.grad(loss_of(config)(forward, x, y), list(leaves.values()))
    return dict(zip(leaves, found, strict=True))


def sharpness_aware(config: RunConfig, model: nn.Module, batches: Batches) -> None:
    """SAM and ASAM: climb to the worst weights near by, take the gradient there, step from where one was."""
    optimizer, adaptive = torch_optimizer(config, list(model.train().parameters())), config.update.name == "asam"
    schedule = SEAMS["schedule"].options(config.schedule)
    for x, y, epoch in batches:
        rho = option(config, "update", "rho")
        if config.schedule.name == "step":  # of rho
            rho *= schedule["factor"] ** (epoch // schedule["every"])
        optimizer.zero_grad()
        loss_of(config)(model, x, y).backward()
        with torch.no_grad():
            size = {
                name: w.abs() + option(config, "update", "eta") if adaptive and "weight" in name else torch.ones_like(w)
                for name, w in model.named_parameters()
            }
            length = torch.cat([(w.grad * size[name]).flatten() for name, w in model.named_parameters()]).norm()
            there = {n: w + rho / length * size[n] ** 2 * w.grad for n, w in model.named_parameters()}
        for name, g in _gradients(config, model, there, x, y).items():
            model.get_parameter(name).grad = g
        optimizer.step()


def entropy_sgd(config: RunConfig, model: nn.Module, batches: Batches) -> None:
    """Walks of `steps` batches around the weights, each ended by a step towards the mean of the walk."""
    o = SEAMS["update"].options(config.update)
    optimizer, gamma, noises = torch_optimizer(config, list(model.train().parameters())), o["gamma"], Draws(config)
    for begin in range(0, len(batches), o["steps"]):
        walk = {name: w.detach().clone() for name, w in model.named_parameters()}
        mean = dict(walk)
        for x, y, epoch in batches[begin : begin + o["steps"]]:
            g = _gradients(config, model, walk, x, y)
            for name, w in model.named_parameters():
                noise = torch.randn(w.shape, generator=noises.at(f"walk.{name}", epoch)).to(w)
                moved = g[name] + gamma * (walk[name] - w.detach())
                walk[name] = walk[name] - o["step_size"] * moved + (2 * o["step_size"]) ** 0.5 * o["noise"] * noise
                mean[name] = o["averaging"] * mean[name] + (1 - o["averaging"]) * walk[name]
        if begin + o["steps"] > len(batches):
            return  # training ends within a walk
        for name, w in model.named_parameters():
            w.grad = w.detach() - mean[name]
        optimizer.step()
        gamma *= 1 + o["scoping"]


class Draws:
    """The generators of a run's noise, new every epoch."""

    def __init__(self, config: RunConfig) -> None:
        self.seed = config.seed
        self.generators: dict[tuple[str, int], torch.Generator] = {}

    def at(self, purpose: str, epoch: int) -> torch.Generator:
        key = (purpose, epoch)
        if key not in self.generators:
            self.generators[key] = generator_for(self.seed, f"noise.{purpose}", epoch)
        return self.generators[key]


def augmented(config: RunConfig, model: nn.Module, batches: Batches) -> None:
    """Pad, cut out, mirror, blank: one image after another."""
    o, draws, seen = SEAMS["batch"].options(config.batch), Draws(config), []
    crop, cutout = o["crop"], o["cutout"]
    for x, y, epoch in batches:
        shift, centre, mirrored = (
            torch.rand(len(x), *shape, generator=draws.at(purpose, epoch))
            for purpose, shape in (("crop", (2,)), ("cutout", (2,)), ("flip", ()))
        )
        images = []
        for i, image in enumerate(x):
            height, width = image.shape[1:]
            top, left = (int(v) for v in shift[i] * (2 * crop + 1))
            image = functional.pad(image, (crop, crop, crop, crop))[:, top : top + height, left : left + width]
            image = image.flip(-1) if mirrored[i] < o["flip"] else image
            top, left = (int(v) - cutout // 2 for v in centre[i] * torch.tensor([height, width]))
            image = image.clone()
            image[:, max(top, 0) : max(top + cutout, 0), max(left, 0) : max(left + cutout, 0)] = 0
            images.append(image)
        seen.append((torch.stack(images), y, epoch))
    plain(config, model, seen)
