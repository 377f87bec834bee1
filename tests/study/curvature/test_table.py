"""Each row of the document's table of what is exact, what is Gauss-Newton and what is refused: as it says."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from study.curvature import layer_curvature
from tests.reference.curvature import gauss_newton_block, hessian_block, mean_loss, trace_matrix
from tests.study.curvature import (
    networks,
    test_left_as_found,
    test_losses,
    test_passes,
    test_real_networks,
    test_verified,
)
from tests.study.curvature.test_refusals import Functional, Scaled

README = (Path(__file__).parents[3] / "study/curvature/README.md").read_text()
TABLE = re.search(r"\| what \| `kind`, or what the error says \|\n\| :--- \| :--- \|\n(.*?)\n\n", README, re.DOTALL)
ROWS = dict(tuple(cell.strip() for cell in row.split("|")[1:3]) for row in TABLE[1].splitlines()) if TABLE else {}


@dataclass
class Example:
    """A network, its data and its loss; `layers` are those that the row speaks of, all of them by default."""

    model: nn.Module
    x: Any
    y: Tensor | None = None
    loss: Any = "cross_entropy"
    layers: list[str] | None = None
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def targets(self) -> Tensor:
        n = len(self.x[0] if isinstance(self.x, tuple) else self.x)
        return torch.arange(n) % 3 if self.y is None else self.y


class Double(torch.autograd.Function):
    """The square of half of it, under a name that is nobody's."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.square() / 2

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient * ctx.saved_tensors[0]


class Unknown(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return Double.apply(x)


def cases(*names: str) -> Callable[[], Iterator[Example]]:
    def make() -> Iterator[Example]:
        for name in names:
            case = networks.case(name)
            yield Example(case.model, case.inputs)

    return make


def behind(*activations: nn.Module, n: int = 6) -> Callable[[], Iterator[Example]]:
    """The first layer of two, something between them."""

    def make() -> Iterator[Example]:
        for activation in activations:
            torch.manual_seed(0)
            model = nn.Sequential(nn.Linear(5, 6), activation, nn.Linear(6, 3)).double()
            yield Example(model, torch.randn(n, 5, dtype=torch.float64), layers=["0"])

    return make


def layers_of(name: str, *layers: str) -> Callable[[], list[Example]]:
    return lambda: [Example(networks.case(name).model, networks.case(name).inputs, layers=list(layers))]


def last_layers() -> Iterator[Example]:
    for name, layer in (("tanh", "4"), ("gelu", "4"), ("attention", "head"), ("repeated", "head"), ("linear", "")):
        case = networks.case(name)
        yield Example(case.model, case.inputs, layers=[layer])


def losses(*names: str) -> Callable[[], Iterator[Example]]:
    def make() -> Iterator[Example]:
        for name in names:
            loss, y = test_losses.GIVEN[name]
            yield Example(*test_losses.network(), y, loss)

    return make


def given(y: Tensor, loss: Any, **options: Any) -> Example:
    return Example(*test_losses.network(), y, loss, options=options)


def unsupported() -> Iterator[Example]:
    whole, x = torch.randint(5, (6, 4)), torch.randn(6, 4)
    for model, inputs in (
        (nn.Sequential(nn.Embedding(5, 3), nn.Flatten()), whole),
        (nn.Bilinear(4, 4, 3), (x, x)),
        (nn.Sequential(nn.Linear(4, 3), nn.PReLU()), x),
        (nn.Sequential(nn.RMSNorm(4), nn.Linear(4, 3)), x),
        (nn.LSTM(4, 3), x),
        (nn.Sequential(nn.ConvTranspose1d(4, 3, 1), nn.Flatten()), x[:, :, None]),
        (nn.MultiheadAttention(4, 1), (x, x, x)),
        (nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 3))), x),
    ):
        yield Example(model, inputs)


def targets_of_another_loss() -> Iterator[Example]:
    for y in (test_losses.VALUES, test_losses.VALUES[:, :1], 2 * test_losses.PROBABILITIES):
        yield given(y, "cross_entropy")
        yield given(y, nn.CrossEntropyLoss())


def out_of_range() -> Iterator[Example]:
    yield given(test_losses.CLASSES + 1, "cross_entropy")
    yield given(test_losses.IGNORED, "cross_entropy", memory_budget=40_000)


def elsewhere() -> Iterator[Example]:
    for how in ("sequence first", "flattened", "one after another", "a sequence of samples"):
        torch.manual_seed(0)
        yield Example(test_verified.Tokens(how).double(), torch.randn(6, 4, dtype=torch.float64))


def between(*functions: Callable[[Tensor], Tensor], **options: Any) -> Callable[[], Iterator[Example]]:
    """The first layer of two, something done between them."""

    def make() -> Iterator[Example]:
        for function in functions:
            torch.manual_seed(0)
            x = torch.randn(8, 4, dtype=torch.float64)
            yield Example(test_verified.Net(function).double(), x, layers=["first"], options=options)

    return make


def read_again(data: Callable[[], Any], budget: int) -> Callable[[], Iterator[Example]]:
    """A DataLoader that is read twice: with a tolerance, and where the first pass does not fit into memory."""

    def make() -> Iterator[Example]:
        for options in ({"columns": 0.1}, {"memory_budget": budget}):
            model = test_verified.Net(torch.relu)
            yield Example(model, DataLoader(data(), batch_size=8), options=options)

    return make


