"""The networks of the curvature benchmark, with data of their shapes."""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from study.data.vision import torchvision


def lenet5() -> nn.Module:
    """LeNet5 for 32 x 32 images."""
    return nn.Sequential(
        *(nn.Conv2d(3, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)),
    )


def mlp(*widths: int) -> nn.Module:
    """A ReLU network of these widths."""
    layers: list[nn.Module] = []
    for n_in, n_out in itertools.pairwise(widths):
        layers += [nn.Linear(n_in, n_out), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def vgg() -> nn.Module:
    """A VGG without norm layers for 32 x 32 images."""
    layers: list[nn.Module] = []
    width = 3
    for block in ([32, 32], [64, 64], [128, 128], [256, 256]):
        for n_out in block:
            layers += [nn.Conv2d(width, n_out, 3, padding=1), nn.ReLU()]
            width = n_out
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(1024, 10))


def resnet18() -> nn.Module:
    """torchvision's, unmodified."""
    return torchvision().models.resnet18(num_classes=10).eval()


def images(n: int) -> tuple[Tensor, Tensor]:
    """Noise in the shape of CIFAR: the times do not depend on what is in it."""
    return torch.randn(n, 3, 32, 32), torch.randint(10, (n,))


def digit_pairs(n: int = 2000, loss: float = 0.01) -> tuple[nn.Module, Tensor, Tensor]:
    """A network trained on 100 classes of real images: two of scikit-learn's digits side by side, 00 to 99."""
    from sklearn.datasets import load_digits  # the only one here that needs it

    digits, labels = (torch.from_numpy(values) for values in load_digits(return_X_y=True))
    first, second = torch.randint(len(labels), (2, n))
    x = torch.cat([digits[first], digits[second]], 1).float() / 8 - 1
    y = labels[first] * 10 + labels[second]
    model = mlp(128, 256, 128, 100)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for _ in range(200):
        for batch in torch.randperm(n).split(50):
            optimizer.zero_grad()
            F.cross_entropy(model(x[batch]), y[batch]).backward()
            optimizer.step()
        with torch.no_grad():
            if F.cross_entropy(model(x), y) < loss:
                break
    return model, x, y
