"""The training loss along one random direction, before and after reparameterization: the picture behind the question.

Raw, a reparameterized network looks sharper or flatter than it is; with the direction scaled to each layer's own norm
(layer-wise form of Li et al. 2018, 1712.09913) the slices are those of the network before.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.func import functional_call

from study.config import RunConfig, run_key
from study.data.dataset import Tensors
from study.device import reproducible
from study.loss import mean_loss_and_error
from study.seeds import generator_for
from study.storage.paths import RunPaths, slices_file
from study.storage.rows import Row, write_rows
from study.training.start import trained_model, training_data, training_labels
from study.transforms.rescaling import reparameterized

ALPHAS = tuple(i / 20 for i in range(-20, 21))
RAW_NORM = 5.0  # length of the raw direction at alpha = 1; ours, so that a small network's valley fills the picture


def directions(model: nn.Module, normalization: str, seed: int) -> dict[str, Tensor]:
    """A Gaussian direction for the weights (no biases), the same draw for every network of one shape and seed.

    "raw": the whole direction has length RAW_NORM. "per layer": each layer's part has the length of its weights.
    """
    drawn: dict[str, Tensor] = {}
    generator = generator_for(seed, "slice")
    for name, p in model.named_parameters():
        if p.ndim >= 2:
            drawn[name] = torch.randn(p.shape, generator=generator).to(p)
    if normalization == "raw":
        length = torch.stack([d.square().sum() for d in drawn.values()]).sum().sqrt()
        return {name: d * (RAW_NORM / length) for name, d in drawn.items()}
    if normalization == "per layer":
        weights = dict(model.named_parameters())
        return {name: d * (weights[name].detach().norm() / d.norm()) for name, d in drawn.items()}
    raise ValueError(f"normalization: {normalization!r}: allowed: raw, per layer")


def loss_along(model: nn.Module, direction: dict[str, Tensor], data: Tensors, labels: Tensor, loss: str) -> list[float]:
    """Training loss at weights + alpha * direction at each of ALPHAS. Cost: one forward pass an alpha."""
    start = {name: p.detach() for name, p in model.named_parameters()}
    losses = []
    for alpha in ALPHAS:
        moved = {name: p + alpha * direction[name] if name in direction else p for name, p in start.items()}

        def forward(x: Tensor, moved: dict[str, Tensor] = moved) -> Tensor:
            logits: Tensor = functional_call(model, moved, (x,))
            return logits

        losses.append(mean_loss_and_error(forward, data.train_x, labels, loss)[0].item())
    return losses


def write_slices(study: str, config: RunConfig, runs_root: Path, results_root: Path | None = None) -> Path:
    """Write slices.csv (key, transform, normalization, alpha, loss) for the last stop of one finished run."""
    path = slices_file(study, results_root)
    with reproducible("cpu"):
        write_rows(path, _slices(config, runs_root))
    return path


def _slices(config: RunConfig, runs_root: Path) -> list[Row]:
    paths = RunPaths(runs_root, run_key(config))
    model = trained_model(config, paths.stop(config.stops[-1]).weights)
    data = training_data(config)
    labels = training_labels(config, data.train_y)
    rows: list[Row] = []
    for transform, normalization in itertools.product(("none", "layerwise_1"), ("raw", "per layer")):
        other = model if transform == "none" else reparameterized(model, transform, run_key(config))
        values = loss_along(other, directions(other, normalization, config.seed), data, labels, config.loss)
        place = {"key": paths.key, "transform": transform, "normalization": normalization}
        rows += [{**place, "alpha": repr(a), "loss": repr(v)} for a, v in zip(ALPHAS, values, strict=True)]
    return rows
