"""Small networks of every supported kind, float64, with their data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass
class Case:
    """A network, its inputs, and whether its Gauss-Newton block is the Hessian."""

    model: nn.Module
    inputs: Tensor | tuple[Tensor, ...] | dict[str, Tensor]
    exact: bool = True


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.body = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.head = nn.Linear(4, 3)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.norm(self.stem(x)))
        x = self.act(self.body(x) + x)
        return self.head(x.mean((2, 3)))


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.head = nn.Linear(3, 4), nn.Linear(2, 4), nn.Linear(8, 3)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.head(torch.cat([self.left(a), self.right(b)], 1).relu())


class Siamese(nn.Module):
    """One linear layer used twice side by side: the outputs are still linear in it."""

    def __init__(self) -> None:
        super().__init__()
        self.shared, self.head = nn.Linear(3, 4), nn.Linear(4, 3)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.head(self.shared(a).relu() + 2 * self.shared(b).relu())


class Repeated(nn.Module):
    """One linear layer used twice in a row: the outputs are quadratic in it."""

    def __init__(self) -> None:
        super().__init__()
        self.shared, self.head = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.shared(self.shared(x).relu()).relu())


class Tied(nn.Module):
    """Two modules that hold one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.first(x).relu() + self.second(x.flip(1)).relu()


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value, self.head = (nn.Linear(4, 4) for _ in range(4))
        self.norm = nn.LayerNorm(4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        mixed = nn.functional.scaled_dot_product_attention(self.query(x), self.key(x), self.value(x))
        return self.head(mixed.mean(1))


def _conv(*body: nn.Module, n_flat: int) -> nn.Module:
    return nn.Sequential(*body, nn.Flatten(), nn.Linear(n_flat, 3))


def _mlp(activation: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(5, 6), activation, nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3))


_BUILD: dict[str, Callable[[], tuple]] = {
    "linear": lambda: (nn.Linear(5, 3), (6, 5)),
    "mlp_relu": lambda: (_mlp(nn.ReLU()), (6, 5)),
    "mlp_leaky": lambda: (_mlp(nn.LeakyReLU()), (6, 5)),
    "mlp_relu6": lambda: (_mlp(nn.ReLU6(inplace=True)), (6, 5)),
    "mlp_hardtanh": lambda: (_mlp(nn.Hardtanh()), (6, 5)),
    "mlp_dropout": lambda: (_mlp(nn.Dropout(0.5)), (6, 5)),
    "conv2d_strided": lambda: (
        _conv(nn.Conv2d(2, 4, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2)), nn.ReLU(), n_flat=64),
        (4, 2, 7, 6),
    ),
    "conv2d_padding_mode": lambda: (
        _conv(nn.Conv2d(2, 3, 3, padding="same", padding_mode="circular"), nn.ReLU(), nn.AvgPool2d(3), n_flat=12),
        (4, 2, 6, 6),
    ),
    "conv2d_same_even": lambda: (_conv(nn.Conv2d(1, 2, 2, padding="same"), nn.ReLU(), n_flat=32), (4, 1, 4, 4)),
    "conv2d_groups": lambda: (
        _conv(nn.Conv2d(4, 6, 3, groups=2), nn.ReLU(), nn.Conv2d(6, 6, 1, groups=6), nn.MaxPool2d(2), n_flat=24),
        (4, 4, 6, 6),
    ),
    "conv2d_wide": lambda: (
        nn.Sequential(nn.Conv2d(8, 9, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(9, 3)),
        (4, 8, 3, 3),
    ),
    "conv1d": lambda: (_conv(nn.Conv1d(2, 3, 3, padding=1), nn.ReLU(), nn.MaxPool1d(2), n_flat=12), (5, 2, 8)),
    "conv3d": lambda: (_conv(nn.Conv3d(1, 2, 2), nn.ReLU(), nn.AdaptiveMaxPool3d(1), n_flat=2), (4, 1, 3, 3, 3)),
    "batch_norm1d": lambda: (
        nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3)),
        (6, 4),
    ),
    "group_norm": lambda: (
        nn.Sequential(nn.Conv2d(1, 4, 2), nn.GroupNorm(2, 4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3)),
        (4, 1, 3, 3),
        False,
    ),
    "residual": lambda: (Residual(), (4, 2, 4, 4)),
    "two_inputs": lambda: (TwoInputs(), [(5, 3), (5, 2)]),
    "siamese": lambda: (Siamese(), [(5, 3), (5, 3)]),
    "tied": lambda: (Tied(), (5, 4)),
    "repeated": lambda: (Repeated(), (5, 4), False),
    "tokens": lambda: (nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Flatten(), nn.Linear(20, 3)), (4, 5, 3)),
    "tanh": lambda: (_mlp(nn.Tanh()), (6, 5), False),
    "gelu": lambda: (_mlp(nn.GELU()), (6, 5), False),
    "attention": lambda: (Attention(), (4, 3, 4), False),
}
NAMES = tuple(_BUILD)


def case(name: str) -> Case:
    """One of the networks by name, with random running statistics where it has a batch-norm."""
    generator = torch.Generator().manual_seed(sum(map(ord, name)))
    with torch.random.fork_rng():
        torch.manual_seed(generator.initial_seed())
        model, shape, *exact = _BUILD[name]()
    model = model.double().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.normal_(generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
            module.weight.data.uniform_(0.5, 2, generator=generator)
    shapes = shape if isinstance(shape, list) else [shape]
    inputs = tuple(torch.randn(size, generator=generator, dtype=torch.float64) for size in shapes)
    return Case(model, inputs if len(inputs) > 1 else inputs[0], *exact)


def targets(name: str, n: int, n_outputs: int) -> Tensor:
    """Targets for a loss."""
    generator = torch.Generator().manual_seed(n)
    if name == "cross_entropy":
        return torch.randint(n_outputs, (n,), generator=generator)
    if name == "binary_cross_entropy":
        return torch.randint(2, (n, n_outputs), generator=generator).double()
    return torch.randn(n, n_outputs, generator=generator, dtype=torch.float64)
