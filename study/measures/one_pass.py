"""The unit that a measure's cost is told in: one forward and backward pass over the images that it is taken on."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

from study.measures.context import MeasureContext

IMAGES = 512  # at most that many are passed, and the time is scaled to all; ours
REPEATS = 3  # after one that is not counted; ours


def pass_seconds(ctx: MeasureContext, clock: Callable[[], float] = time.perf_counter) -> float:
    """Seconds that the gradient of the loss in all parameters takes by autograd, over all samples of the context.

    The median of REPEATS passes over the first IMAGES samples, times how many of these there are. Cost: four passes
    over them, by `clock`. Leaves gradients as they are.
    """
    import torch

    from study.loss import sample_losses

    x, labels = ctx.x[:IMAGES], ctx.labels[:IMAGES]
    parameters = [p for p in ctx.model.parameters() if p.requires_grad]

    def seconds() -> float:
        begin = clock()
        with torch.enable_grad():
            loss = sample_losses(ctx.model(x), labels, ctx.loss).mean()
            torch.autograd.grad(loss, parameters, allow_unused=True)
        if x.is_cuda:
            torch.cuda.synchronize(x.device)
        return clock() - begin

    return statistics.median([seconds() for _ in range(REPEATS + 1)][1:]) * len(ctx.x) / len(x)
