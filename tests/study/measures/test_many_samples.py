"""Measures of more samples than are taken at once, or than are taken at all: what the toys of 31 samples cannot see."""

from __future__ import annotations

import functools
import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from study.measures import MeasureContext, compute
from tests.reference.case import Case
from tests.reference.features import TWINS
from tests.reference.perturbation import relative_level

N, TRAINED_ON = 1100, 5000
KEY = "0" * 12


@functools.cache
def fitted() -> tuple[nn.Sequential, Tensor, Tensor]:
    """A network fitted so far that it errs on some samples; their order says nothing."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 7), nn.ReLU(), nn.Linear(7, 4)).double()
    x = torch.randn(N, 6, dtype=torch.float64)
    labels = x[:, :4].argmax(1)
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(60):
        optimizer.zero_grad()
        functional.cross_entropy(model(x), labels).backward()
        optimizer.step()
    optimizer.zero_grad()
    return model.eval(), x, labels


def context(trained_on: int = TRAINED_ON, at: slice = slice(None), held_out: int = 0) -> MeasureContext:
    model, x, labels = fitted()
    initial = {name: p.detach() / 2 for name, p in model.named_parameters()}
    test = None
    if held_out:
        points = torch.randn(held_out, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        points[held_out // 2 :] *= 0.3  # the last ones are of another kind
        test = points, points[:, :4].argmax(1)
    return MeasureContext(model, initial, x[at], labels[at], "cross_entropy", KEY, trained_on=trained_on, held_out=test)


@functools.cache
def whole() -> MeasureContext:
    return context()


def value(label: str, ctx: MeasureContext) -> float:
    found: float = compute(label, ctx)["value"]
    return found


PREFIXES = {
    "lambda_max": 1000,
    "tic": 200,
    "soft_rank": 200,
    "lambda_max_network": 200,
    "hessian_frobenius": 200,
    "kappa_max": 200,
    "tsuzuku": 200,
    "keskar": 512,
    "sharpness_max": 512,
    "sharpness_mean": 512,
    "sharpness_flatness": 512,
    "sharpness_mag_flatness(eps=0.0001)": 512,
    "pac_bayes_flatness": 500,
    "pac_bayes_flatness(noise=common)": 512,
    "pac_bayes_mag_flatness": 512,
}


@pytest.mark.parametrize("label", PREFIXES)
def test_it_is_of_the_first_samples_that_its_docstring_says(label: str) -> None:
    n = PREFIXES[label]
    found = value(label, whole())
    margin = 1e-4 if label == "lambda_max" else 1e-9  # Lanczos ends at a residual
    assert found == pytest.approx(value(label, context(at=slice(n))), rel=margin)
    others = [value(label, context(at=other)) for other in (slice(n // 2), slice(N - n, N))]
    assert any(other != pytest.approx(found, rel=margin) for other in others), "else this sees nothing"


def test_gradients_of_single_samples_are_added_up_over_all() -> None:
    """By a loop over samples; the sum is of 128 at a time."""
    model, x, labels = fitted()
    squares, totals = {"0": 0.0, "2": 0.0}, {"0": torch.zeros(()), "2": torch.zeros(())}
    for i in range(N):
        loss = functional.cross_entropy(model(x[i : i + 1]), labels[i : i + 1])
        for layer, slope in zip(squares, torch.autograd.grad(loss, [model[0].weight, model[2].weight]), strict=True):
            squares[layer] += float(slope.square().sum()) / N
            totals[layer] = totals[layer] + slope / N
    of_mean = {layer: float(total.square().sum()) for layer, total in totals.items()}
    assert compute("gradient_square", whole())["layers"] == pytest.approx(squares, rel=1e-10)
    assert value("gradient_norm", whole()) == pytest.approx(math.sqrt(sum(of_mean.values())), rel=1e-10)
    noise = {layer: squares[layer] - of_mean[layer] for layer in squares}
    assert compute("gradient_noise", whole())["layers"] == pytest.approx(noise, rel=1e-10)


def test_sharpness_max_is_the_mean_over_its_batches() -> None:
    parts = [value("sharpness_max", context(at=slice(start, start + 128))) for start in range(0, 512, 128)]
    assert len(set(parts)) == 4
    assert value("sharpness_max", whole()) == pytest.approx(sum(parts) / 4, rel=1e-9)


@pytest.fixture
def few_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("context", "families.features"):
        monkeypatch.setattr(f"study.measures.{module}.CHUNK", 400)


@pytest.mark.usefixtures("few_at_once")
@pytest.mark.parametrize("label", ["train_loss", "inverse_margin", "margin_normalized", "fisher_rao_norm"])
def test_a_pass_in_pieces_is_of_all_samples(label: str) -> None:
    with pytest.MonkeyPatch.context() as at_once:
        at_once.setattr("study.measures.context.CHUNK", 2 * N)
        wanted = value(label, context())
    assert value(label, context()) == pytest.approx(wanted, rel=1e-12)
    assert wanted != pytest.approx(value(label, context(at=slice(800, N))), rel=1e-6)


@pytest.mark.usefixtures("few_at_once")
def test_feature_robustness_is_the_twins_in_pieces() -> None:
    model, x, labels = fitted()
    n = 450
    case = Case(model, {}, x[:n], labels[:n], "cross_entropy")
    found = value("feature_robustness", context(at=slice(n)))
    assert found == pytest.approx(TWINS["feature_robustness"](case), rel=1e-9)


@pytest.mark.parametrize("held_out", [1500, 3001])
@pytest.mark.usefixtures("few_at_once")
def test_label_constancy_is_of_test_points_spread_evenly_over_all(held_out: int) -> None:
    """Of up to 2,000 samples all; the distances of each point from each, in one matrix."""
    ctx = context(held_out=held_out)
    assert ctx.held_out is not None
    x, labels = ctx.held_out
    n = min(2000, held_out)
    chosen = [int(i * (held_out - 1) / (n - 1)) for i in range(n)]
    with torch.no_grad():
        phi = ctx.model[:2](x[chosen])  # type: ignore[index]
    apart = (phi[:, None] - phi).square().sum(2).sqrt()
    apart.fill_diagonal_(math.inf)
    close = apart <= apart.amin(1).quantile(0.5) * (1 + 1e-12)
    differ = close & (labels[chosen][:, None] != labels[chosen])
    near = close.sum(1)
    wanted = float((differ.sum(1)[near > 0] / near[near > 0].double()).mean())
    assert value("label_constancy", ctx) == pytest.approx(wanted, rel=1e-9)


BOUNDS = [f"{search}_{kind}" for search in ("pac_bayes", "sharpness") for kind in ("orig", "init")]
BOUNDS += [f"{search}_mag_{kind}" for search in ("pac_bayes", "sharpness") for kind in ("orig", "init")]


@functools.cache
def all_of_them() -> MeasureContext:
    """The same samples, being all that the network was trained on."""
    return context(trained_on=0)


@pytest.mark.parametrize("label", BOUNDS)
def test_a_bound_counts_the_samples_trained_on_not_those_measured(label: str) -> None:
    label += "(eps=0.0001)" if label.startswith("sharpness_mag") else ""
    more = math.log(TRAINED_ON / N)
    assert value(label, whole()) - value(label, all_of_them()) == pytest.approx(more, rel=1e-6)


@pytest.mark.parametrize(
    ("bound", "flatness", "factor"),
    [
        ("sharpness_orig", "sharpness_flatness", math.log(2 * 70)),
        ("pac_bayes_orig", "pac_bayes_flatness(noise=common)", 1),
    ],
)
def test_a_bound_is_its_formula(bound: str, flatness: str, factor: float) -> None:
    square = sum(p.detach().square().sum().item() for p in fitted()[0].parameters() if p.ndim == 2)
    level = value(flatness, whole()) ** -0.5
    wanted = square * factor / (4 * level**2) + math.log(TRAINED_ON / level) + 10
    assert value(bound, whole()) == pytest.approx(wanted, rel=1e-9)


def test_noise_relative_to_small_weights_has_its_least_size() -> None:
    """Most weights are smaller than eps: noise in proportion to the weights alone could be twice as large."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 4, bias=False)).double()
    x = torch.randn(500, 6, dtype=torch.float64)
    with torch.no_grad():
        model[0].weight.copy_(0.015 * torch.eye(4, 6) + 3e-4 * torch.randn(4, 6))
    labels = model(x).argmax(1)
    level = relative_level(Case(model, {}, x, labels, "cross_entropy"))
    ctx = MeasureContext(model, {}, x, labels, "cross_entropy", KEY)
    assert value("pac_bayes_mag_flatness", ctx) == pytest.approx(level**-2, rel=0.15)
