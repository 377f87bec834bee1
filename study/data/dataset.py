"""Data sets: whole, in memory, as tensors, in a fixed order, with fixed subsets."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from study.seeds import generator_for
from study.storage.paths import data_folder

if TYPE_CHECKING:
    import torch

    from study.config import RunConfig


@dataclass(frozen=True)
class Dataset:
    """What is known about a data set before it is loaded; `shape` is that of one input.

    `load` takes the number of training inputs to load, the first ones.
    """

    n_train: int
    n_test: int
    n_classes: int
    shape: tuple[int, ...]
    load: Callable[[int], Tensors]


@dataclass(frozen=True)
class Tensors:
    """Inputs (n, *shape) float32 and labels (n,) int64, for training and test."""

    train_x: torch.Tensor
    train_y: torch.Tensor
    test_x: torch.Tensor
    test_y: torch.Tensor

    def to(self, device: str | torch.device) -> Tensors:
        """The same on another device."""
        return Tensors(*(t.to(device) for t in (self.train_x, self.train_y, self.test_x, self.test_y)))


def _digits(n_train: int) -> Tensors:
    """scikit-learn's 1,797 8x8 digits, scaled to [0, 1]; 300 to train on. RandomState's stream is frozen for good."""
    import numpy as np
    import torch

    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ValueError("dataset: 'digits': needs scikit-learn, which carries it: pip install scikit-learn") from error

    images, labels = load_digits(return_X_y=True)
    order = np.random.RandomState(0).permutation(len(labels))
    x = torch.from_numpy(images[order] / 16.0).float()
    y = torch.from_numpy(labels[order]).long()
    return Tensors(x[:300][:n_train], y[:300][:n_train], x[300:], y[300:])


def _from_torchvision(name: str, n_train: int) -> Tensors:
    """A torchvision data set under $STUDY_DATA (default .data/), as (x / 255 - 0.5) / 0.5 with channels first."""
    import numpy as np
    import torch

    from study.data.vision import torchvision

    root = data_folder()
    dataset = getattr(torchvision().datasets, name)
    parts: list[Any] = []
    for train in (True, False):
        try:
            part = dataset(root=root, train=train, download=False)
        except RuntimeError:
            try:
                part = dataset(root=root, train=train, download=True)
            except Exception as error:  # whatever stops a download: no network, no space, a server's answer
                reason = " ".join(str(error).split())[:200]
                allowed = "a torchvision root that has it, or a network to download it"
                raise ValueError(f"STUDY_DATA: {str(root)!r}: holds no {name} ({reason}); allowed: {allowed}") from None
        images = torch.from_numpy(np.asarray(part.data))
        images = images.unsqueeze(1) if images.ndim == 3 else images.permute(0, 3, 1, 2)
        labels = torch.as_tensor(part.targets, dtype=torch.int64)
        if train:  # as floats they are four times larger: no more of them than are wanted
            images = images[:n_train].to(torch.float32, memory_format=torch.contiguous_format)
            labels = labels[:n_train].clone()
        parts += [images.float().div_(255).sub_(0.5).div_(0.5), labels]
    return Tensors(*parts)


DATASETS: dict[str, Dataset] = {
    "digits": Dataset(300, 1497, 10, (64,), _digits),
    "mnist": Dataset(60_000, 10_000, 10, (1, 28, 28), lambda n: _from_torchvision("MNIST", n)),
    "fashion_mnist": Dataset(60_000, 10_000, 10, (1, 28, 28), lambda n: _from_torchvision("FashionMNIST", n)),
    "cifar10": Dataset(50_000, 10_000, 10, (3, 32, 32), lambda n: _from_torchvision("CIFAR10", n)),
}


@functools.lru_cache(maxsize=1)
def load(dataset: str, n_train: int = 0) -> Tensors:
    """The data set with its first `n_train` training images (0: all); the test set is always whole."""
    known = DATASETS[dataset]
    return known.load(n_train or known.n_train)


def training_labels(config: RunConfig, clean: torch.Tensor) -> torch.Tensor:
    """The labels that this run is trained on, shape (n,): a `label_noise` fraction moved to another class, seeded."""
    import torch

    n_noisy = round(config.label_noise * len(clean))
    if not n_noisy:
        return clean
    n_classes = DATASETS[config.dataset].n_classes
    generator = generator_for(config.seed, "label_noise")
    chosen = torch.randperm(len(clean), generator=generator)[:n_noisy].to(clean.device)
    shift = torch.randint(1, n_classes, (n_noisy,), generator=generator).to(clean.device)
    labels = clean.clone()
    labels[chosen] = (labels[chosen] + shift) % n_classes
    return labels
