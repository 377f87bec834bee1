"""What a run starts from, by its config: its training set, its labels, its network with initial weights."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from study.config import RunConfig
from study.data.dataset import DATASETS, Tensors, load
from study.data.extra import EXTRAS
from study.data.labels import noisy_labels
from study.models.registry import build

if TYPE_CHECKING:
    from torch import Tensor, nn


def training_data(config: RunConfig) -> Tensors:
    """The run's data set, its first `n_train` training inputs and what the config adds to them; on the CPU."""
    data = load(config.dataset, config.n_train)

    def more(k: int) -> tuple[Tensor, Tensor]:
        n = len(data.train_x)
        longer = DATASETS[config.dataset].load(n + k)
        return longer.train_x[n:], longer.train_y[n:]

    larger = EXTRAS[config.extra.name](data, more, EXTRAS.options(config.extra))
    return replace(larger, n_own=len(data.train_x))


def training_labels(config: RunConfig, clean: Tensor) -> Tensor:
    """The labels that the run is trained on, shape (n,), with its own label noise."""
    return noisy_labels(clean, config.label_noise, DATASETS[config.dataset].n_classes, config.seed)


def build_model(config: RunConfig, hidden: tuple[int, ...] | None = None) -> nn.Module:
    """The run's network with its initial weights, of its own widths or of others; the global RNG is kept."""
    config = config if hidden is None else replace(config, hidden=hidden)
    spec = DATASETS[config.dataset]
    return build(
        config.model, spec.shape, spec.n_classes, config.hidden, init=config.init, gain=config.init_gain,
        seed=config.seed,
    )  # fmt: skip
