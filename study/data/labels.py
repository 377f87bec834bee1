"""Label noise: a fraction of the training labels moved to another class."""

from __future__ import annotations

from typing import TYPE_CHECKING

from study.seeds import generator_for

if TYPE_CHECKING:
    import torch


def noisy_labels(clean: torch.Tensor, fraction: float, n_classes: int, seed: int) -> torch.Tensor:
    """Labels (n,) of which a `fraction` is moved to another class, drawn from the run's seed."""
    import torch

    n_noisy = round(fraction * len(clean))
    if not n_noisy:
        return clean
    generator = generator_for(seed, "label_noise")
    chosen = torch.randperm(len(clean), generator=generator)[:n_noisy].to(clean.device)
    shift = torch.randint(1, n_classes, (n_noisy,), generator=generator).to(clean.device)
    labels = clean.clone()
    labels[chosen] = (labels[chosen] + shift) % n_classes
    return labels
