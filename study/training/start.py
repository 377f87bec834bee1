"""What a run starts from, by its config: its data, its labels, its network with initial weights, or as trained."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from study.choice import Choice
from study.config import RunConfig, class_groups, n_classes
from study.data.dataset import Tensors, known
from study.data.extra import EXTRAS
from study.data.labels import LABELS, noisy_labels
from study.data.pixels import decoded
from study.data.subset import chosen
from study.data.target import relabelled
from study.loss import n_outputs
from study.models.registry import build
from study.seeds import generator_for
from study.storage.atomic import read_tensors

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn


def training_data(config: RunConfig, as_bytes: bool = False) -> Tensors:
    """The run's data set, its subset and target, and what the config adds to it; on the CPU, the same for all seeds.

    `as_bytes`: images stay bytes where nothing is added; see `decoded`. Raises ConfigError for too few images.
    """
    plain = config.extra == Choice("none")
    found, more = chosen(config.dataset, config.n_train, config.n_validation, config.subset, as_bytes and plain)
    data = found.changed({name: relabelled(y, class_groups(config)) for name, y in found.labels().items()})
    if plain:
        return data if as_bytes else data.decoded()

    def more_of_them(k: int) -> tuple[Tensor, Tensor]:
        x, y = more(k)
        return decoded(x), relabelled(y, class_groups(config))

    data = data.decoded()
    larger = EXTRAS[config.extra.name](data, more_of_them, EXTRAS.options(config.extra))
    return replace(data, train_x=larger.train_x, train_y=larger.train_y, n_own=len(data.train_x))


def training_labels(config: RunConfig, clean: Tensor) -> Tensor:
    """The labels that the run is trained on, shape (n,), with its own noise."""
    given = _noisy(config, clean, "labels")
    return noisy_labels(given, config.label_noise, n_classes(config), config.seed)


def with_own_labels(config: RunConfig, data: Tensors) -> Tensors:
    """The data with the run's own noise on the labels of test and validation images, where the config asks for it."""
    if LABELS.options(config.labels).get("test") != "yes":
        return data
    held_out = {name: y for name, y in data.labels().items() if name != "train_y"}
    return data.changed({name: _noisy(config, y, f"labels.{name}") for name, y in held_out.items()})


def _noisy(config: RunConfig, clean: Tensor, purpose: str) -> Tensor:
    options = LABELS.options(config.labels)
    return LABELS[config.labels.name](clean, options, generator_for(config.seed, purpose))


def build_model(config: RunConfig, hidden: tuple[int, ...] | None = None) -> nn.Module:
    """The run's network with its initial weights, of its own widths or of others; the global RNG is kept."""
    config = config if hidden is None else replace(config, hidden=hidden)
    shape, n = known(config.dataset).shape, n_outputs(config.loss, n_classes(config))
    return build(
        config.model, shape, n, config.hidden, init=config.init, gain=config.init_gain, seed=config.seed
    )  # fmt: skip


def trained_model(config: RunConfig, weights: Path, device: str = "cpu") -> nn.Module:
    """The run's network with the weights of a stop, in eval mode."""
    model = build_model(config).to(device).eval()
    model.load_state_dict(read_tensors(weights, device))
    return model
