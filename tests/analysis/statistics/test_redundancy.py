"""Tau-b among measures and gaps predicted from them, against plain loops; what is planted is found."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kendalltau

from analysis.columns import at_stop
from analysis.drawing import style
from analysis.items import part
from analysis.selection import trained
from analysis.statistics.redundancy import _isotonic, agreement, linear, monotone, prediction
from analysis.vocabulary import measure_words
from tests.reference.statistics import tau


def r_squared(columns: list[np.ndarray], y: np.ndarray, group: np.ndarray) -> float:
    """Every configuration left out in turn, least squares on the others: loops alone."""
    wrong = plain = 0.0
    for left_out in np.unique(group):
        others = group != left_out
        design = np.stack([np.ones(others.sum()), *(c[others] for c in columns)], axis=1)
        weights = np.linalg.lstsq(design, y[others], rcond=None)[0]
        for i in np.flatnonzero(~others):
            wrong += (y[i] - weights @ [1, *(c[i] for c in columns)]) ** 2
            plain += (y[i] - y[others].mean()) ** 2
    return 1 - wrong / plain


@pytest.fixture(scope="module")
def drawn() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    x, z = random.normal(size=(2, 60))
    return {"x": x, "z": z, "y": 2 * x - z + 0.1 * random.normal(size=60), "group": np.repeat(np.arange(20), 3)}


def test_linear_is_least_squares_with_each_configuration_left_out(drawn: dict[str, np.ndarray]) -> None:
    x, z, y, group = (drawn[name] for name in ("x", "z", "y", "group"))
    assert linear([x], y, group) == pytest.approx(r_squared([x], y, group), rel=1e-9)
    assert linear([x, z], y, group) == pytest.approx(r_squared([x, z], y, group), rel=1e-9)
    assert linear([1e160 * x], y, group) == pytest.approx(linear([x], y, group), rel=1e-9)
    assert linear([x, z], y, group) > 0.98 > linear([x], y, group)
    assert linear([x * 0], y, group) == pytest.approx(0, abs=1e-12)
    assert np.isnan(linear([x[:9]], y[:9], group[:9]))


def test_more_than_a_hundred_configurations_are_left_out_in_a_hundred_groups() -> None:
    random = np.random.default_rng(3)
    x, group = random.normal(size=130), np.arange(130)
    frame = pd.DataFrame({"hp.a": group, "measure.m": x, "gap.loss": x + random.normal(size=130)})
    found = prediction(frame, "gap.loss", ["m"]).iloc[0]
    y = frame["gap.loss"].to_numpy()
    assert found["r2_linear"] == pytest.approx(r_squared([x], y, group % 100), rel=1e-9)
    assert found["r2_linear"] != pytest.approx(r_squared([x], y, group), rel=1e-9)


def test_of_networks_that_share_a_value_the_monotone_model_is_of_each() -> None:
    """Pooled neighbours weigh as many networks as they are, and so does what they miss."""
    x = np.array([1, 1, 1, 1, 2, 3, 3, 4, 5], dtype=float)
    y = np.array([4, 4, 5, 5, 0, 6, 5, 7, 9], dtype=float)
    steps = {1: 18 / 5, 2: 18 / 5, 3: 5.5, 4: 7, 5: 9}
    assert _isotonic(x, y, np.arange(1.0, 6)) == pytest.approx(list(steps.values()))
    assert _isotonic(x, -y, np.array([1.5, 3.5])) == pytest.approx([-18 / 5, -6.25])
    many = np.array([1] * 20 + [2] * 20 + [3, 4, 5], dtype=float)  # rises for most networks, falls for most values
    said = _isotonic(many, np.array([0.0] * 20 + [2.0] * 20 + [1.5, 0.5, -0.5]), np.array([1.0, 2]))
    assert said[0] < said[1]


def test_noise_predicts_nothing_of_networks_left_out() -> None:
    random = np.random.default_rng(1)
    y, group = random.normal(size=(200,)), np.arange(200) // 2
    for _ in range(5):
        noise = random.normal(size=200)
        assert linear([noise], y, group) < 0.03 and monotone(noise, y, group) < 0.03
    # Seeds of one configuration share their gap; one that was fitted to would give its own twin away.
    shared = np.repeat(random.normal(size=100), 2)
    marks = np.repeat(random.normal(size=100), 2)
    assert monotone(marks, shared, group) < 0.05


def test_monotone_sees_what_a_line_does_not(drawn: dict[str, np.ndarray]) -> None:
    x, group = drawn["x"], drawn["group"]
    step = np.where(x > 0, 1.0, 0.0) + np.where(x > 1, 5.0, 0.0)
    for sign in (1, -1):
        assert monotone(sign * x, step, group) > linear([x], step, group) + 0.1
    assert monotone(x, x**2, group) < 0.9


def test_agreement_is_tau_b_and_puts_like_by_like(drawn: dict[str, np.ndarray]) -> None:
    x, z = drawn["x"], drawn["z"]
    frame = pd.DataFrame(
        {"measure.a": x, "measure.b": np.round(z), "measure.c": -(x**3), "measure.d": np.where(x > 2, np.nan, z)}
    )
    table = agreement(frame)
    assert sorted(table.index) == ["a", "b", "c", "d"] and list(table.index) == list(table.columns)
    place = {name: at for at, name in enumerate(table.index)}
    assert abs(place["a"] - place["c"]) == abs(place["b"] - place["d"]) == 1 and table.loc["a", "c"] == pytest.approx(
        -1
    )
    there = ~np.isnan(frame["measure.d"])
    by_hand = tau(list(frame["measure.b"][there]), list(frame["measure.d"][there]), "b")
    assert table.loc["b", "d"] == table.loc["d", "b"] == pytest.approx(by_hand, rel=1e-12)


def test_three_networks_say_nothing_of_two_measures(drawn: dict[str, np.ndarray]) -> None:
    few = np.where(np.arange(len(drawn["x"])) < 3, drawn["z"], np.nan)
    table = agreement(pd.DataFrame({"measure.a": drawn["x"], "measure.b": few}))
    assert np.isnan(table.loc["a", "b"]) and table.loc["a", "a"] == 1


def test_what_a_measure_adds_to_training_loss_and_norm(records: pd.DataFrame) -> None:
    kept = at_stop(records)
    random = np.random.default_rng(2)
    loss = random.normal(size=len(kept))
    kept = kept.assign(
        **{"train.loss": loss, "measure.new": random.normal(size=len(kept)), "measure.same": 3 * loss + 1}
    )
    kept["gap.loss"] = kept["measure.new"] + loss
    found = prediction(kept, "gap.loss", ["new", "same"]).set_index("measure")
    assert found.loc["new", "added_to_loss"] > 0.3 and found.loc["new", "r2_loss"] + found.loc[
        "new", "added_to_loss"
    ] == pytest.approx(1)
    assert abs(found.loc["same", "added_to_loss"]) < 1e-9 and "added_to_norm" in found


def test_a_network_without_the_control_counts_for_the_measure_alone(records: pd.DataFrame) -> None:
    kept = at_stop(records)
    label = "hessian_trace"
    whole = prediction(kept, "gap.loss", [label]).iloc[0]
    few = kept.assign(**{"train.loss": kept["train.loss"].mask(np.arange(len(kept)) < 9)})
    found = prediction(few, "gap.loss", [label]).iloc[0]
    assert found[["n", "r2_linear", "r2_monotone", "r2_norm"]].equals(
        whole[["n", "r2_linear", "r2_monotone", "r2_norm"]]
    )
    without = prediction(few[9:].reset_index(drop=True), "gap.loss", [label]).iloc[0]
    assert found["r2_loss"] == pytest.approx(without["r2_loss"]) != whole["r2_loss"]


def test_the_table_and_the_figure(records: pd.DataFrame) -> None:
    table = part("table", "redundancy").build(records)
    assert {"nearest", "r2_linear", "r2_monotone", "added_to_loss", "added_to_norm"} < set(table.columns)
    assert set(table["target"]) >= {"gap.loss"}
    kept = records[records["train.converged"]]
    others = {m: kept[f"measure.{m}"] for m in trained(kept)}
    for row in table[table["target"] == "gap.loss"].to_dict("records"):
        each = {m: kendalltau(others[row["measure"]], x, nan_policy="omit")[0] for m, x in others.items()}
        best = max((m for m in each if m != row["measure"]), key=lambda m: abs(each[m]))
        assert (row["nearest"], row["nearest_tau_b"]) == (measure_words(best), pytest.approx(each[best]))
    figure = part("figure", "redundancy").build(records)
    assert len(figure.axes[0].get_yticklabels()) == len(figure.axes[0].get_xticklabels()) > 2


def test_of_many_measures_those_that_rank_alike_are_one_row(records: pd.DataFrame) -> None:
    random = np.random.default_rng(0)
    new = {f"measure.new_{k}": random.normal(size=len(records)) for k in range(style.MANY)}
    same = {"measure.same": 2 * records["measure.hessian_trace"] + 1, "measure.constant": 1.0}
    figure = part("figure", "redundancy").build(records.assign(**new, **same))
    words = [label.get_text().rsplit("  ", 1)[0] for label in figure.axes[0].get_yticklabels()]
    assert "Hessian trace" in words and not {"same", "constant"} & set(words)
    assert "Hessian trace: same" in str(figure.get_label())
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()][:2] == ["5", "10"]
