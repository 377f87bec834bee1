"""Few columns in place of all: tolerances are kept, standard errors are honest, and the same twice."""

import math

import pytest
import torch
from torch import Tensor, nn

from study.curvature import layer_curvature
from study.curvature.blocks import summation
from study.curvature.losses.loss_factor import SoftmaxFactor
from tests.study.curvature.comparison import values


def many_classes(confidence: float) -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(30, 40), nn.ReLU(), nn.Linear(40, 50)).double()
    model[2].weight.data *= confidence
    return model, torch.randn(200, 30, dtype=torch.float64), torch.randint(50, (200,))


@pytest.mark.parametrize("confidence", [0.1, 5.0, 50.0])
@pytest.mark.parametrize("tolerance", [1e-1, 1e-3])
def test_a_tolerance_is_kept_and_its_bound_holds(confidence: float, tolerance: float) -> None:
    model, x, y = many_classes(confidence)
    truth = layer_curvature(model, (x, y))
    for seed in range(3):
        close = layer_curvature(model, (x, y), columns=tolerance, seed=seed)
        for name, layer in close.items():
            error = abs(layer.trace - truth[name].trace)
            assert error <= layer.error_bound + 1e-12 * layer.trace
            assert layer.error_bound <= tolerance * layer.trace
            assert layer.relative_flatness == pytest.approx(truth[name].relative_flatness, rel=tolerance)
            assert layer.standard_error is None


@pytest.mark.parametrize("confidence", [0.1, 5.0])
def test_random_columns_are_unbiased_with_an_honest_standard_error(confidence: float) -> None:
    model, x, y = many_classes(confidence)
    truth = layer_curvature(model, (x, y))
    runs = [layer_curvature(model, (x, y), columns=3, seed=seed) for seed in range(30)]
    for name in truth:
        for field in ("trace", "relative_flatness", "relative_flatness_normalized", "kappa_2019"):
            found = torch.tensor([getattr(run[name], field) for run in runs], dtype=torch.float64)
            stated = torch.tensor([run[name].standard_error[field] for run in runs]).double().square().mean().sqrt()
            error = abs(float(found.mean()) - getattr(truth[name], field))
            if name == "2":  # gives the outputs: in closed form
                assert error <= 1e-12 * found.mean()
                assert stated == 0
            else:
                assert error < 4 * float(found.std()) / math.sqrt(30)
                assert 0.5 < float(stated / found.std()) < 2
        assert runs[0][name].error_bound == 0 if name == "2" else math.isnan(runs[0][name].error_bound)


def test_as_many_random_columns_as_there_are_is_exact() -> None:
    model, x, y = many_classes(1.0)
    assert values(layer_curvature(model, (x, y), columns=49)) == values(layer_curvature(model, (x, y)))


def test_twice_the_same() -> None:
    model, x, y = many_classes(5.0)
    for columns in ("exact", 1e-2, 3):
        first, second = (layer_curvature(model, (x, y), columns=columns) for _ in range(2))
        assert values(first) == values(second)
        assert all(torch.equal(first[name].trace_matrix, second[name].trace_matrix) for name in first)


def test_a_saturated_softmax_keeps_its_digits() -> None:
    """A network that is all but certain has a tiny trace, which a difference of numbers near one would lose."""
    torch.manual_seed(0)
    model, x, y = nn.Sequential(nn.Linear(5, 4)), 9 * torch.randn(40, 5), torch.randint(4, (40,))
    with torch.no_grad():
        model[0].weight.mul_(20)
    for options in ({}, {"neuron_wise": True}):
        found, true = (layer_curvature(model, (x, y), dtype=d, **options)["0"] for d in (None, torch.float64))
        assert found.trace == pytest.approx(true.trace, rel=1e-4)
        if found.neuron_wise is not None:
            torch.testing.assert_close(found.neuron_wise, true.neuron_wise, rtol=1e-4, atol=0)


def outliers(n: int, counted: int) -> tuple[nn.Module, Tensor, Tensor]:
    """Samples of which most have no curvature worth counting, with one that has among the first `counted`."""
    torch.manual_seed(2)
    model = nn.Sequential(nn.Linear(20, 16), nn.ReLU(), nn.Linear(16, 2)).double()
    x = torch.randn(n, 20, dtype=torch.float64)
    x[counted // 2 :: n // 10] *= 30
    return model, x, torch.randint(2, (n,))


@pytest.mark.parametrize("counted", [1, 5, 100])
@pytest.mark.parametrize("columns", [1e-1, 1e-2, 1e-4])
def test_a_bad_first_guess_costs_passes_not_the_bound(
    counted: int, columns: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sizes of a few samples say little of the others: the threshold falls until the bound is kept."""
    n_passes = 0
    over = summation.Run._over

    def counting(self: summation.Run, threshold: float, n_columns: int) -> None:
        nonlocal n_passes
        n_passes += 1
        assert n_passes < 20, f"no end: threshold {threshold}"
        over(self, threshold, n_columns)

    monkeypatch.setattr(summation, "_COUNTED", counted)
    monkeypatch.setattr(summation, "_SPARE", 0)
    monkeypatch.setattr(summation.Run, "_over", counting)
    model, x, y = outliers(300, counted)
    truth = layer_curvature(model, (x, y))
    for seed in range(5):
        n_passes = 0
        for name, layer in layer_curvature(model, (x, y), columns=columns, seed=seed).items():
            assert layer.error_bound <= columns * layer.trace
            assert abs(layer.trace - truth[name].trace) <= layer.error_bound + 1e-12 * layer.trace


@pytest.mark.parametrize("one_has", [True, False])
def test_outputs_without_any_curvature_are_no_obstacle(one_has: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all samples Lambda is 0 to the last digit, or of all but one, which few counts would see."""
    monkeypatch.setattr(summation, "_COUNTED", 3)
    model, x, y = many_classes(1e30)
    model[0].bias.data.zero_()
    if one_has:
        x[0] *= 1e-30
    hidden = layer_curvature(model, (x, y), columns=1e-2)["0"]
    assert (hidden.trace > 0) == one_has
    assert hidden.error_bound <= 1e-2 * hidden.trace


@pytest.mark.parametrize("margin", [1.0, 40.0, 354.0, 720.0, 745.0, 800.0])
def test_column_sizes_are_finite_and_add_up_to_the_trace(margin: float) -> None:
    logits = torch.tensor([[margin, 0.0, -1.0], [0.0, margin, margin]], dtype=torch.float64)
    factor = SoftmaxFactor.of(logits)
    p = logits.softmax(1)
    expected = (p * torch.stack([1 - p[:, 0], 1 - p[:, 1], 1 - p[:, 2]], 1)).sum(1)
    assert torch.allclose(factor.sizes().sum(1), expected, rtol=1e-12, atol=1e-15)
