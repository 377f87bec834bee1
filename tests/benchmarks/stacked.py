"""Would a population be measured faster as one? The curvature pass of 64 small networks, one after another and stacked.

By hand, with as few calls as torch needs and none of what `layer_curvature` verifies, for fully connected networks and
the softmax: where calls cost most, a stack has the most to gain. Stacks of `networks` go through the samples `samples`
at a time; the first of `SIZES` is one after another.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor, nn

from study.curvature import layer_curvature
from tests.benchmarks import networks
from tests.benchmarks.case import Case

COUNT, SAMPLES = 64, 300  # as many networks and samples as the laptop study has of a batch size
SIZES = ((1, 300), (2, 300), (8, 100), (16, 50), (64, 300), (64, 25))  # networks and samples at a time


def case(device: str) -> Case:
    """Ours, and the pass by hand of each of SIZES."""
    models = [networks.mlp(64, 64, 64, 10).to(device) for _ in range(COUNT)]
    x, y = torch.randn(SAMPLES, 64, device=device), torch.randint(10, (SAMPLES,), device=device)
    calls: dict[str, Callable] = {"ours, one after another": lambda: _ours(models, x, y)}
    for count, samples in SIZES:
        name = "one after another" if count == 1 else f"{count} networks, {samples} samples"
        calls[f"by hand, {name}"] = functools.partial(by_hand, models, x, count, samples)
    truth = _ours([model.double() for model in models], x.double(), y)
    for model in models:
        model.float()
    return Case("64 mlps of digits", calls, truth)


def _ours(models: list[nn.Module], x: Tensor, y: Tensor) -> dict[str, float]:
    return {
        f"{k}.{name}": layer.trace
        for k, model in enumerate(models)
        for name, layer in layer_curvature(model, (x, y), normalized=False).items()
    }


@torch.no_grad()
def by_hand(models: list[nn.Module], x: Tensor, count: int, samples: int) -> dict[str, float]:
    """The trace of each layer of each network, `count` networks and `samples` samples at a time."""
    found = {}
    for start in range(0, len(models), count):
        some = models[start : start + count]
        sums = functools.reduce(lambda a, b: [p + q for p, q in zip(a, b, strict=True)],
                                [_stack(some, part) for part in x.split(samples)])  # fmt: skip
        for name, total in zip(("4", "2", "0"), sums, strict=True):
            traces = total.diagonal(dim1=1, dim2=2).sum(1) / len(x)
            found |= {f"{start + k}.{name}": float(trace) for k, trace in enumerate(traces)}
    return found


def _stack(models: list[nn.Module], x: Tensor) -> list[Tensor]:
    """The sums over samples of T (networks, n_out, n_out) of each layer, from the last."""
    layers = [[model.get_submodule(name) for model in models] for name in ("0", "2", "4")]
    weights = [torch.stack([layer.weight for layer in each]) for each in layers]  # type: ignore[misc]
    biases = [torch.stack([layer.bias for layer in each]) for each in layers]  # type: ignore[misc]
    given = [x.expand(len(models), -1, -1)]
    for weight, bias in zip(weights, biases, strict=True):
        given.append(torch.baddbmm(bias[:, None], given[-1], weight.transpose(1, 2)).relu())
    p = torch.baddbmm(biases[-1][:, None], given[-2], weights[-1].transpose(1, 2)).softmax(2)
    delta = torch.eye(p.shape[2]).to(p) * p.sqrt()[..., None] - p[:, :, None] * p.sqrt()[..., None]
    found = []
    for index in (2, 1, 0):
        norm = given[index].square().sum(2).sqrt()
        rows = (delta * norm[..., None, None]).flatten(1, 2)
        found.append(rows.transpose(1, 2) @ rows)
        if index:
            delta = (delta.flatten(1, 2) @ weights[index]).view(*delta.shape[:3], -1) * (given[index] > 0)[:, :, None]
    return found
