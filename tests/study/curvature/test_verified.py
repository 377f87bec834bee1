"""What is said of a network holds on all of its data: samples, and the word "hessian"."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from study.curvature import hessian_trace, layer_curvature
from tests.reference.curvature import gauss_newton_block, mean_loss, trace_matrix

N = 20


class Net(nn.Module):
    """Two layers, and something done with what is between them."""

    def __init__(self, between: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.head, self.between = nn.Linear(4, 6), nn.Linear(6, 3), between

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.between(self.first(x)))


class Relu(torch.autograd.Function):
    """A cube under the name of a torch operation."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient * 3 * ctx.saved_tensors[0] ** 2


class Counting(nn.Module):
    """A network whose outputs grow with its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.n_calls = nn.Linear(4, 3), 0

    def forward(self, x: Tensor) -> Tensor:
        self.n_calls += 1
        return self.layer(x) * (1 + 0.1 * self.n_calls)


def data(n: int = N) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(n, 4, generator=generator), torch.arange(n) % 3


def instance_norm(x: Tensor) -> Tensor:
    return F.instance_norm(x.view(len(x), 2, 3)).flatten(1)


@pytest.mark.parametrize("between", [instance_norm, Relu.apply, nn.BatchNorm1d(6, affine=False).eval(), torch.relu])
def test_hessian_is_said_where_it_is_one(between: Callable[[Tensor], Tensor]) -> None:
    torch.manual_seed(0)
    found = layer_curvature(Net(between), data())
    is_linear = between is torch.relu or isinstance(between, nn.BatchNorm1d)
    assert [layer.kind for layer in found.values()] == ["hessian" if is_linear else "gauss_newton", "hessian"]


def test_a_branch_on_the_batch_is_told_from_every_chunk() -> None:
    """A cube in the last batch alone, and of its large numbers alone: what the others give stays the same."""
    torch.manual_seed(0)
    x, y = data()
    x[15:] *= 1e4
    batches = [(x[at : at + 5], y[at : at + 5]) for at in range(0, N, 5)]
    net = Net(lambda z: z.relu() if float(z.detach().abs().max()) < 1e3 else torch.where(z.abs() < 1e3, z.relu(), z**3))
    assert layer_curvature(net, batches[:3])["first"].kind == "hessian"
    assert layer_curvature(net, batches)["first"].kind == "gauss_newton"


def test_what_the_graph_does_not_show_the_product_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if every operation were taken for linear, a tanh's second derivative would be seen."""
    monkeypatch.setattr(
        "study.curvature.blocks.verification.hessian_is_gauss_newton", lambda outputs, weights: [True] * len(weights)
    )
    torch.manual_seed(0)
    assert [layer.kind for layer in layer_curvature(Net(torch.tanh), data()).values()] == ["gauss_newton", "hessian"]
    assert [layer.kind for layer in layer_curvature(Net(torch.relu), data()).values()] == ["hessian", "hessian"]


BESIDE = {
    "batch-norm without statistics": lambda x: F.batch_norm(x, None, None, training=True),
    "batch mean": lambda x: x - 0.3 * x.mean(0),
    "batch size": lambda x: x * (1 + 0.01 * len(x)),
    "position in the batch": lambda x: x + torch.arange(len(x))[:, None],
    "softmax over the batch": lambda x: x.softmax(0),
}


@pytest.mark.parametrize("name", BESIDE)
@pytest.mark.parametrize("batch", [1, 3, N])
def test_samples_that_act_on_each_other_are_refused(name: str, batch: int) -> None:
    torch.manual_seed(0)
    x, y = data()
    batches = [(x[at : at + batch], y[at : at + batch]) for at in range(0, N, batch)]
    net = Net(BESIDE[name])
    if name.startswith("batch-norm") and batch == 1:
        pytest.skip("torch itself refuses a batch of one")
    for call in (lambda: layer_curvature(net, batches), lambda: hessian_trace(net, batches, n_products=6)):
        with pytest.raises(ValueError, match="depends on the other samples of its batch"):
            call()


@pytest.mark.parametrize("p", [0.5, 0.05])
@pytest.mark.parametrize("seed", range(4))
def test_dropout_that_is_always_on_is_refused_every_time(p: float, seed: int) -> None:
    torch.manual_seed(seed)
    net = Net(lambda x: F.dropout(x, p, training=True))
    for call in (lambda: layer_curvature(net, data()), lambda: hessian_trace(net, data(), method="exact")):
        with pytest.raises(ValueError, match="depends on chance"):
            call()


