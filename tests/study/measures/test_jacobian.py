"""Rows of the Jacobian: their inner products by whichever way, and layers together or one at a time."""

import copy
from collections import OrderedDict
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from study.measures import MEASURES, MeasureContext, compute
from study.measures.jacobian.jacobian import check_layers, rows_by_layer
from study.measures.jacobian.layer_rows import LayerRows
from study.models.lenet5 import lenet5


@pytest.mark.parametrize(("places", "few"), [(1, False), (2, True), (9, False)])
def test_inner_products_are_those_of_the_rows_spread_out(places: int, few: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    phi = torch.randn(5, places, 40, generator=generator, dtype=torch.float64)
    delta = torch.randn(5, 3, places, 6, generator=generator, dtype=torch.float64)
    rows = LayerRows(phi, delta)
    assert places == 1 or rows._has_few_places() == few
    spread = torch.einsum("nkto,ntd->nkod", delta, phi).reshape(15, -1)
    found = rows.gram()
    torch.testing.assert_close(found, spread @ spread.T)
    assert torch.equal(found, found.T) or places == 1


def test_layers_are_the_same_together_and_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model, x = lenet5((1, 16, 16), 3, ()).double().eval(), torch.randn(4, 1, 16, 16, dtype=torch.float64)

    def cotangents(outputs: Tensor) -> Tensor:
        return torch.eye(3, dtype=torch.float64).expand(len(outputs), 3, 3)

    together = dict(rows_by_layer(model, x, cotangents))
    monkeypatch.setattr("study.measures.jacobian.jacobian._HELD", 1)
    alone = dict(rows_by_layer(model, x, cotangents))
    assert list(together) == list(alone) == ["conv1", "conv2", "fc1", "fc2", "fc3"]
    for path, rows in together.items():
        assert torch.equal(rows.phi, alone[path].phi)
        assert torch.equal(rows.delta, alone[path].delta)
        weight = dict(model.named_parameters())[f"{path}.weight"]
        slope = torch.autograd.grad(model(x)[1, 2], weight)[0].flatten(1)
        torch.testing.assert_close(rows.delta[1, 2].T @ rows.phi[1], slope)


class Twice(nn.Module):
    """A layer that is run twice, and one that is run as no module."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.a, self.b = how, nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x).relu()
        if self.how == "twice":
            h = self.a(h)
        if self.how == "read elsewhere":
            h = nn.functional.linear(h, self.a.weight)
        if self.how == "tokens":
            return self.b(h.view(-1, 2, 3).repeat(1, 1, 2).flatten(0, 1)).view(len(x), 2, 3).mean(1)
        return nn.functional.linear(h, self.b.weight) if self.how == "functional" else self.b(input=h)


class Doubled(nn.Linear):
    """A linear layer that is none."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + nn.functional.linear(x, self.weight.square())


def tied() -> nn.Module:
    model = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6), nn.Linear(6, 3))
    model[2].weight = model[0].weight
    return model


def same() -> nn.Module:
    """Padded by a word."""
    conv = nn.Conv2d(1, 2, 3, padding="same")
    return nn.Sequential(nn.Unflatten(1, (1, 2, 3)), conv, nn.Flatten(), nn.Linear(12, 3))


READERS = [label for label, m in MEASURES.items() if m.check is check_layers]


def context_of(model: nn.Module) -> MeasureContext:
    torch.manual_seed(0)
    model, x = model.double().eval(), torch.randn(12, 6, dtype=torch.float64)
    return MeasureContext(model, {}, x, model(x).argmax(1), "cross_entropy", "0123456789ab")


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (lambda: Twice("twice"), "a: is run more than once: allowed: a layer that is run once"),
        (lambda: Twice("tokens"), "b: is given 4 inputs of 2 samples"),
        (lambda: Twice("functional"), "b: is not run as a module"),
        (lambda: Twice("read elsewhere"), "a: its gradient is not that of a layer of its type run once"),
        (lambda: nn.Sequential(Doubled(6, 4), nn.ReLU(), nn.Linear(4, 3)), "0: its gradient is not that"),
        (same, r"1.weight: of type Conv2d: .* padded with zeros, by a number of pixels"),
        (tied, r"2.weight: is 0.weight, too: allowed: a weight of one layer"),
    ],
)
def test_of_what_is_no_plain_layer_run_once_no_measure_has_a_value(model: Callable[[], nn.Module], said: str) -> None:
    torch.manual_seed(0)
    ctx = context_of(model())
    assert len(READERS) == 12
    for label in READERS:
        with pytest.raises(ValueError, match=said):
            compute(label, ctx)


class Aliased(nn.Module):
    """Layers that are there by two names each, and run once."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Sequential(nn.Linear(6, 6), nn.ReLU()), nn.Linear(6, 3)
        self.all = nn.Sequential(self.body, self.head)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


def test_a_layer_by_two_names_is_one_layer() -> None:
    torch.manual_seed(0)
    aliased = Aliased()
    plain = nn.Sequential(aliased.body[0], nn.ReLU(), aliased.head)
    for label in READERS:
        found = compute(label, context_of(aliased))["value"]
        assert found == pytest.approx(compute(label, context_of(plain))["value"]), label


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_of_rounded_weights_rows_are_still_those_of_their_layers(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)).to(dtype), torch.randn(12, 6).to(dtype)
    ctx = MeasureContext(model.eval(), {}, x, model(x).argmax(1), "cross_entropy", "0123456789ab")
    exact = MeasureContext(copy.deepcopy(model).double(), {}, x.double(), ctx.labels, "cross_entropy", "0123456789ab")
    found, expected = (compute("gradient_noise", one)["value"] for one in (ctx, exact))
    assert found == pytest.approx(expected, rel=0.05)


def test_weights_that_are_not_finite_are_said_to_be_so() -> None:
    model = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3))
    with torch.no_grad():
        model[0].weight[0, 0] = float("nan")
    with pytest.raises(ValueError, match="is not finite"):
        compute("gradient_noise", context_of(model))


def test_a_layer_called_by_name_and_a_frozen_one_are_layers_like_others() -> None:
    torch.manual_seed(0)
    named = Twice("by name")
    plain = nn.Sequential(OrderedDict(a=named.a, relu=nn.ReLU(), b=named.b))
    expected = {label: compute(label, context_of(plain))["value"] for label in READERS}
    assert {label: compute(label, context_of(named))["value"] for label in READERS} == pytest.approx(expected)
    plain.a.requires_grad_(False)
    assert {label: compute(label, context_of(plain))["value"] for label in READERS} == pytest.approx(expected)
    assert not plain.a.weight.requires_grad
