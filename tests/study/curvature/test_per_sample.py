"""Relative flatness of each sample's own loss against autograd's Hessian, and what cannot have it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from study.curvature import Loss, layer_curvature


def twin(model: nn.Sequential, x: Tensor, loss: str, y: Tensor) -> Tensor:
    """sum_{s,s'} <w_s, w_s'> Tr(H_{s,s'}) of one sample, H by two derivatives of its loss in the last weight."""
    with torch.no_grad():
        phi = model[:-1](x[None])
    last = model[-1]

    def value(weight: Tensor) -> Tensor:
        out = functional.linear(phi, weight, last.bias)
        if loss == "cross_entropy":
            return functional.cross_entropy(out, y[None])
        return (out - functional.one_hot(y[None], out.shape[1])).square().sum()

    weight = last.weight.detach()
    hessian = torch.autograd.functional.hessian(value, weight)
    traces = torch.einsum("sktk->st", hessian)
    return (weight @ weight.T * traces).sum()


@pytest.mark.parametrize("loss", ["cross_entropy", "squared_error"])
def test_it_is_autograds_sample_by_sample(loss: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 4)).double()
    x, y = torch.randn(7, 3).double(), torch.randint(4, (7,))
    data = [(x[:4], y[:4]), (x[4:], y[4:])]
    found = layer_curvature(model, data, loss=loss, per_sample=True)
    by_hand = torch.stack([twin(model, a, loss, b) for a, b in zip(x, y, strict=True)])
    assert found["2"].per_sample is not None and found["0"].per_sample is None
    torch.testing.assert_close(found["2"].per_sample, by_hand, rtol=1e-12, atol=0)
    assert found["2"].per_sample.mean().item() == pytest.approx(found["2"].relative_flatness, rel=1e-12)
    plain = layer_curvature(model, data, loss=loss)
    assert plain["2"].per_sample is None and plain["0"].relative_flatness == found["0"].relative_flatness


@pytest.mark.parametrize(
    ("loss", "weights"),
    [(Loss("cross_entropy", weight=(1.0, 2.0, 0.0, 5.0)), (1, 2, 0, 5)),
     (nn.CrossEntropyLoss(ignore_index=1), (1, 0, 1, 1))],
)  # fmt: skip
def test_of_weighted_and_ignored_samples_the_sum_counts_over_that_of_the_weights(
    loss: Loss | nn.Module, weights: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 4)).double()
    x, y = torch.randn(8, 3).double(), torch.tensor([0, 1, 2, 3, 1, 3, 0, 3])
    found, of_each = layer_curvature(model, (x, y), loss, per_sample=True)["2"], torch.tensor(weights).double()[y]
    by_hand = torch.stack([twin(model, a, "cross_entropy", b) for a, b in zip(x, y, strict=True)])
    assert found.per_sample is not None
    torch.testing.assert_close(found.per_sample, of_each * by_hand, rtol=1e-12, atol=0)
    assert found.relative_flatness == pytest.approx(float(found.per_sample.sum() / of_each.sum()), rel=1e-12)
    assert found.relative_flatness != pytest.approx(float(found.per_sample.mean()), rel=0.01)


def test_it_keeps_its_order_in_small_chunks_and_float32() -> None:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 4))
    x, y = torch.randn(9, 3), torch.randint(4, (9,))
    many = layer_curvature(model, (x, y), per_sample=True, memory_budget=3000)["2"].per_sample
    one = [layer_curvature(model, (x[i : i + 1], y[i : i + 1]), per_sample=True)["2"].per_sample for i in range(9)]
    torch.testing.assert_close(many, torch.cat(one), rtol=1e-5, atol=0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "options",
    [{"columns": 2}, {"columns": 0.1}, {"loss": lambda o, t: functional.cross_entropy(o, t)}, {"layers": ["0"]},
     {"loss": Loss("cross_entropy"), "layers": ["0"]}],
)  # fmt: skip
def test_where_no_layer_can_have_it_one_line_says_so(options: dict) -> None:
    model = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 4))
    with pytest.raises(ValueError, match="per_sample=True needs columns='exact'") as error:
        layer_curvature(model, (torch.randn(6, 3), torch.randint(4, (6,))), per_sample=True, **options)
    assert "\n" not in str(error.value)
