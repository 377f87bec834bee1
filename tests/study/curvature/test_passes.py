"""Data are read more than once: in any order, from arrays, and the same in every pass, or they are refused."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from study.curvature import Curvature, hessian_trace, layer_curvature
from tests.study.curvature.test_verified import N, Net, data


class Stream(IterableDataset):
    """Can be read once."""

    def __init__(self, n: int = N) -> None:
        x, y = data(n)
        self.samples = iter(list(zip(x, y, strict=True)))

    def __iter__(self) -> Iterator:
        return self.samples


def test_a_stream_that_can_be_read_once_is_measured_whole_or_refused() -> None:
    torch.manual_seed(0)
    net = Net(torch.relu)
    assert layer_curvature(net, DataLoader(Stream(), batch_size=8))["head"].n_samples == N
    for options in ({"columns": 0.1}, {"memory_budget": 3_000}):
        with pytest.raises(ValueError, match=f"data gave {N} samples in the first pass and 0 in another"):
            layer_curvature(net, DataLoader(Stream(), batch_size=8), **options)
    with pytest.raises(ValueError, match="samples in the first pass and 0 in another"):
        hessian_trace(net, DataLoader(Stream(), batch_size=8))


class Augmented(Dataset):
    def __len__(self) -> int:
        return 200

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        x, y = data(200)
        return x[index] + 0.1 * torch.randn(4), y[index]


def test_data_that_differ_from_pass_to_pass_are_refused() -> None:
    torch.manual_seed(0)
    net = Net(torch.relu)
    for call in (
        lambda: layer_curvature(net, DataLoader(Augmented(), batch_size=50), memory_budget=10_000),
        lambda: layer_curvature(net, DataLoader(Augmented(), batch_size=50), columns=0.1),
        lambda: hessian_trace(net, DataLoader(Augmented(), batch_size=50), method="exact", layers=["first"]),
    ):
        with pytest.raises(ValueError, match="differ from pass to pass"):
            call()


def test_the_order_of_a_pass_is_nobodys_business() -> None:
    torch.manual_seed(0)
    net, loader = Net(torch.relu), DataLoader(TensorDataset(*data(200)), batch_size=30, shuffle=True)
    expected = layer_curvature(net, data(200))["first"].trace
    assert layer_curvature(net, loader, memory_budget=10_000)["first"].trace == pytest.approx(expected, rel=1e-5)
    with Curvature(net, loader) as matrix:
        for _ in range(3):
            matrix.product(torch.ones(1, matrix.n))


def test_numpy_arrays_are_data() -> None:
    torch.manual_seed(0)
    net, (x, y) = Net(torch.relu), data()
    expected = layer_curvature(net, (x, y))["first"].trace
    fixed = x.numpy().astype(np.float64)
    fixed.flags.writeable = False
    backwards = x.numpy()[::-1].copy()[::-1]
    for inputs in (x.numpy(), fixed, backwards):
        assert layer_curvature(net, (inputs, y.numpy()))["first"].trace == expected
        batches = [(inputs[:7], y.numpy()[:7]), (inputs[7:], y.numpy()[7:])]
        assert layer_curvature(net, batches)["first"].trace == pytest.approx(expected)
        assert hessian_trace(net, (inputs, y.numpy()))["first"].value == hessian_trace(net, (x, y))["first"].value
    with pytest.raises(ValueError, match="data holds an array of object, not of numbers"):
        layer_curvature(net, (np.array([None, {}]), np.array([0, 1])))
    with pytest.raises(ValueError, match="each input holds all samples"):
        layer_curvature(net, ((x, x[:5]), y))


def test_checks_are_a_small_part_of_the_work() -> None:
    """Calls of the network: each sample once for the pass, and a few again."""
    torch.manual_seed(0)
    net, (x, y) = Net(torch.relu), data(4000)
    seen: list[int] = []
    net.register_forward_hook(lambda module, args, output: seen.append(len(output)))
    for batches in ((x, y), [(x[at : at + 1], y[at : at + 1]) for at in range(400)]):
        seen.clear()
        n = layer_curvature(net, batches)["head"].n_samples
        assert sum(seen) < 1.1 * n + 60
