"""A network trained as a user of PyTorch would write it: a module, torch.optim.SGD, batches by index."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from study.config import RunConfig
from study.data.dataset import known
from study.models.registry import build
from study.seeds import generator_for
from tests.benchmarks.networks import lenet5, mlp

EVALUATED = 1000  # inputs a forward pass of the evaluation at an epoch's end


class Alone:
    """One network of a study's config, its optimizer and its loop; `epochs` and `steps` are counted.

    It is written with torch alone; from the project come the numbers that make results comparable, the initial weights
    and the seed of each epoch's order.
    """

    def __init__(self, config: RunConfig, x: Tensor, y: Tensor) -> None:
        self.config, self.x, self.y = config, x, y
        self.model = plain_network(config).to(x.device)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=config.lr, momentum=config.momentum)
        self.epochs = self.steps = 0
        self.loss = self.error = float("nan")

    def epoch(self) -> None:
        """Train one epoch, then take loss and error on all training inputs: a study's stops and curves are of them."""
        self.model.train()
        order = torch.randperm(len(self.y), generator=generator_for(self.config.seed, "order", self.epochs))
        for batch in order.to(self.x.device).split(self.config.batch_size):
            self.optimizer.zero_grad()
            F.cross_entropy(self.model(self.x[batch]), self.y[batch]).backward()
            self.optimizer.step()
            self.steps += 1
        self.epochs += 1
        self._evaluate()

    def _evaluate(self) -> None:
        self.model.eval()
        loss, wrong = torch.zeros((), device=self.x.device), torch.zeros((), device=self.x.device)
        with torch.no_grad():
            for x, y in zip(self.x.split(EVALUATED), self.y.split(EVALUATED), strict=True):
                logits = self.model(x)
                loss += F.cross_entropy(logits, y, reduction="sum")
                wrong += (logits.argmax(1) != y).sum()
        self.loss, self.error = loss.item() / len(self.y), wrong.item() / len(self.y)


def plain_network(config: RunConfig) -> nn.Module:
    """The run's network from torch's own layers, with the run's initial weights; parameters in the same order."""
    spec = known(config.dataset)
    ours = build(config.model, spec.shape, spec.n_classes, config.hidden,
                 init=config.init, gain=config.init_gain, seed=config.seed)  # fmt: skip
    if config.model.name == "mlp":
        widths = (spec.shape[0], *config.hidden, spec.n_classes)
        plain: nn.Module = mlp(*widths)
    elif config.model.name == "lenet5":
        plain = lenet5()
    else:
        return ours  # made of torch's layers already
    names, initial = plain.state_dict().keys(), ours.state_dict().values()
    plain.load_state_dict(dict(zip(names, initial, strict=True)))
    return plain