X = torch.randn(6, 4)
EXAMPLES: dict[str, Callable[[], Any]] = {
    "ReLU, LeakyReLU, ReLU6": cases("mlp_relu", "mlp_leaky", "mlp_relu6", "mlp_hardtanh"),
    "max and average": cases("conv1d", "conv2d_groups", "conv2d_wide", "conv3d"),
    "batch-norm with running": cases("batch_norm1d", "mlp_dropout"),
    "residual sums": cases("residual", "two_inputs"),
    "one weight used twice side by side": cases("siamese"),
    "convolutions with": cases("conv2d_strided", "conv2d_padding_mode", "conv2d_groups", "conv1d", "conv3d"),
    "Linear on sequences": cases("tokens"),
    "samples along": elsewhere,
    "the layer that gives": last_layers,
    "each loss of torch's": losses("weight_smoothed_ignored", "bce_pos_weight", "mse", "ignored_class"),
    "a loss of one's own": losses("huber", "focal", "poisson", "cauchy", "subclass"),
    "tanh, GELU": behind(nn.Tanh(), nn.GELU(), nn.Sigmoid(), nn.SiLU(), nn.Softplus()),
    "softmax attention": layers_of("attention", "query", "key"),
    "LayerNorm or GroupNorm behind": behind(nn.LayerNorm(6), nn.GroupNorm(2, 6)),
    "one weight used twice in a row": layers_of("repeated", "shared"),
    "instance norm, or": between(test_verified.instance_norm),
    "an `autograd.Function`": between(test_verified.Relu.apply),
    "an operation that": behind(Unknown()),
    "Embedding, Bilinear": unsupported,
    "a weight used functionally": lambda: [Example(Functional(), X), Example(nn.Sequential(Scaled(4, 3)), X)],
    "a head that shares": lambda: [
        Example(test_real_networks.Language(), torch.randint(20, (6, 4)), layers=["head"])
    ],
    "a layer under": lambda: [Example(test_real_networks.Frozen(how), X) for how in ("no_grad", "inference", "detach")],
    "a model in": lambda: [Example(nn.DataParallel(nn.Linear(4, 3)), X)],
    "batch-norm without": between(*test_verified.BESIDE.values()),
    "dropout that": lambda: [
        *between(lambda x: nn.functional.dropout(x, 0.05, training=True))(), Example(test_verified.Counting(), X)
    ],
    "an input that all": lambda: [Example(test_verified.Positions(), X), Example(test_verified.Experts(), X)],
    "a stream": read_again(test_passes.Stream, 3_000),
    "data that differ": read_again(test_passes.Augmented, 10_000),
    "weights on the meta": lambda: [Example(nn.Linear(4, 3, device="meta"), X)],
    "a lazy module": lambda: [Example(nn.Sequential(nn.LazyLinear(3)), X)],
    "a module of torch.jit": lambda: [Example(nn.Sequential(test_left_as_found.traced()), X)],
    "outputs that are not": lambda: [Example(nn.Sequential(nn.Linear(4, 3), nn.Unflatten(1, (3, 1))), X)],
    "targets that are no classes": targets_of_another_loss,
    "classes out of range": out_of_range,
    "a reduction of torch's": lambda: [
        given(test_losses.CLASSES, nn.CrossEntropyLoss(reduction="sum")),
        given(test_losses.VALUES, nn.HuberLoss(reduction="none")),
    ],
    "a loss that is not a mean": lambda: [
        given(test_losses.VALUES, lambda f, y: (f - y).square().sum()),
        given(test_losses.CLASSES, test_losses.Subclass(test_losses.WEIGHT)),
    ],
    "log-probabilities with": lambda: [given(test_losses.CLASSES, nn.NLLLoss())],
    "a loss that is not convex": lambda: [
        given(2 * test_losses.VALUES, test_losses.cauchy, columns=columns) for columns in (0.1, 2)
    ],
}  # fmt: skip


def key_of(row: str) -> str:
    (key,) = (key for key in EXAMPLES if row.startswith(key))
    return key


def test_every_row_has_its_examples() -> None:
    assert len(ROWS) > 20
    assert [key_of(row) for row in ROWS] == list(EXAMPLES)


@pytest.mark.filterwarnings("ignore:.torch.jit.trace(_method)?. is (deprecated|not supported)")
@pytest.mark.parametrize("row", ROWS)
def test_it_is_as_the_row_says(row: str) -> None:
    said = ROWS[row]
    for example in EXAMPLES[key_of(row)]():
        data = example.x if isinstance(example.x, DataLoader) else (example.x, example.targets)
        arguments = (example.model, data, example.loss)
        options = {**example.options, **({"layers": example.layers} if example.layers else {})}
        if said not in ("hessian", "gauss_newton"):
            with pytest.raises(ValueError, match=re.escape(said)):
                layer_curvature(*arguments, **options)
            continue
        loss = mean_loss(example.loss) if isinstance(example.loss, str) else example.loss
        block = hessian_block if said == "hessian" else gauss_newton_block
        for name, found in layer_curvature(*arguments, **options).items():
            parameter = f"{name}.weight" if name else "weight"
            truth = trace_matrix(block(example.model, example.x, example.targets, loss, parameter))
            torch.testing.assert_close(found.trace_matrix, truth, rtol=1e-8, atol=1e-9 * float(truth.abs().max()))
            assert found.kind == said, name
