"""The benchmark of stopping rules says of estimates what a loop says, and takes every label of a network."""

import math

import pytest
import torch
from torch import nn

from study.measures import MeasureContext
from study.measures.registry import Sampled
from tests.benchmarks import stopping


def test_a_row_is_bias_error_and_coverage() -> None:
    found = [Sampled(1.1, 0.02), Sampled(0.9, 0.05), Sampled(1.3, 0.2), Sampled(1.0, 0.0)]
    row = stopping.row_of("mine", found, 1.0)
    assert row["bias"] == pytest.approx((0.1 - 0.1 + 0.3 + 0) / 4)
    assert row["error"] == pytest.approx(math.sqrt((0.01 + 0.01 + 0.09) / 4))
    assert row["standard_error"] == pytest.approx((0.02 / 1.1 + 0.05 / 0.9 + 0.2 / 1.3) / 4)
    assert (row["held"], row["estimates"]) == (0.75, 4)


def test_every_label_has_a_row_whose_truth_is_of_its_own_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "_RESAMPLES", 20)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3)).double()
    x = torch.randn(40, 8, dtype=torch.float64)
    context = MeasureContext(model, {}, x, model(x).argmax(1), "cross_entropy", "0123456789ab")
    found = list(stopping.rows(context, draws=30, sets=3))
    assert [row["label"] for row in found] == [*stopping._MEANS, *stopping._LEVELS]
    for row in found:
        assert row["estimates"] == (20 if "sharpness" in row["label"] else 3)
        assert row["truth"] > 0 and row["error"] > 0 and 0 <= row["held"] <= 1
        assert "sharpness" in row["label"] or row["bias"] == pytest.approx(0, abs=1e-12)
    assert [row["label"] for row in stopping.rows(context, draws=30, sets=1)] == list(stopping._MEANS)
