"""Rows of the Jacobian: their inner products by whichever way, and layers together or one at a time."""

import pytest
import torch
from torch import Tensor

from study.measures.jacobian import LayerRows, rows_by_layer
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
    monkeypatch.setattr("study.measures.jacobian._HELD", 1)
    alone = dict(rows_by_layer(model, x, cotangents))
    assert list(together) == list(alone) == ["conv1", "conv2", "fc1", "fc2", "fc3"]
    for path, rows in together.items():
        assert torch.equal(rows.phi, alone[path].phi)
        assert torch.equal(rows.delta, alone[path].delta)
        weight = dict(model.named_parameters())[f"{path}.weight"]
        slope = torch.autograd.grad(model(x)[1, 2], weight)[0].flatten(1)
        torch.testing.assert_close(rows.delta[1, 2].T @ rows.phi[1], slope)
