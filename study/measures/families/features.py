"""Terms of the bound of Petzka et al. 2021: what the features, the input of the last layer, bear and hold.

They stand in `set:bound2021` alone: one reads labels of test data, which nothing may that is to predict a gap.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from study.choice import number
from study.measures.context import CHUNK, MeasureContext
from study.measures.registry import Sampled, measure

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

DRAWS = 100  # pairs of rotations; ours. A number that hangs on their spread stopped early where the first were small.
WIDEST = 2048  # inputs of a neuron of the last layer: a rotation of so many takes a second; ours
POINTS = 2000  # test samples whose distances are there together; ours


def _check_layers(model: Any) -> None:
    if not _layers(model):
        raise ValueError("features: the network has no linear layer and no convolution with weights of its own")


def _check_rotation(model: Any) -> None:
    from torch import nn

    _check_layers(model)
    if isinstance(model, nn.Sequential):  # of others the order of layers says nothing
        _check_width(*list(_layers(model).items())[-1])


def _check_width(path: str, layer: nn.Module) -> None:
    weight: Tensor = layer.weight  # type: ignore[assignment]
    width = weight[0].numel()
    if width > WIDEST:
        raise ValueError(f"features: {path}: a neuron has {width} inputs, allowed: {WIDEST} at most")


@measure("feature_robustness", check=_check_rotation, delta=number(0.1, least=1e-4))
def feature_robustness(ctx: MeasureContext, delta: float) -> Sampled:
    """Feature robustness: the mean rise of the loss when features are moved by a share of their length, any way.

    E_O mean_i l(psi(phi_i + delta O phi_i), y_i) - l(f(x_i), y_i), phi the last layer's input and O Haar-orthogonal:
    W (I + delta O) in place of W, O on the axis of inputs and kernel. Where twice differentiable it is delta^2 / (2 m)
    times `relative_flatness` of the last layer + O(delta^4), m the size of O. Source: Petzka et al. 2021 (2001.00939):
    its definition, with A a random rotation; delta .1 read in its published code, of the synthetic study. Parameters:
    weights of the last layer. Data: training set, mean. Sampled: 100 pairs O and -O, the same for all layers of as many
    inputs; standard error over pairs. Cost: in float64 the last layer 200 times, or the whole network where it is no
    nn.Sequential, and 100 orthogonal matrices of the size of O. Fails (recorded as missing) above 2,048 inputs and
    where no one layer is last. Invariant: layer-wise, norm-layer.
    """
    import copy

    import torch
    from torch.func import functional_call

    from study.loss import sample_losses

    layer = _last_layer(ctx.model, ctx.x)
    _check_width(layer, ctx.model.get_submodule(layer))
    piece, x = ctx.from_layer(layer)
    head = copy.deepcopy(piece).double()
    weight: Tensor = head.get_submodule(layer).weight.detach()  # type: ignore[operator]
    matrix = weight.flatten(1)

    def mean_loss(moved: Tensor) -> float:
        total, named = 0.0, {f"{layer}.weight": moved.view_as(weight)}
        for part, labels in zip(x.split(CHUNK), ctx.labels.split(CHUNK), strict=True):
            outputs = functional_call(head, named, (_double(part),), tie_weights=False)
            total += float(sample_losses(outputs, labels, ctx.loss).sum())
        return total / len(x)

    rises: list[float] = []
    with torch.no_grad():
        start = mean_loss(matrix)
        for rotation in _rotations(matrix, ctx.common_generator("rotation")):
            step = delta * matrix @ rotation
            rises.append((mean_loss(matrix + step) + mean_loss(matrix - step)) / 2 - start)
    values = torch.tensor(rises, dtype=torch.float64)
    return Sampled(float(values.mean()), float(values.std()) / math.sqrt(DRAWS))


@measure("label_constancy", check=_check_layers, of_test=True, quantile=number(0.5, least=0, below=1))
def label_constancy(ctx: MeasureContext, quantile: float) -> float:
    """Local constancy of labels, turned round: how often test points close to one another have different labels.

    Mean over points of the share of those at most r apart whose labels differ, points with none so close left out; r
    the quantile of the distances of nearest neighbours, in the features, the last layer's input. Source: Petzka et al.
    2021 (2001.00939), as `feature_robustness`, which assumes that it is 0; our reading. Parameters: none. Data: 2,000
    test samples, evenly spread over all: it predicts no gap, and stands in no table of measures that might. Fails
    (recorded as missing) without test data, and where no one layer is last. Deterministic. Cost: one forward pass over
    these, and the distances of each from each. Invariant: layer-wise, permutation, norm-layer.
    """
    import torch

    if ctx.held_out is None or len(ctx.held_out[0]) < 2:
        raise ValueError("label_constancy: it is of test data, and there is none here, or one sample")
    x, labels = ctx.held_out
    chosen = torch.linspace(0, len(x) - 1, min(POINTS, len(x)), dtype=torch.float64).long()
    x, labels = x[chosen.to(x.device)], labels[chosen.to(labels.device)]
    features = _inputs(ctx.model, _last_layer(ctx.model, x), x).flatten(1)
    if not bool(features.isfinite().all()):
        raise ValueError("label_constancy: features are not finite")
    apart = torch.cdist(features, features, compute_mode="donot_use_mm_for_euclid_dist")
    apart.fill_diagonal_(math.inf)
    close = apart <= apart.amin(1).quantile(quantile)
    differ = close & (labels[:, None] != labels).to(close.device)
    near = close.sum(1)
    return float((differ.sum(1)[near > 0].double() / near[near > 0]).mean())


def _layers(model: nn.Module) -> dict[str, nn.Module]:
    """Linear layers and convolutions with weights of their own, of which a neuron reads all inputs."""
    from torch import nn

    plain = (nn.Linear, nn.Conv2d)
    found = {name: module for name, module in model.named_modules() if isinstance(module, plain)}
    return {n: m for n, m in found.items() if "weight" in m._parameters and getattr(m, "groups", 1) == 1}


def _last_layer(model: nn.Module, x: Tensor) -> str:
    """Path of the layer that ends last, of those with a matrix of weights.

    Raises ValueError where that is none of `_layers`, is run twice, does not move the outputs, or where a matrix of
    weights is used by none that was run: what features are is not plain there.
    """
    import torch
    from torch.func import functional_call

    _check_layers(model)
    owners = [name for name, m in model.named_modules() if any(_is_matrix(p) for p in m._parameters.values())]
    ran: list[str] = []
    handles = [
        model.get_submodule(name).register_forward_hook(lambda _, __, ___, name=name: ran.append(name))
        for name in owners
    ]  # fmt: skip
    try:
        with torch.no_grad():
            x = x[:32].to(next(model.parameters()).device)
            outputs = model(x)
    finally:
        for handle in handles:
            handle.remove()
    last, layers = ran[-1] if ran else "", _layers(model)
    plain = last in layers and ran.count(last) == 1 and set(ran) == set(owners)
    if plain:
        weight: Tensor = layers[last].weight.detach()  # type: ignore[operator]
        with torch.no_grad():
            moved = functional_call(model, {f"{last}.weight": weight + weight.abs().amax()}, (x,), tie_weights=False)
        plain = not torch.equal(outputs, moved)
    if not plain:
        said = (
            "the last layer with weights is to be a linear layer or a convolution without groups, run once, of outputs"
        )
        raise ValueError(f"features: {last or type(model).__name__}: {said}; every other is to be run as a module")
    return last


def _is_matrix(parameter: Tensor | None) -> bool:
    return parameter is not None and parameter.ndim in (2, 4)


def _double(x: Tensor) -> Tensor:
    return x.double() if x.is_floating_point() else x


def _rotations(like: Tensor, generator: torch.Generator) -> Iterator[Tensor]:
    """Haar-orthogonal matrices of the size of its rows, DRAWS of them (Mezzadri 2007)."""
    import torch

    for _ in range(DRAWS):
        normal = torch.randn(like.shape[1], like.shape[1], generator=generator, dtype=torch.float64)
        q, r = torch.linalg.qr(normal)
        yield (q * r.diagonal().sign()).to(like)


def _inputs(model: nn.Module, layer: str, x: Tensor) -> Tensor:
    """What a layer is given, in float64."""
    import torch

    caught: list[Tensor] = []
    handle = model.get_submodule(layer).register_forward_pre_hook(
        lambda _, given, named: caught.append((given[0] if given else named["input"]).double()), with_kwargs=True
    )
    try:
        with torch.no_grad():
            for part in x.split(CHUNK):
                model(part.to(next(model.parameters()).device))
    finally:
        handle.remove()
    return torch.cat(caught)
