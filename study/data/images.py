"""Real images, read by torchvision: MNIST and its kin, CIFAR, SVHN."""

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


@dataset("kmnist", n_train=60_000, n_test=10_000, n_classes=10, shape=(1, 28, 28), downloaded=True)
def kmnist(n_train: int) -> Tensors:
    """Kuzushiji-MNIST: 28x28 cursive hiragana."""
    return from_torchvision("KMNIST", n_train)


@dataset("emnist_balanced", n_train=112_800, n_test=18_800, n_classes=47, shape=(1, 28, 28), downloaded=True)
def emnist_balanced(n_train: int) -> Tensors:
    """EMNIST, split `balanced`: 28x28 digits and letters, 15 letters with one class for both cases."""
    return from_torchvision("EMNIST", n_train, split="balanced")


@dataset("cifar10", n_train=50_000, n_test=10_000, n_classes=10, shape=(3, 32, 32), downloaded=True)
def cifar10(n_train: int) -> Tensors:
    """Krizhevsky's 32x32 colour images."""
    return from_torchvision("CIFAR10", n_train)


@dataset("cifar100", n_train=50_000, n_test=10_000, n_classes=100, shape=(3, 32, 32), downloaded=True)
def cifar100(n_train: int) -> Tensors:
    """Krizhevsky's 32x32 colour images of 100 fine classes."""
    return from_torchvision("CIFAR100", n_train)


@dataset("svhn", n_train=73_257, n_test=26_032, n_classes=10, shape=(3, 32, 32), downloaded=True)
def svhn(n_train: int) -> Tensors:
    """Street View House Numbers, cropped digits, without the additional images; class 0 is the digit 0."""
    return from_torchvision("SVHN", n_train)


def from_torchvision(name: str, n_train: int, **options: Any) -> Tensors:
    """A torchvision data set under $STUDY_DATA (default .data/) as bytes, upright and with channels first."""
    import numpy as np
    import torch

    parts: list[Any] = []
    for train in (True, False):
        which = {"split": "train" if train else "test"} if name == "SVHN" else {"train": train}
        part = fetch.part(name, data_folder(), **which, **options)
        images = torch.from_numpy(np.asarray(part.data))
        if images.ndim == 3:
            images = images.unsqueeze(1)
        elif name != "SVHN":
            images = images.permute(0, 3, 1, 2)
        if name == "EMNIST":  # its files hold columns where MNIST's hold rows
            images = images.transpose(2, 3)
        labels = torch.as_tensor(part.labels if name == "SVHN" else part.targets, dtype=torch.int64)
        n = n_train if train else len(images)
        parts += [images[:n].clone(memory_format=torch.contiguous_format), labels[:n].clone()]
    return Tensors(*parts)