def test_random_numbers_that_change_nothing_are_allowed() -> None:
    torch.manual_seed(0)
    net = Net(lambda x: x.relu() + 0 * torch.rand(1))
    assert layer_curvature(net, data())["first"].trace > 0


def test_a_model_that_counts_its_calls_is_refused() -> None:
    for call in (layer_curvature, hessian_trace):
        with pytest.raises(ValueError, match="on how often the model was called"):
            call(Counting(), data())


class Tokens(nn.Module):
    """One network on sequences, its layer given the samples in another place than the rows."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.layer, self.head, self.how = nn.Linear(2, 5), nn.Linear(5, 3), how

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.view(len(x), 2, 2)
        if self.how == "sequence first":
            return self.head(self.layer(tokens.transpose(0, 1)).relu().sum(0))
        if self.how == "flattened":
            return self.head(self.layer(tokens.flatten(0, 1)).relu().view(len(x), 2, 5).sum(1))
        if self.how == "one after another":
            return self.head(self.layer(torch.cat([tokens[:, 0], tokens[:, 1]])).relu().view(2, len(x), 5).sum(0))
        if self.how == "a sequence of samples":
            return self.head(self.layer(tokens[None]).relu()[0].sum(1))
        return self.head(self.layer(tokens).relu().sum(1))


@pytest.mark.parametrize("how", ["sequence first", "flattened", "one after another", "a sequence of samples"])
def test_samples_are_found_where_they_stand(how: str) -> None:
    torch.manual_seed(0)
    model = Tokens(how).double()
    x, y = data()
    x = x.double()
    truth = trace_matrix(gauss_newton_block(model, x, y, mean_loss("cross_entropy"), "layer.weight"))
    for batches in ((x, y), [(x[at : at + 3], y[at : at + 3]) for at in range(0, N, 3)]):
        found = layer_curvature(model, batches)["layer"]
        torch.testing.assert_close(found.trace_matrix, truth, rtol=1e-9, atol=1e-12)
        assert found.kind == "hessian"


def test_a_sequence_first_layer_of_length_one_is_that_on_samples() -> None:
    """x.unsqueeze(0) into torch's own encoder layer, whose first axis is the sequence: each sample is alone there."""
    torch.manual_seed(0)

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.TransformerEncoderLayer(4, 1, 6, dropout=0.0)
            self.head = nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.body(x[None])[0])

    model = Encoder().double()
    x, y = data(6)
    x = x.double()
    for name, found in layer_curvature(model, (x, y), layers=["body.linear1", "body.linear2", "head"]).items():
        truth = trace_matrix(gauss_newton_block(model, x, y, mean_loss("cross_entropy"), f"{name}.weight"))
        torch.testing.assert_close(found.trace_matrix, truth, rtol=1e-8, atol=1e-10)


class Positions(nn.Module):
    """An input that all samples share: a small network on the five places of a sequence, added to each sample."""

    def __init__(self) -> None:
        super().__init__()
        self.places, self.layer, self.head = nn.Linear(1, 4), nn.Linear(4, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        shared = self.places(torch.linspace(-1, 1, 5)[:, None])
        return self.head(self.layer(x[:, None] + shared).relu().mean(1))


class Experts(nn.Module):
    """Each sample goes to one of three experts; the first samples all to the same."""

    def __init__(self) -> None:
        super().__init__()
        self.experts, self.head = nn.ModuleList(nn.Linear(4, 5) for _ in range(3)), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        chosen = (x[:, 0] > 0).long() + (x[:, 1] > 1).long()
        outputs = x.new_zeros(len(x), 5)
        for at, expert in enumerate(self.experts):
            outputs[chosen == at] = expert(x[chosen == at])
        return self.head(outputs.relu())


@pytest.mark.parametrize("n", [5, N])
def test_rows_that_are_no_samples_are_refused_by_the_name_of_their_layer(n: int) -> None:
    torch.manual_seed(0)
    for model, name in ((Positions(), "places"), (Experts(), r"experts\.\d")):
        with pytest.raises(ValueError, match=rf"layer '{name}' of type Linear is given inputs of shape"):
            layer_curvature(model, data(n))
    assert layer_curvature(Positions(), data(n), layers=["layer", "head"])["layer"].trace > 0
    assert layer_curvature(Experts(), data(n), layers=["head"])["head"].trace > 0
