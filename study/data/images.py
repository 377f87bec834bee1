"""MNIST, Fashion-MNIST and CIFAR-10, read by torchvision."""

from __future__ import annotations

from typing import Any

from study.data import fetch
from study.data.dataset import Tensors, dataset
from study.storage.paths import data_folder


@dataset("mnist", n_train=60_000, n_test=10_000, n_classes=10, shape=(1, 28, 28), downloaded=True)
def mnist(n_train: int) -> Tensors:
    """LeCun's 28x28 handwritten digits."""
    return from_torchvision("MNIST", n_train)


@dataset("fashion_mnist", n_train=60_000, n_test=10_000, n_classes=10, shape=(1, 28, 28), downloaded=True)
def fashion_mnist(n_train: int) -> Tensors:
    """Zalando's 28x28 articles of clothing."""
    return from_torchvision("FashionMNIST", n_train)


@dataset("cifar10", n_train=50_000, n_test=10_000, n_classes=10, shape=(3, 32, 32), downloaded=True)
def cifar10(n_train: int) -> Tensors:
    """Krizhevsky's 32x32 colour images."""
    return from_torchvision("CIFAR10", n_train)


def from_torchvision(name: str, n_train: int) -> Tensors:
    """A torchvision data set under $STUDY_DATA (default .data/), as (x / 255 - 0.5) / 0.5 with channels first."""
    import numpy as np
    import torch

    parts: list[Any] = []
    for train in (True, False):
        part = fetch.part(name, data_folder(), train=train)
        images = torch.from_numpy(np.asarray(part.data))
        images = images.unsqueeze(1) if images.ndim == 3 else images.permute(0, 3, 1, 2)
        labels = torch.as_tensor(part.targets, dtype=torch.int64)
        if train:  # as floats they are four times larger: no more of them than are wanted
            images = images[:n_train].to(torch.float32, memory_format=torch.contiguous_format)
            labels = labels[:n_train].clone()
        parts += [images.float().div_(255).sub_(0.5).div_(0.5), labels]
    return Tensors(*parts)
