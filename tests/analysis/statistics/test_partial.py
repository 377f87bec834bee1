"""Partial correlation, training loss and norm held fixed, is that of its formulas; and where both share the control."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis import (
    partial,
)
from analysis.columns import at_stop
from analysis.statistics.association.partial import controls, partial_tau


@pytest.mark.parametrize("seed", range(8))
def test_partial_tau_equals_the_formula_and_its_inverse_matrix(seed):
    r = np.random.default_rng(seed)
    z, w = r.normal(size=(2, 40))
    x, y = z + r.normal(size=40).round(1), z + w + r.normal(size=40)
    t = {k: stats.kendalltau(*v)[0] for k, v in {"xy": (x, y), "xz": (x, z), "yz": (y, z)}.items()}
    expected = (t["xy"] - t["xz"] * t["yz"]) / math.sqrt((1 - t["xz"] ** 2) * (1 - t["yz"] ** 2))
    assert partial_tau(x, y, [z]) == pytest.approx(expected)
    # The coefficient given two others is minus the scaled entry of the inverse of all taus.
    columns = (x, y, z, w)
    inverse = np.linalg.inv([[stats.kendalltau(a, b)[0] for a in columns] for b in columns])
    assert partial_tau(x, y, [z, w]) == pytest.approx(-inverse[0, 1] / math.sqrt(inverse[0, 0] * inverse[1, 1]))


@pytest.mark.parametrize("seed", range(4))
def test_partial_spearman_equals_residuals_of_ranks(seed):
    r = np.random.default_rng(seed)
    z, w, x, y, v = r.normal(size=(5, 60)).round(1)
    frame = pd.DataFrame({"hp.a": np.repeat(range(12), 5), "hp.seed": list(range(5)) * 12, "gap.loss": y + z + w + v})
    frame["measure.m"], frame["train.loss"], frame["measure.weight_norm_squared"] = x + z + w + v, z, w
    frame["measure.label_constancy"] = v
    table = partial(frame, labels=["m"], resamples=300).set_index("given")
    assert len(table) == 4
    rank = {name: stats.rankdata(frame[name]) for name in frame.columns[2:]}
    for given, held in (
        ("training loss", ["train.loss"]),
        ("squared weight norm", ["measure.weight_norm_squared"]),
        ("training loss and squared weight norm", ["train.loss", "measure.weight_norm_squared"]),
        ("constancy of labels", ["measure.label_constancy"]),
    ):
        design = np.stack([np.ones(60), *(rank[h] for h in held)], axis=1)
        left = [rank[n] - design @ np.linalg.lstsq(design, rank[n])[0] for n in ("measure.m", "gap.loss")]
        row = table.loc[given]
        assert row["partial_spearman"] == pytest.approx(np.corrcoef(*left)[0, 1])
        assert row["partial_spearman.low"] < row["partial_spearman"] < row["partial_spearman.high"]


def test_partial_spearman_is_about_0_where_only_the_control_is_shared_and_partial_tau_is_not():
    r = np.random.default_rng(0)
    z = r.normal(size=3000)
    x, y = (z + 0.7 * r.normal(size=3000) for _ in range(2))
    frame = pd.DataFrame({"hp.a": range(3000), "hp.seed": 0, "gap.loss": y, "measure.m": x, "train.loss": z})
    (row,) = partial(frame, resamples=0).to_dict("records")
    assert abs(row["partial_spearman"]) < 0.05 and row["partial_tau"] > 0.12


@pytest.mark.parametrize(("gap", "expected"), [(lambda z: -np.exp(-2 * z), -0.16), (lambda z: np.exp(2 * z), 0.19)])
def test_partial_spearman_is_not_0_where_far_from_normal_variables_share_the_control_alone(gap, expected):
    """Monotone confounding: measure and gap both grow with the control, each with noise of its own."""
    r = np.random.default_rng(0)
    z = r.normal(size=3000)
    x, y = np.exp(2 * z) + r.normal(size=3000), gap(z) + r.normal(size=3000)
    frame = pd.DataFrame({"hp.a": range(3000), "hp.seed": 0, "gap.loss": y, "measure.m": x, "train.loss": z})
    (row,) = partial(frame, resamples=0).to_dict("records")
    assert row["partial_spearman"] == pytest.approx(expected, abs=0.03)


def test_labels_differ_nearby_is_held_fixed_where_it_was_measured_of_some(records):
    kept = at_stop(records)
    for constancy, shown in ((np.nan, False), (np.arange(len(kept)), True)):
        table = partial(kept.assign(**{"measure.label_constancy": constancy}), resamples=0)
        assert ("constancy of labels" in set(table["given"])) is shown


def test_a_control_without_a_value_is_none(records):
    kept = at_stop(records)
    empty = kept.assign(**{"train.loss": np.nan, "measure.cross_entropy": kept["train.loss"]})
    assert controls(empty)["training loss"] in ("measure.train_loss", "measure.cross_entropy")
    bare = empty.drop(columns=["measure.train_loss", "measure.cross_entropy"], errors="ignore")
    assert "training loss" not in controls(bare)


def test_partial_leaves_nothing_of_a_measure_that_is_the_control(records):
    table = partial(records, resamples=200).set_index(["measure", "given"])
    own = table.loc[("train_loss", "training loss")]
    assert math.isnan(own["partial_tau"]) and math.isnan(own["partial_spearman"])
    flat = table.loc[("relative_flatness", "training loss and squared weight norm")]
    assert flat["partial_tau.low"] < flat["partial_tau"] < flat["partial_tau.high"]
    assert flat["n"] == 81 and flat["configurations"] == 27


def test_a_layer_is_held_against_its_own_norm_also_where_its_measure_has_an_option(records):
    column = "measure.relative_flatness.fc3"
    named = ["sharpness_max(rho=0.05).fc3", "sharpness_max(rho=0.05)@layerwise_1.fc3"]
    for label in named:
        records[f"measure.{label}"] = records[column]
    records["measure.sharpness_max(rho=0.05)"] = records[column]
    table = partial(records, labels=["relative_flatness.fc3", *named, "sharpness_max(rho=0.05)"], resamples=0)
    left = table[table["given"] == "squared weight norm"].set_index("measure")["partial_tau"]
    assert (left[named] == left["relative_flatness.fc3"]).all()
    assert left["sharpness_max(rho=0.05)"] != left["relative_flatness.fc3"]
