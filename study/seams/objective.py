"""The seam `objective`: what the weights are moved to lower. Measures, stops and evaluation use the field `loss`.

An entry is `(evaluation, options) -> (networks,)`: one number a network, in terms that no other network enters. The
options that may differ within a stack come as vectors (networks,), the others as they are.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from study.choice import Option, Registry, number
from study.loss import sample_losses

if TYPE_CHECKING:
    from torch import Tensor

    from study.seams.optimizer import Stack


@dataclass(frozen=True)
class Evaluation:
    """A batch under the networks in training mode: what an objective is made of.

    `x` (networks, n, *shape), `labels` (networks, n), `logits` (networks, n, C), through which the loop takes one
    gradient. An objective that takes gradients itself gets its logits from `forward(parameters, x)`: for these or other
    weights, with the same dropout, differentiable as often as wanted.
    """

    x: Tensor
    labels: Tensor
    logits: Tensor
    loss: str
    leaves: Callable[[], Stack]
    forward: Callable[[Stack, Tensor], Tensor]

    @functools.cached_property
    def parameters(self) -> Stack:
        """The parameters that the gradient is taken by, (networks, *shape)."""
        return self.leaves()

    def losses(self) -> Tensor:
        """The loss of each sample, (networks, n)."""
        return sample_losses(self.logits, self.labels, self.loss)

    def losses_of_classes(self) -> Tensor:
        """The loss that each sample would have with each label, (networks, n, classes)."""
        import torch

        n_classes = max(self.logits.shape[-1], 2)  # one logit means two classes
        labels = torch.arange(n_classes, device=self.labels.device).expand(*self.labels.shape, -1)
        return sample_losses(self.logits.contiguous().unsqueeze(-2).expand(-1, -1, n_classes, -1), labels, self.loss)


Objective = Callable[[Evaluation, Mapping[str, Any]], "Tensor"]
OBJECTIVES: Registry[Objective] = Registry("objective")


def objective(name: str, **options: Option) -> Callable[[Objective], Objective]:
    """Register an entry under its name, with its options."""

    def register(function: Objective) -> Objective:
        OBJECTIVES.add(name, function, options, described_by=function)
        return function

    return register


@objective("plain")
def plain(evaluation: Evaluation, options: Mapping[str, Any]) -> Tensor:
    """The mean loss of the batch."""
    return evaluation.losses().mean(-1)


@objective("label_smoothing", smoothing=number(0.1, least=0, below=1))
def label_smoothing(evaluation: Evaluation, options: Mapping[str, Any]) -> Tensor:
    """The mean loss when a label is, with probability `smoothing`, any of the classes, its own among them.

    (1 - s) l(label) + s mean over classes c of l(c): with cross-entropy torch.nn.CrossEntropyLoss(label_smoothing=s).
    """
    s, any_class = options["smoothing"], evaluation.losses_of_classes().mean(-1)
    return (1 - s) * evaluation.losses().mean(-1) + s * any_class.mean(-1)
