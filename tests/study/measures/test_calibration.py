"""Calibration beside scikit-learn's, and where a temperature is none."""

import pytest
import torch
from sklearn.metrics import brier_score_loss, log_loss
from torch import nn

from study.measures import MeasureContext, compute


def context(logits: torch.Tensor, labels: list[int]) -> MeasureContext:
    """A network that hands its inputs on: they are the outputs."""
    return MeasureContext(nn.Sequential(nn.Identity()), {}, logits.double(), torch.tensor(labels), "cross_entropy")


def test_scores_are_those_of_scikit_learn() -> None:
    torch.manual_seed(0)
    ctx = context(2 * torch.randn(50, 4), torch.randint(4, (50,)).tolist())
    p, y = ctx.logits.softmax(1).numpy(), ctx.labels.numpy()
    assert compute("cross_entropy", ctx)["value"] == pytest.approx(log_loss(y, p), rel=1e-12)
    assert compute("brier", ctx)["value"] == pytest.approx(brier_score_loss(y, p, scale_by_half=False), rel=1e-12)


def test_calibration_error_by_hand() -> None:
    """Two samples at .6, one right; two at .9, both right: .5 |.5 - .6| + .5 |1 - .9|."""
    logits = torch.tensor([[0.6, 0.4], [0.6, 0.4], [0.9, 0.1], [0.9, 0.1]], dtype=torch.float64).log()
    ctx = context(logits, [0, 1, 0, 0])
    for label in ("ece", "ece(binning=mass,bins=2)"):
        assert compute(label, ctx)["value"] == pytest.approx(0.1)
    assert compute("ece(bins=1)", ctx)["value"] == pytest.approx(0.0)
    assert compute("ece", context(torch.tensor([[0.0, 1e4]]), [1]))["value"] == 0.0  # the top bin has 1 itself


def test_the_best_temperature_recovers_that_of_the_labels() -> None:
    torch.manual_seed(0)
    logits = torch.randn(20_000, 3).double()
    labels = torch.multinomial((logits / 0.5).softmax(1), 1)[:, 0]
    assert compute("temperature", context(logits, labels.tolist()))["value"] == pytest.approx(0.5, rel=0.05)


def test_a_temperature_that_is_none_is_missing_with_its_reason() -> None:
    for label in ("temperature", "nll_after_temperature"):
        with pytest.raises(ValueError, match="no training sample is misclassified"):
            compute(label, context(torch.eye(3), [0, 1, 2]))
        with pytest.raises(ValueError, match="worse than chance"):
            compute(label, context(torch.eye(3), [1, 2, 0]))
