"""Measures of the network's outputs on its training set."""

from __future__ import annotations

from typing import TYPE_CHECKING

from study.measures.context import MeasureContext
from study.measures.registry import measure

if TYPE_CHECKING:
    from torch import Tensor


def class_logits(ctx: MeasureContext) -> Tensor:
    """Outputs on the training set, one a class (n, C), float64: of one output f, whose sigmoid is it, (0, f)."""
    return _two_or_more(ctx.logits)


@measure("inverse_margin")
def inverse_margin(ctx: MeasureContext) -> float:
    """Inverse squared margin, the margin being the 10th percentile over the training set of f[y] - max_{c != y} f[c].

    1 / gamma^2; the margin of one output f is f for class 1 and -f for class 0. Source: Jiang et al. 2020 (1912.02178),
    numbering not checked; read in the public code of Dziugaite et al. 2020 (`INVERSE_MARGIN`), there also where gamma
    is negative: a network that is wrong by far then passes for one that is right by far. Parameters: none. Data:
    training set, outputs before the softmax. Fails (recorded as missing) where gamma is not positive, so at stops at
    which more than a tenth is misclassified. Deterministic. Cost: one forward pass, shared. Invariant: layer-wise,
    neuron-wise, permutation, norm-layer.
    """
    return _inverse_square(_margins(ctx.shared(class_logits), ctx.labels))


@measure("margin_normalized")
def margin_normalized(ctx: MeasureContext) -> float:
    """Inverse squared margin in the space of inputs: each sample's margin over the length of its gradient there.

    1 / gamma^2, gamma the 10th percentile over the training set of margin_i / ||d margin_i / d x_i||, margins as in
    `inverse_margin`: to first order the distance to the boundary between classes. Source: as `inverse_margin`, of which
    it is a variant of ours; read in no published code. Parameters: none. Data: training set. Fails (recorded as
    missing) where gamma is not positive. Deterministic. Cost: one forward and one backward pass. Invariant: layer-wise,
    neuron-wise, permutation, norm-layer.
    """
    import torch

    ratios = []
    for x, labels in ctx.batches():
        given = x.detach().clone().requires_grad_()
        with torch.enable_grad():
            margins = _margins(_two_or_more(ctx.model(given)), labels)
            (slope,) = torch.autograd.grad(margins.sum(), given)
        ratios.append(margins.detach().double() / slope.double().flatten(1).norm(dim=1))
    return _inverse_square(torch.cat(ratios))


@measure("train_loss")
def train_loss(ctx: MeasureContext) -> float:
    """Mean training loss itself, the baseline that a measure at a common stop must beat.

    mean_i loss(f(x_i), y_i). Source: baseline of the study. Parameters: none. Data: training set, mean, the run's own
    labels. Deterministic. Cost: one forward pass, shared. Invariant: layer-wise, neuron-wise, permutation, norm-layer.
    """
    from study.loss import sample_losses

    return sample_losses(ctx.logits, ctx.labels, ctx.loss).mean().item()


@measure("fisher_rao_norm")
def fisher_rao_norm(ctx: MeasureContext) -> float:
    """Fisher-Rao norm: the length of the weights in the metric of the empirical loss, read off the outputs.

    (L + 1) sqrt(mean_i <dloss/df(x_i), f(x_i)>^2), L + 1 the number of weight matrices and kernels, those of shortcuts
    and position embeddings too; for cross-entropy the inner product is <p_i, f_i> - f_i[y_i]. It is the norm of Liang
    et al. of a plain chain of layers without biases; with shortcuts their L + 1, the layers on a path, is less. Source:
    Liang et al. 2019 (1711.01530), numbering not checked; read in the published code of Petzka et al. 2021
    (2001.00939), which takes 6 for L + 1 of LeNet5 where it is 5 here: a constant factor. Parameters: none but through
    the outputs and the depth. Data: training set, mean. Deterministic. Cost: one forward pass, shared. Invariant:
    layer-wise, neuron-wise, permutation, norm-layer.
    """
    import torch

    from study.loss import sample_losses

    with torch.enable_grad():
        f = ctx.logits.detach().requires_grad_()
        (slope,) = torch.autograd.grad(sample_losses(f, ctx.labels, ctx.loss).sum(), f)
    n_layers = sum(p.ndim >= 2 for p in ctx.model.parameters())
    return n_layers * float((slope * ctx.logits).sum(1).square().mean().sqrt())


def _two_or_more(logits: Tensor) -> Tensor:
    from torch.nn import functional

    return functional.pad(logits, (1, 0)) if logits.shape[1] == 1 else logits


def _margins(logits: Tensor, labels: Tensor) -> Tensor:
    """f[y] - max_{c != y} f[c] of each sample."""
    own = logits.gather(1, labels[:, None])
    return (own - logits.scatter(1, labels[:, None], float("-inf")).amax(1, keepdim=True)).flatten()


def _inverse_square(margins: Tensor) -> float:
    gamma = margins.quantile(0.1).item()
    if gamma <= 0:
        raise ValueError(f"{gamma:.3g}: the 10th percentile of the margins must be positive")
    return gamma**-2
