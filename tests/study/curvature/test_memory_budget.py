"""What is held in memory between products: as much as the budget allows, and no bit is another for it."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from study.curvature import (
    Curvature,
    Loss,
    layer_curvature,
    layer_eigenvalues,
)
from study.curvature.blocks.budget import swift_cpu
from study.curvature.blocks.contraction import Shape
from study.curvature.blocks.rows import layer_rows
from study.curvature.losses.torch_losses import resolve_loss
from study.curvature.networks.batches import Batches
from study.curvature.networks.finding import find_layers
from study.curvature.networks.network import Network
from tests.study.curvature.test_products import problem


@pytest.mark.parametrize("kind", ["hessian", "gauss_newton"])
@pytest.mark.parametrize("n_kept", [0, 1, 2, 4])
def test_what_is_kept_between_products_changes_no_bit(kind: str, n_kept: int) -> None:
    """All chunks, some or none are kept, by the budget; a shuffled loader is read again each time."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3))
    data = torch.randn(7, 5), torch.randint(3, (7,))
    vectors = torch.randn(3, 39, dtype=torch.float64)
    with Curvature(model, data, kind=kind, chunk=2) as matrix:
        first = matrix.product(vectors)
        assert len(matrix._kept) == 4
        used = matrix.memory_budget - matrix._room  # of three chunks of two samples and one of one
        weights = 4 * matrix.n
        held = (used - 4 * weights) / 7
    budget = math.ceil(n_kept * (2 * held + weights))
    with Curvature(model, data, kind=kind, chunk=2, memory_budget=budget) as matrix:
        assert torch.equal(matrix.product(vectors), first)
        assert len(matrix._kept) == n_kept
        assert torch.equal(matrix.product(vectors), first)
        assert len(matrix._kept) == n_kept
    assert not matrix._kept
    loader = DataLoader(TensorDataset(*data), batch_size=2, shuffle=True)
    with Curvature(model, loader, kind=kind) as matrix:
        assert torch.allclose(matrix.product(vectors), first)
        assert not matrix._kept


