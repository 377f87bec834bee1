"""Losses mean what they mean in torch, one of one's own is measured as it stands, and wrong targets are refused."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from study.curvature import Curvature, Loss, hessian_trace_matrix, layer_curvature
from study.curvature.losses import loss_factor
from study.curvature.losses.loss_factor import SoftmaxFactor, running_sum
from tests.reference.curvature import gauss_newton_block, hessian_block, trace_matrix
from tests.support.elsewhere import Elsewhere

N, C = 12, 3
CLASSES = torch.tensor([0, 2, 1, 1, 0, 2, 2, 2, 0, 1, 1, 2])
IGNORED = torch.where(torch.arange(N) % 5 > 2, -100, CLASSES)
PROBABILITIES = torch.rand(N, C, generator=torch.Generator().manual_seed(1), dtype=torch.float64).softmax(1)
VALUES = torch.randn(N, C, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
WEIGHT = torch.tensor([0.5, 2.0, 3.0], dtype=torch.float64)


def network(n_outputs: int = C, activation: nn.Module | None = None) -> tuple[nn.Module, Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        layers = (nn.Linear(4, 5), activation or nn.ReLU(), nn.Linear(5, 5), nn.ReLU(), nn.Linear(5, n_outputs))
        return nn.Sequential(*layers).double(), torch.randn(N, 4, dtype=torch.float64)


def focal(outputs: Tensor, targets: Tensor) -> Tensor:
    """Lin et al. 2017 with gamma 2."""
    log_p = outputs.log_softmax(1).gather(1, targets[:, None])
    return -((1 - log_p.exp()).square() * log_p).mean()


def cauchy(outputs: Tensor, targets: Tensor) -> Tensor:
    """The logarithm of a Cauchy density: concave where the residual is over 1."""
    return (outputs - targets).square().log1p().sum() / len(outputs)


class Subclass(nn.CrossEntropyLoss):
    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return 3 * super().forward(outputs, targets)


GIVEN: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], Tensor]] = {
    "cross_entropy": (nn.CrossEntropyLoss(), CLASSES),
    "probabilities": (nn.CrossEntropyLoss(), PROBABILITIES),
    "label_smoothing": (nn.CrossEntropyLoss(label_smoothing=0.3), CLASSES),
    "weight": (nn.CrossEntropyLoss(WEIGHT), CLASSES),
    "weight_of_probabilities": (nn.CrossEntropyLoss(WEIGHT, label_smoothing=0.3), PROBABILITIES),
    "weight_smoothed_ignored": (nn.CrossEntropyLoss(WEIGHT, label_smoothing=0.3), IGNORED),
    "ignored": (nn.CrossEntropyLoss(), IGNORED),
    "ignored_class": (nn.CrossEntropyLoss(ignore_index=2, label_smoothing=0.1), CLASSES),
    "mse": (nn.MSELoss(), VALUES),
    "bce": (nn.BCEWithLogitsLoss(), PROBABILITIES),
    "bce_weight": (nn.BCEWithLogitsLoss(WEIGHT[None]), PROBABILITIES),
    "bce_one_weight": (nn.BCEWithLogitsLoss(torch.tensor(3.0)), PROBABILITIES),
    "bce_pos_weight": (nn.BCEWithLogitsLoss(WEIGHT, pos_weight=WEIGHT.flip(0)), PROBABILITIES),
    "function": (F.binary_cross_entropy_with_logits, PROBABILITIES),
    "subclass": (Subclass(label_smoothing=0.1), CLASSES),
    "huber": (nn.HuberLoss(delta=0.4), VALUES),
    "smooth_l1": (F.smooth_l1_loss, VALUES),
    "poisson": (nn.PoissonNLLLoss(), PROBABILITIES),
    "divergence": (lambda f, y: F.kl_div(f.log_softmax(1), y, reduction="batchmean"), PROBABILITIES),
    "focal": (focal, CLASSES),
    "cauchy": (cauchy, 2 * VALUES),
}


@pytest.mark.parametrize("budget", [2**31, 40_000])
@pytest.mark.parametrize("name", GIVEN)
def test_it_is_the_full_hessian_of_what_torch_says(name: str, budget: int) -> None:
    """Over several batches, of which one holds the ignored samples alone or with others; rounding aside."""
    loss, y = GIVEN[name]
    model, x = network()
    data = [(x[:5], y[:5]), (x[5:], y[5:])]
    for layer, found in layer_curvature(model, data, loss, memory_budget=budget).items():
        truth = trace_matrix(hessian_block(model, x, y, loss, f"{layer}.weight"))
        torch.testing.assert_close(found.trace_matrix, truth, rtol=1e-9, atol=1e-9 * float(truth.abs().max()))
        assert found.exact and found.n_samples == N
        weight = model.get_parameter(f"{layer}.weight").detach()
        assert found.relative_flatness == pytest.approx(float((weight @ weight.T * truth).sum()), rel=1e-8)


@pytest.mark.parametrize("name", GIVEN)
def test_products_are_those_of_the_full_matrices(name: str) -> None:
    loss, y = GIVEN[name]
    model, x = network(activation=nn.Tanh())
    for kind, block in (("hessian", hessian_block), ("gauss_newton", gauss_newton_block)):
        truth = trace_matrix(block(model, x, y, loss, "0.weight"))
        data = [(x[:5], y[:5]), (x[5:], y[5:])]
        found = hessian_trace_matrix(model, data, loss, layer="0", kind=kind)
        torch.testing.assert_close(found, truth, rtol=1e-9, atol=1e-9 * float(truth.abs().max()))


@pytest.mark.parametrize("name", ["weight", "ignored", "bce_pos_weight", "huber", "poisson"])
def test_a_tolerance_and_random_columns_go_with_any_convex_loss(name: str) -> None:
    loss, y = GIVEN[name]
    model, x = network()
    exact = layer_curvature(model, (x, y), loss)["0"]
    near = layer_curvature(model, (x, y), loss, columns=1e-3)["0"]
    assert near.trace == pytest.approx(exact.trace, abs=near.error_bound + 1e-12)
    draws = [layer_curvature(model, (x, y), loss, columns=2, seed=seed)["0"] for seed in range(100)]
    mean = sum(draw.trace for draw in draws) / len(draws)
    spread = torch.tensor([draw.trace for draw in draws]).std()
    assert mean == pytest.approx(exact.trace, abs=4 * float(spread) / 100**0.5 + 1e-12)


def test_neuron_wise_of_a_loss_that_is_not_convex() -> None:
    model, x = network()
    y = 2 * VALUES
    rho = layer_curvature(model, (x, y), cauchy, neuron_wise=True)
    assert min(torch.linalg.eigvalsh(found.trace_matrix)[0] for found in rho.values()) < -0.01
    for layer, found in rho.items():
        block = hessian_block(model, x, y, cauchy, f"{layer}.weight")
        weight = model.get_parameter(f"{layer}.weight").detach()
        truth = torch.einsum("sj,sjtj,tj->j", weight, block, weight)
        torch.testing.assert_close(found.neuron_wise, truth, rtol=1e-8, atol=1e-10)
    with pytest.raises(ValueError, match="loss cauchy is not convex in the outputs: columns must be 'exact'"):
        layer_curvature(model, (x, y), cauchy, columns=0.1)


def test_squared_error_is_c_times_mse_loss() -> None:
    model, x = network()
    ours, mse = (layer_curvature(model, (x, VALUES), loss)["0"].trace for loss in ("squared_error", nn.MSELoss()))
    assert ours == pytest.approx(C * mse)


@pytest.mark.parametrize("loss", [nn.HuberLoss(), nn.MSELoss(), nn.PoissonNLLLoss()])
def test_one_output_a_sample_is_not_broadcast(loss: nn.Module) -> None:
    model, x = network(1)
    flat = nn.Sequential(model, nn.Flatten(0))
    y = VALUES[:, 0]
    truth = trace_matrix(hessian_block(flat, x, y, loss, "0.0.weight"))
    assert layer_curvature(flat, (x, y), loss)["0.0"].trace == pytest.approx(float(truth.trace()))
    assert layer_curvature(model, (x, y[:, None]), loss)["0"].trace == pytest.approx(float(truth.trace()))


CROSS_ENTROPY = "cross_entropy takes classes .* probabilities .* sum 1; other numbers go with squared_error"


@pytest.mark.parametrize(
    ("loss", "targets", "message"),
    [
        ("cross_entropy", VALUES[:, :1], rf"float64 of shape \(\d+, 1\) for outputs \(\d+, 3\): {CROSS_ENTROPY}"),
        ("cross_entropy", CLASSES.double(), rf"float64 of shape \(\d+,\) for outputs \(\d+, 3\): {CROSS_ENTROPY}"),
        ("cross_entropy", VALUES, rf"from -[12].\d+ to 1.366: {CROSS_ENTROPY}"),
        ("cross_entropy", 2 * PROBABILITIES, rf"a row of them with the sum 2: {CROSS_ENTROPY}"),
        ("cross_entropy", PROBABILITIES * (torch.arange(N) != 7)[:, None], rf"with the sum 0: {CROSS_ENTROPY}"),
        ("cross_entropy", PROBABILITIES.log(), CROSS_ENTROPY),
        ("cross_entropy", IGNORED, "targets are classes -100 to 2; the model's 3 outputs allow 0 to 2"),
        ("cross_entropy", CLASSES + 1, "targets are classes 1 to 3; the model's 3 outputs allow 0 to 2"),
        (nn.CrossEntropyLoss(), torch.where(IGNORED < 0, -1, CLASSES), "classes -1 to 2"),
        (nn.CrossEntropyLoss(ignore_index=1), PROBABILITIES, "ignore_index 1 goes with targets that are classes"),
        (nn.CrossEntropyLoss(), torch.full((N,), -100), "every target is the ignore_index"),
        ("binary_cross_entropy", VALUES, r"targets are from -[12].\d+ to 1.366: .* takes probabilities in \[0, 1\]"),
        ("squared_error", VALUES / 0, "targets are not finite"),
        (nn.MSELoss(), VALUES[:, :2], r"targets have shape \(\d+, 2\), the outputs \(\d+, 3\)"),
        (nn.CrossEntropyLoss(WEIGHT[:2]), CLASSES, "weight holds 2 numbers; the model has 3 outputs"),
        (nn.CrossEntropyLoss(-WEIGHT), CLASSES, r"weight \(-0.5, .* does not hold finite numbers of at least 0"),
        (nn.BCEWithLogitsLoss(PROBABILITIES), PROBABILITIES, r"weight has shape \(12, 3\), numbers a sample"),
        (nn.CrossEntropyLoss(reduction="sum"), CLASSES, "reduction 'sum' of CrossEntropyLoss: allowed: 'mean'"),
        (nn.HuberLoss(reduction="none"), VALUES, "reduction 'none' of HuberLoss: allowed: 'mean'"),
        (nn.NLLLoss(), CLASSES, "NLLLoss is linear in the network's outputs"),
        (
            nn.CrossEntropyLoss,
            CLASSES,
            r"loss is the class CrossEntropyLoss, not one of its kind: CrossEntropyLoss\(\)",
        ),
        (3, CLASSES, "loss 3 is not one of cross_entropy"),
        (Subclass(WEIGHT), CLASSES, "loss Subclass is .* must be a mean over samples"),
        (lambda f, y: (f - y).square().sum(), VALUES, "must be a mean over samples, each by itself"),
        (lambda f, y: (f - y).square().mean(1), VALUES, r"gives a tensor of shape \(\d+,\); its mean over samples"),
        (lambda f, y: 0.0, VALUES, "gives float; its mean over samples"),
        (lambda f, y: (f.mean(0) - y.mean(0)).square().sum(), VALUES, "must be a mean over samples, each by itself"),
    ],
)
def test_what_a_loss_cannot_have_is_refused(loss: object, targets: Tensor, message: str) -> None:
    model, x = network()
    with pytest.raises(ValueError, match=message):
        layer_curvature(model, (x, targets), loss)
    with pytest.raises(ValueError, match=message), Curvature(model, (x, targets), loss) as matrix:
        matrix.product(torch.ones(1, matrix.n))


def test_a_loss_that_torch_cannot_differentiate_twice_is_named() -> None:
    model, x = network()
    with pytest.raises(ValueError, match="loss MultiMarginLoss cannot be differentiated twice"):
        layer_curvature(model, (x, CLASSES), nn.MultiMarginLoss())


def test_targets_of_later_batches_are_checked_too() -> None:
    model, x = network()
    wrong = torch.where(torch.arange(N) > 9, -100, CLASSES)
    for columns in ("exact", 0.1, 2):
        for normalized in (True, False):
            with pytest.raises(ValueError, match="targets are classes -100 to -100"):
                data = [(x[:10], wrong[:10]), (x[10:], wrong[10:])]
                layer_curvature(model, data, columns=columns, normalized=normalized)


def test_cross_entropy_of_one_output_is_refused() -> None:
    model, x = network(1)
    for targets in (torch.zeros(N, dtype=torch.long), torch.ones(N, 1, dtype=torch.float64)):
        with pytest.raises(ValueError, match="cross_entropy of 1 output is 0"):
            layer_curvature(model, (x, targets))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": -1}, "scale -1 is not a positive number"),
        ({"scale": 0}, "scale 0 is not a positive number"),
        ({"scale": float("nan")}, "scale nan is not"),
        ({"scale": "2"}, "scale '2' is not"),
        ({"label_smoothing": 1.5}, r"label_smoothing 1.5 is not in \[0, 1\]"),
        ({"pos_weight": [1.0]}, "pos_weight is not an option of cross_entropy; it is one of binary_cross_entropy"),
        ({"average_outputs": True}, "average_outputs is not an option of cross_entropy"),
        ({"weight": []}, r"weight \(\) does not hold"),
    ],
)
def test_options_that_a_loss_cannot_have_are_named(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Loss("cross_entropy", **options)


def test_options_of_another_loss_are_named() -> None:
    for options in ({"label_smoothing": 0.1}, {"ignore_index": 0}, {"weight": [1.0, 2.0]}):
        with pytest.raises(ValueError, match=f"{next(iter(options))} is not an option of squared_error"):
            Loss("squared_error", **options)  # type: ignore[arg-type]


def test_in_float32_it_is_that_of_float64() -> None:
    for name in ("weight_smoothed_ignored", "bce_pos_weight", "huber", "focal"):
        loss, y = GIVEN[name]
        model, x = network()
        truth = layer_curvature(model, (x, y), loss)["0"].trace
        loss = copy.deepcopy(loss).float() if isinstance(loss, nn.Module) else loss
        assert layer_curvature(model.float(), (x.float(), y), loss)["0"].trace == pytest.approx(truth, rel=1e-4)


@pytest.mark.parametrize("n_classes", [1, 2, 3, 10, 33])
def test_off_the_cpu_sums_are_taken_without_cumsum(n_classes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch's own is an error there where deterministic algorithms are asked for: every curvature would be missing."""
    logits, signs = 9 * torch.randn(4, n_classes), torch.randn(3, 4, max(n_classes - 1, 0), dtype=torch.float64)
    here = SoftmaxFactor.of(logits)
    expected = here.sizes(), here.columns(0, n_classes - 1), here.mixed(n_classes // 3, signs)
    monkeypatch.setattr(torch.Tensor, "cumsum", lambda *given: pytest.fail("cumsum"))
    monkeypatch.setattr(loss_factor, "running_sum", lambda x: running_sum(x.as_subclass(Elsewhere)).as_subclass(Tensor))
    found = here.sizes(), here.columns(0, n_classes - 1), here.mixed(n_classes // 3, signs)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-13, atol=1e-15)
