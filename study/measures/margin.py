"""Measures of the network's outputs on its training set."""

from __future__ import annotations

from study.measures.registry import MeasureContext, measure


@measure("inverse_margin")
def inverse_margin(ctx: MeasureContext) -> float:
    """Inverse squared margin, the margin being the 10th percentile over the training set of f[y] - max_{c != y} f[c].

    1 / gamma^2. Source: Jiang et al. 2020 (1912.02178), section C.2. Parameters: none. Data: training set, outputs
    before the softmax. Fails (recorded as missing) where gamma is not positive. Deterministic. Cost: one forward
    pass, shared.
    """
    own = ctx.logits.gather(1, ctx.labels[:, None])
    others = ctx.logits.scatter(1, ctx.labels[:, None], float("-inf")).amax(1, keepdim=True)
    gamma = (own - others).flatten().quantile(0.1).item()
    if gamma <= 0:
        raise ValueError(f"{gamma:.3g}: the 10th percentile of the margins must be positive")
    return gamma**-2


@measure("train_loss")
def train_loss(ctx: MeasureContext) -> float:
    """Mean training loss itself, the baseline that a measure at a common stop must beat.

    mean_i loss(f(x_i), y_i). Source: baseline of the study. Parameters: none. Data: training set, mean, the run's own
    labels. Deterministic. Cost: one forward pass, shared.
    """
    from study.evaluate import sample_losses

    return sample_losses(ctx.logits, ctx.labels, ctx.loss).mean().item()
