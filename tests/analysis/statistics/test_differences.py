"""Differences of two measures equal those of their coefficients, resampled together; power grows as it should."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import false_discovery_control, kendalltau

from analysis import differences, kendall
from analysis.statistics.association.coefficients import coefficients
from analysis.statistics.association.differences import between_targets, networks_needed, p_of_no_difference, paired
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


def test_q_is_over_all_rows_and_the_networks_needed_are_of_networks(records):
    labels = ["relative_flatness", "kappa_2019", "hessian_trace", "distance_from_init"]
    records.loc[3, "measure.kappa_2019"] = np.nan
    table = differences(records, labels=labels, resamples=50).set_index("than")
    p = [p_of_no_difference(*paired(records, "gap.loss", labels[0], m, 50), "tau_b") for m in labels[1:]]
    assert table.loc[labels[1:], "q_bh"].tolist() == pytest.approx(false_discovery_control(p))
    assert table["n"].tolist() == [80, 81, 81]
    assert table["networks_needed"].tolist() == [networks_needed(r["se"], r["n"]) for _, r in table.iterrows()]
    turned = records.assign(**{"gap.error": -records["gap.error"]})
    of_two = between_targets(turned, "gap.loss", "gap.error", labels, 50)["q_bh"]
    exchanged = turned.rename(columns={"gap.loss": "measure.loss", "gap.error": "measure.error"})
    p = [
        p_of_no_difference(
            *paired(exchanged.assign(**{"gap.loss": turned[f"measure.{m}"]}), "gap.loss", "loss", "error", 50), "tau_b"
        )
        for m in labels
    ]
    assert of_two.tolist() == pytest.approx(false_discovery_control(p)) and len(set(p)) > 1


def test_of_few_configurations_the_standard_error_is_the_jackknifes(records):
    few = records[(records["hp.batch_size"] == 8) & (records["hp.init_gain"] == 1)].copy()
    few = pd.concat([few.assign(**{"hp.lr": few["hp.lr"] * k}) for k in (1, 2)], ignore_index=True)
    random = np.random.default_rng(0)
    for name in ("gap.loss", "measure.first", "measure.second"):
        few[name] = random.normal(size=len(few))
    (row,) = differences(few, labels=["first", "second"], resamples=50).to_dict("records")
    each = []
    for left_out in few["hp.lr"].unique():
        rest = few[few["hp.lr"] != left_out]
        first, second = (kendalltau(rest[f"measure.{m}"], rest["gap.loss"])[0] for m in ("first", "second"))
        each.append(first - second)
    assert row["configurations"] == len(each) == 6
    assert row["se"] == pytest.approx(math.sqrt(5 / 6 * np.square(np.array(each) - np.mean(each)).sum()))


def test_networks_needed_grow_with_the_square_of_the_precision():
    assert networks_needed(0.05, 100) == math.ceil(100 * ((1.959964 + 0.841621) * 0.05 / 0.1) ** 2)
    assert networks_needed(0.05, 100, difference=0.05) == pytest.approx(4 * networks_needed(0.05, 100), rel=0.02)
    assert math.isnan(networks_needed(float("nan"), 100))


def test_of_two_targets_it_is_that_of_two_measures_with_the_parts_exchanged(records):
    table = between_targets(records, "gap.loss", "gap.error", ["hessian_trace", "relative_flatness"], resamples=500)
    exchanged = records.rename(
        columns={"measure.hessian_trace": "gap.trace", "gap.loss": "measure.loss", "gap.error": "measure.error"}
    )
    same = differences(exchanged, "gap.trace", "loss", ["loss", "error"], resamples=500).iloc[0]
    first = table.iloc[0]
    assert first["delta_tau_b"] == pytest.approx(first["tau_b"] - first["tau_b_than"])
    of_loss, of_error = (kendalltau(records["measure.hessian_trace"], records[f"gap.{unit}"]).statistic
                         for unit in ("loss", "error"))  # fmt: skip
    assert (first["tau_b"], first["tau_b_than"]) == (pytest.approx(of_loss), pytest.approx(of_error))
    for column in ("delta_tau_b", "delta_tau_b.low", "delta_tau_b.high"):
        assert first[column] == pytest.approx(same[column], abs=1e-12)
    assert list(table["measure"]) == ["hessian_trace", "relative_flatness"]


def test_of_two_targets_a_run_without_either_is_left_out_of_both(records):
    some = records.assign(**{"gap.error": records["gap.error"].mask(records.index % 5 == 0)})
    row = between_targets(some, "gap.loss", "gap.error", ["hessian_trace"], resamples=0).iloc[0]
    there = some["gap.error"].notna()
    assert row["n"] == there.sum() < len(some)
    assert row["tau_b"] == pytest.approx(kendalltau(some["measure.hessian_trace"][there], some["gap.loss"][there])[0])
    with pytest.raises(ValueError, match=r"target: gap\.shift: allowed are"):
        between_targets(records, "gap.loss", "gap.shift", ["hessian_trace"])


OF_TARGETS = 0.85  # Pearson's r of plain and shifted gap in library_cifar10 at a loss of .01


def simulated(number: int, of_first: float, of_second: float) -> pd.DataFrame:
    """4 x 4 levels of two seeds: a measure that correlates so with two targets, as tests/support/crossed.py has it."""
    generator = np.random.default_rng([number, round(100 * of_first)])
    together = np.array([[1, of_first, of_second], [of_first, 1, OF_TARGETS], [of_second, OF_TARGETS, 1]])
    root = np.linalg.cholesky(together)
    a, b, seed = (level.ravel() for level in np.meshgrid(range(4), range(4), range(2), indexing="ij"))
    parts = (root @ generator.normal(size=(3, n)) for n in (4, 4, 16, 32))
    of_a, of_b, of_cell, of_seed = parts
    values = of_a[:, a] + of_b[:, b] + 0.3 * of_cell[:, 4 * a + b] + 0.5 * of_seed
    found = pd.DataFrame({"hp.a": a, "hp.b": b, "hp.seed": seed})
    return found.assign(**dict(zip(("measure.m", "gap.shift.mean.loss", "gap.loss"), values, strict=True)))


def test_of_two_targets_the_interval_holds_the_truth_as_often_as_is_said():
    held = []
    for of_first, of_second in ((0.5, 0.5), (0.7, 0.45)):
        truth = 2 / math.pi * (math.asin(of_first) - math.asin(of_second))
        rows = [
            between_targets(simulated(n, of_first, of_second), "gap.shift.mean.loss", "gap.loss", ["m"], 200).iloc[0]
            for n in range(150)
        ]
        held.append(np.mean([row["delta_tau_b.low"] <= truth <= row["delta_tau_b.high"] for row in rows]))
    low, high = (f"{100 * share:.0f}" for share in sorted(held))
    assert f"{low} and {high}%" in " ".join(str(between_targets.__doc__).split())