@pytest.mark.parametrize("kind", ["hessian", "gauss_newton"])
def test_what_is_kept_counts_a_gradient_of_every_chunk(kind: str) -> None:
    """Many small chunks of a wide layer: each holds a gradient as large as the weight."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(200, 300), nn.Tanh(), nn.Linear(300, 2))
    data = torch.randn(30, 200), torch.randint(2, (30,))
    budget = 3_000_000
    with Curvature(model, data, kind=kind, chunk=1, memory_budget=budget) as matrix:
        matrix.product(torch.randn(1, matrix.n, dtype=torch.float64))
        assert 0 < len(matrix._kept) <= budget // (4 * matrix.n)
    matrix.product(torch.randn(1, matrix.n, dtype=torch.float64))
    assert not matrix._kept, "after the end nothing is kept"


@pytest.mark.parametrize("budget", ["2GB", -1, 1.5e9])
def test_a_budget_is_a_number_of_bytes(budget: object) -> None:
    model = nn.Linear(3, 2)
    with pytest.raises(ValueError, match=r"memory_budget .* is not a whole number of bytes"):
        layer_eigenvalues(model, (torch.randn(4, 3), torch.randint(2, (4,))), memory_budget=budget)


def test_saved_bytes_counts_every_view_of_a_storage_once() -> None:
    model = nn.Linear(6, 6, bias=False)
    with Network(model) as network:

        def make() -> Tensor:
            first, second = network(torch.ones(4, 6)).chunk(2, 1)  # two halves of one storage, both saved
            return first * second

        # x (4, 6) for the weight's gradient and the two halves (4, 3); the second half's storage is the first's
        assert network.saved_bytes(make) == 4 * (24 + 12 + 12)
        assert network.saved_bytes(lambda: network(torch.ones(100, 6)[:4])) == 4 * 24


def test_a_convolution_by_its_gradients_is_the_block_of_products() -> None:
    """Two ways to the same products, where samples have weights, some are ignored, and the chunks are uneven."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 4, 3, groups=2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 3))
    x, y = torch.randn(70, 2, 6, 6), torch.randint(3, (70,))
    y[:5] = -100
    loss = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 4.0]))
    by_rows = layer_eigenvalues(model, (x, y), loss, layers=["0"], tolerance=1e-6)["0"]
    by_products = layer_eigenvalues(model, (x, y), loss, layers=["0"], tolerance=1e-6, memory_budget=0)["0"]
    assert by_rows.lambda_max == pytest.approx(by_products.lambda_max, rel=1e-5)
    assert by_rows.lambda_max != by_products.lambda_max  # each went its own way
    (layer,) = find_layers(model, ["0"])
    (found,) = layer_rows(model, Batches.of((x, y)), resolve_loss(loss), None, 2**20, [layer])
    rows = found["0"]
    vectors = torch.randn(3, rows.n, dtype=torch.float64)
    with Curvature(model, (x, y), loss, parameters=["0.weight"], kind="gauss_newton") as matrix:
        torch.testing.assert_close(rows.product(vectors), matrix.product(vectors), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("is_live", [True, False])
def test_convolutions_of_one_pass_each_have_their_block(is_live: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sent back by hand, behind pooling and not; as many together as the budget holds."""
    monkeypatch.setattr(Shape, "pays_at", lambda *_: is_live)
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 3, (3, 2), padding=1), nn.MaxPool2d(2), nn.ReLU(), nn.Conv2d(3, 4, 2), nn.ReLU(), nn.Flatten(),
        nn.Linear(16, 3),
    )  # fmt: skip
    model, x, y = model.double(), torch.randn(70, 2, 6, 6, dtype=torch.float64), torch.randint(3, (70,))
    layers, batches = find_layers(model, ["0", "3"]), Batches.of((x, y))
    both = 70 * 2 * 8 * (36 + 48)  # bytes of 70 samples, two columns and all weights
    held = [list(layer_rows(model, batches, Loss("cross_entropy"), None, both - less, layers)) for less in (0, 1)]
    assert [[list(group) for group in groups] for groups in held] == [[["0", "3"]], [["0"], ["3"]]]
    for name, rows in held[0][0].items():
        vectors = torch.randn(2, rows.n, dtype=torch.float64)
        with Curvature(model, (x, y), parameters=[f"{name}.weight"], kind="gauss_newton") as matrix:
            torch.testing.assert_close(rows.product(vectors), matrix.product(vectors), rtol=1e-10, atol=1e-13)


def test_gradients_are_not_held_where_the_budget_or_the_layer_forbids() -> None:
    model, (x, y), _ = problem("conv2d_strided")
    names = {layer.name: layer for layer in find_layers(model)}
    convolution = next(layer for layer in names.values() if isinstance(layer.module, nn.Conv2d))
    linear = next(layer for layer in names.values() if isinstance(layer.module, nn.Linear))
    batches = Batches.of((x, y))
    assert list(layer_rows(model, batches, Loss("cross_entropy"), None, 2**20, [convolution, linear]))
    assert not list(layer_rows(model, batches, Loss("cross_entropy"), None, 0, [convolution]))
    assert not list(layer_rows(model, batches, Loss("cross_entropy"), None, 2**20, [linear]))


@pytest.mark.parametrize(
    ("sizes", "at_once"),
    [
        ({}, 2**26),
        ({"index0": "48K", "index2": "1024K", "index3": "32768K"}, 2**26),
        ({"index2": "2048K", "index3": "196608K"}, 2**27),
        ({"index3": "491520K"}, 2**28),
        ({"index3": "4194304K"}, 2**28),
        ({"index3": "unknown", "index2": ""}, 2**26),
    ],
)
def test_a_pass_takes_as_much_at_once_as_the_last_cache_holds(
    sizes: dict[str, str], at_once: int, tmp_path: Path
) -> None:
    for index, size in sizes.items():
        (tmp_path / index).mkdir()
        (tmp_path / index / "size").write_text(f"{size}\n")
    assert swift_cpu(tmp_path) == at_once


def test_how_much_is_taken_at_once_is_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(80, 3)
    )
    data = torch.randn(60, 2, 14, 14), torch.randint(3, (60,))
    found = []
    for at_once in (2**14, 2**20, 2**26, 2**28):
        monkeypatch.setattr("study.curvature.blocks.budget.swift_cpu", lambda at_once=at_once: at_once)
        found.append(layer_curvature(model, data, neuron_wise=True))
    for name, first in found[0].items():
        for other in found[1:]:
            torch.testing.assert_close(other[name].trace_matrix, first.trace_matrix, rtol=1e-5, atol=1e-6)
            torch.testing.assert_close(other[name].neuron_wise, first.neuron_wise, rtol=1e-5, atol=1e-7)
