"""Networks and their initial weights. Constructors import torch themselves, so that names can be checked without it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from study.data.dataset import DATASETS
from study.seeds import seed_for

if TYPE_CHECKING:
    from torch import nn

    from study.config import RunConfig


@dataclass(frozen=True)
class Model:
    """A constructor (shape of one input, classes, config) -> module, and the fewest input dimensions that it takes."""

    build: Callable[[tuple[int, ...], int, RunConfig], nn.Module]
    min_dimensions: int = 1


def _mlp(shape: tuple[int, ...], n_classes: int, config: RunConfig) -> nn.Module:
    """Fully connected ReLU network with layers fc1, fc2, ... of widths `hidden`, on flattened inputs."""
    from collections import OrderedDict
    from math import prod

    from torch import nn

    widths = [prod(shape), *config.hidden, n_classes]
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    for i in range(1, len(widths)):
        layers[f"fc{i}"] = nn.Linear(widths[i - 1], widths[i])
        if i < len(widths) - 1:
            layers[f"relu{i}"] = nn.ReLU()
    return nn.Sequential(layers)


def _lenet5(shape: tuple[int, ...], n_classes: int, config: RunConfig) -> nn.Module:
    """LeNet5 with ReLU and max-pooling, as in the source papers' code: conv 6 and 16 of 5x5, then 120, 84, classes.

    Pooling stands before ReLU: the two commute to the bit, and ReLU then sees a quarter of the values.
    """
    from collections import OrderedDict

    from torch import nn

    from study.models.pooling import HalvingPool

    channels, height, width = shape
    side = [((n - 4) // 2 - 4) // 2 for n in (height, width)]
    features = 16 * side[0] * side[1]
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(channels, 6, 5),
            pool1=HalvingPool(),
            relu1=nn.ReLU(),
            conv2=nn.Conv2d(6, 16, 5),
            pool2=HalvingPool(),
            relu2=nn.ReLU(),
            flatten=nn.Flatten(),
            fc1=nn.Linear(features, 120),
            relu3=nn.ReLU(),
            fc2=nn.Linear(120, 84),
            relu4=nn.ReLU(),
            fc3=nn.Linear(84, n_classes),
        )
    )


MODELS: dict[str, Model] = {"mlp": Model(_mlp), "lenet5": Model(_lenet5, min_dimensions=3)}

# Weights of every layer; biases are zero, except with "default", which is PyTorch's own for weights and biases.
INITS: dict[str, str] = {
    "default": "",
    "xavier_normal": "xavier_normal_",
    "kaiming_uniform": "kaiming_uniform_",
    "uniform_0.1": "uniform_",
    "normal_0.1": "normal_",
}


def build_model(config: RunConfig) -> nn.Module:
    """The run's network with its initial weights, drawn on the CPU from the run's own seed; the global RNG is kept."""
    import torch
    from torch import nn

    spec = DATASETS[config.dataset]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_for(config.seed, "init"))
        model = MODELS[config.model].build(spec.shape, spec.n_classes, config)
        for module in model.modules():
            weight, bias = getattr(module, "weight", None), getattr(module, "bias", None)
            if not isinstance(weight, nn.Parameter) or weight.ndim < 2:
                continue
            if config.init != "default":
                bounds = {"uniform_0.1": (-0.1, 0.1), "normal_0.1": (0.0, 0.1)}.get(config.init, ())
                getattr(nn.init, INITS[config.init])(weight, *bounds)
                if isinstance(bias, nn.Parameter):
                    nn.init.zeros_(bias)
            with torch.no_grad():
                weight.mul_(config.init_gain)
    return model
