"""Differences of two measures equal those of their coefficients, resampled together; power grows as it should."""

from __future__ import annotations

import math

import pytest

from analysis import differences, kendall
from analysis.statistics.association.coefficients import coefficients
from analysis.statistics.association.differences import networks_needed
from analysis.statistics.resampling.design import design


def test_difference_is_that_of_the_two_taus_and_excludes_zero_for_a_clear_one(records):
    taus = kendall(records, resamples=0).set_index("measure")["tau_b"]
    table = differences(records, resamples=500).set_index("than")
    assert table.loc["hessian_trace", "delta_tau_b"] == pytest.approx(taus["relative_flatness"] - taus["hessian_trace"])
    assert table.loc["hessian_trace", "delta_tau_b.low"] > 0
    # q and interval of one comparison say the same; over several the q is no smaller
    assert (table["q_bh"] < 0.05).sum() <= (table["delta_tau_b.low"] > 0).sum() + (table["delta_tau_b.high"] < 0).sum()
    alone = differences(records, labels=["relative_flatness", "hessian_trace"], resamples=500).iloc[0]
    assert alone["q_bh"] < 0.05 and alone["q_bh"] <= table.loc["hessian_trace", "q_bh"]
    paired = table.loc["relative_flatness_normalized", "se"]
    grid = design(records)
    apart = [coefficients(records[f"measure.{m}"], records["gap.loss"], grid, 500).replicates["tau_b"].std()
             for m in ("relative_flatness", "relative_flatness_normalized")]  # fmt: skip
    assert paired < math.hypot(*apart)
    with pytest.raises(ValueError, match="than: nothing: allowed are relative_flatness"):
        differences(records, than="nothing", resamples=0)


def test_networks_needed_grow_with_the_square_of_the_precision():
    assert networks_needed(0.05, 100) == math.ceil(100 * ((1.959964 + 0.841621) * 0.05 / 0.1) ** 2)
    assert networks_needed(0.05, 100, difference=0.05) == pytest.approx(4 * networks_needed(0.05, 100), rel=0.02)
    assert math.isnan(networks_needed(float("nan"), 100))
