"""Terms of the bound of Petzka et al. 2021: what the features, the input of the last layer, bear and hold.

They stand in `set:bound2021` alone: one reads labels of held-out data, which no predictor of a gap may see.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from study.choice import number
from study.measures.context import CHUNK, MeasureContext
from study.measures.noise import STANDARD_ERROR
from study.measures.registry import Sampled, measure
from study.seeds import generator_for

if TYPE_CHECKING:
    from torch import Tensor, nn

DRAWS = 10, 200  # pairs of rotations at least and at most; ours
POINTS = 2000  # held-out samples whose distances are there together; ours


def _check_last_layer(model: Any) -> None:
    _last_layer(model)


@measure("feature_robustness", check=_check_last_layer, delta=number(0.1, least=1e-9))
def feature_robustness(ctx: MeasureContext, delta: float) -> Sampled:
    """Feature robustness: the mean rise of the loss when features are moved by a share of their length, any way.

    E_O mean_i l(psi(phi_i + delta O phi_i), y_i) - l(f(x_i), y_i), phi the last layer's input and O Haar-orthogonal:
    W (I + delta O) in place of W, O on the axis of inputs and kernel. Where twice differentiable it is delta^2 / (2 m)
    kappa_Tr of the last layer + O(delta^4), m the size of O. Source: Petzka et al. 2021 (2001.00939): its definition,
    with A a random rotation; delta .1 read in its published code, of the synthetic study. Parameters: weights of the
    last layer. Data: training set, mean. Sampled: pairs O and -O, the same for all layers of as many inputs, 10 or more
    until the standard error is 5 % of the value, 200 at most. Cost: the last layer 20 to 400 times, in float64.
    Invariant: layer-wise, norm-layer.
    """
    import copy

    import torch
    from torch.func import functional_call

    from study.loss import sample_losses

    layer = _last_layer(ctx.model)
    piece, x = ctx.from_layer(layer)
    head = copy.deepcopy(piece).double()
    weight: Tensor = head.get_submodule(layer).weight.detach()  # type: ignore[operator]
    matrix = weight.flatten(1)

    def mean_loss(moved: Tensor) -> float:
        total = 0.0
        for part, labels in zip(x.split(CHUNK), ctx.labels.split(CHUNK), strict=True):
            outputs = functional_call(head, {f"{layer}.weight": moved.view_as(weight)}, (part.double(),))
            total += float(sample_losses(outputs, labels, ctx.loss).sum())
        return total / len(x)

    rises: list[float] = []
    with torch.no_grad():
        start = mean_loss(matrix)
        for rotation in _rotations(matrix):
            step = delta * matrix @ rotation
            rises.append((mean_loss(matrix + step) + mean_loss(matrix - step)) / 2 - start)
            values = torch.tensor(rises, dtype=torch.float64)
            if len(rises) >= DRAWS[0]:
                error = float(values.std()) / math.sqrt(len(rises))
                if error <= STANDARD_ERROR * abs(float(values.mean())):
                    break
    return Sampled(float(values.mean()), error)


@measure("label_constancy", check=_check_last_layer, quantile=number(0.5, least=0, below=1))
def label_constancy(ctx: MeasureContext, quantile: float) -> float:
    """Local constancy of labels, turned round: how often close points of held-out data have different labels.

    The share of pairs at most r apart whose labels differ, r the quantile of the distances of nearest neighbours, in
    the features, the last layer's input. Source: Petzka et al. 2021 (2001.00939), as `feature_robustness`, which
    assumes that it is 0; our reading. Parameters: none. Data: the first 2,000 test samples: it belongs to no prediction
    of the gap. Fails (recorded as missing) without held-out data. Deterministic. Cost: one forward pass over these.
    Invariant: layer-wise, permutation, norm-layer.
    """
    import torch

    if ctx.held_out is None:
        raise ValueError("label_constancy: it is of held-out data, and there is none here")
    x, labels = (part[:POINTS] for part in ctx.held_out)
    features = _features(ctx.model, _last_layer(ctx.model), x).flatten(1)
    apart = torch.cdist(features, features, compute_mode="donot_use_mm_for_euclid_dist")
    apart.fill_diagonal_(math.inf)
    close = apart <= apart.amin(1).quantile(quantile)
    differ = labels[:, None] != labels
    return float((close & differ).sum()) / float(close.sum())


def _last_layer(model: nn.Module) -> str:
    """Path of the layer that makes the outputs of features. Raises ValueError where it is not a plain one."""
    from torch import nn

    paths = [name for name, module in model.named_modules() if getattr(module, "weight", None) is not None]
    layers = [name for name in paths if model.get_submodule(name).weight.ndim >= 2]  # type: ignore[operator]
    if not layers or not isinstance(last := model.get_submodule(layers[-1]), nn.Linear | nn.Conv2d):
        raise ValueError("features: the last layer with weights is to be a linear layer or a convolution")
    if isinstance(last, nn.Conv2d) and last.groups > 1:
        raise ValueError(f"features: {layers[-1]}: a grouped convolution has no one set of features")
    return layers[-1]


def _rotations(like: Tensor) -> Iterator[Tensor]:
    """Haar-orthogonal matrices of the size of its rows: the same for all layers of as many inputs (Mezzadri 2007)."""
    import torch

    generator = generator_for("common", "measure", "rotation")
    for _ in range(DRAWS[1]):
        normal = torch.randn(like.shape[1], like.shape[1], generator=generator, dtype=torch.float64)
        q, r = torch.linalg.qr(normal)
        yield (q * r.diagonal().sign()).to(like)


def _features(model: nn.Module, layer: str, x: Tensor) -> Tensor:
    """What a layer is given, in float64."""
    import torch

    caught: list[Tensor] = []
    handle = model.get_submodule(layer).register_forward_pre_hook(lambda _, given: caught.append(given[0].double()))
    try:
        with torch.no_grad():
            for part in x.split(CHUNK):
                model(part)
    finally:
        handle.remove()
    return torch.cat(caught)
