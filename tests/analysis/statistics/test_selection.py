"""Regret and hits: equal to loops over all orders of ties, and what is known of baselines; intervals simulated."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.columns import configurations
from analysis.figures import Lacking
from analysis.figures import selection as figure
from analysis.statistics.resampling.design import NONE
from analysis.statistics.selection import DRAWS, SAID, canonical, outcome, selection
from analysis.tables import selection as table
from tests.reference.statistics import picked
from tests.support.crossed import study


def test_no_interval_is_computed_where_no_resamples_are_asked(records, monkeypatch):
    """Of very many networks all ways to draw would take minutes."""
    monkeypatch.setattr("analysis.statistics.resampling.design.every_draw", lambda *_: pytest.fail("drawn"))
    rows = selection(records, "gap.loss", ["hessian_trace"], resamples=0)
    assert rows[["regret.low", "hits.high"]].isna().all(axis=None) and rows["regret"].notna().all()


@pytest.mark.parametrize("seed", range(12))
def test_a_pick_equals_loops_over_all_orders_of_ties_however_often_a_network_is_drawn(seed):
    r = np.random.default_rng(seed)
    x, y = r.integers(0, 3, 6).astype(float), r.integers(0, 4 + seed, 6) / 4
    counts = np.stack([np.ones(6), *r.multinomial(7, np.full(6, 1 / 6), size=3)], axis=1)
    got = outcome(x[None], y, counts)
    for b, count in enumerate(counts.T.astype(int)):
        expected = picked(np.repeat(x, count).tolist(), np.repeat(y, count).tolist())
        assert got[:, b] == pytest.approx(expected, nan_ok=True)


def test_the_target_itself_regrets_nothing_and_a_random_choice_its_expectation(records):
    records["measure.self"], records["measure.worst"] = records["gap.loss"], -records["gap.loss"]
    rows = selection(records, "gap.loss", ["self", "worst"], resamples=0).set_index("measure")
    gap = records["gap.loss"]
    assert rows.loc["self", list(SAID)].tolist() == [0, 0, 1]
    assert rows.loc["worst", "regret"] == pytest.approx(gap.max() - gap.min()) and rows.loc["worst", "hits"] == 0
    chance = rows.loc["random_choice"]
    assert chance["regret"] == pytest.approx(gap.mean() - gap.min())
    assert chance["normalized_regret"] == pytest.approx(1) and chance["hits"] == pytest.approx(17 / 81)
    assert rows.loc["oracle(0.02)", "regret"] < rows.loc["oracle(0.05)", "regret"] < chance["regret"]
    assert rows.loc["oracle(0.02)", "hits"] > rows.loc["oracle(0.05)", "hits"] > chance["hits"]


def test_an_oracle_is_the_mean_of_picks_by_the_target_with_noise(records):
    part = records.iloc[:9].reset_index(drop=True)
    goal = part["gap.loss"].to_numpy()
    noise = np.random.default_rng([0, 9]).normal(size=(DRAWS, 9))
    each = [picked((goal + 0.05 * n).tolist(), goal.tolist()) for n in noise[:2]]
    assert outcome(goal + 0.05 * noise[:2], goal, np.ones((9, 1)))[:, 0] == pytest.approx(np.mean(each, axis=0))
    row = selection(part, "gap.loss", [], resamples=0).set_index("measure").loc["oracle(0.05)"]
    whole = outcome(goal + 0.05 * noise, goal, np.ones((9, 1)))[:, 0]
    assert row[list(SAID)].tolist() == pytest.approx(whole.tolist())


def test_the_canonical_ordering_reads_hyperparameters_alone(records):
    order = canonical(records)
    first = records[order == order.min()]
    assert set(first["hp.batch_size"]) == {8} and set(first["hp.lr"]) == {0.1} and len(first) == 9
    assert np.isnan(canonical(records[["hp.init_gain"]])).all()
    opposed = pd.DataFrame({"hp.batch_size": range(8), "hp.lr": range(8)})
    assert len(np.unique(canonical(opposed))) == 1
    assert (canonical(records.assign(**{"hp.width": "wide"})) == order).all()
    ours = pd.DataFrame({"hp.lr": [0.1, 0.1, 3, 3], "hp.lr_factor": [1, 0.5, 1, 0.5], "hp.model.depth": [4, 4, 3, 3]})
    assert canonical(ours).tolist() == [0, 1, 1, 2]
    row = selection(records, "gap.loss", [], resamples=0).set_index("measure").loc["canonical_ordering"]
    assert row["regret"] == pytest.approx(first["gap.loss"].mean() - records["gap.loss"].min())
    same = records[(records["hp.lr"] == 0.1) & (records["hp.batch_size"] == 8)].reset_index(drop=True)
    assert "canonical_ordering" not in set(selection(same, "gap.loss", [], resamples=0)["measure"])


def test_of_configurations_the_means_over_seeds_are_picked_among(records):
    group = configurations(records)
    x, y = (records[c].groupby(group).mean().to_numpy() for c in ("measure.hessian_trace", "test.loss"))
    row = selection(records, "test.loss", ["hessian_trace"], "configuration", resamples=50).iloc[0]
    assert (row["n"], row["configurations"]) == (81, 27) and row["regret"] == pytest.approx(y[x.argmin()] - y.min())
    assert row["regret.low"] <= row["regret"] and row["hits.high"] <= 1
    with pytest.raises(ValueError, match="unit: seed: allowed are network, configuration"):
        selection(records, unit="seed")


def test_a_configuration_one_of_whose_seeds_has_no_value_is_not_picked(records):
    """Its mean would be of other networks than the gap's."""
    half = records.assign(**{"measure.hessian_trace": records["measure.hessian_trace"].mask(records["hp.seed"] == 0)})
    row = selection(half, "test.loss", ["hessian_trace"], "configuration", resamples=0).iloc[0]
    assert (row["n"], row["configurations"]) == (0, 0) and row["note"] == "no value"
    one = records["measure.hessian_trace"].mask(np.arange(len(records)) == 0)
    row = selection(
        records.assign(**{"measure.hessian_trace": one}), "test.loss", ["hessian_trace"], "configuration", resamples=0
    ).iloc[0]
    assert (row["n"], row["configurations"]) == (78, 26)


def test_what_has_no_value_is_not_picked_and_says_so(records):
    least = records["test.error"].idxmin()
    records.loc[least, "measure.hessian_trace"] = np.nan
    records["measure.none"] = np.nan
    records["measure.few"] = records["test.error"].where(records.index < 40)
    records["measure.enough"] = records["test.error"].where(records.index < 41)
    rows = selection(records, labels=["hessian_trace", "none", "few", "enough"], resamples=0).set_index("measure")
    assert rows.loc["few", ["n", "note"]].tolist() == [40, "less than half have a value"]
    assert rows.loc["few", ["regret", "hits"]].isna().all() and rows.loc["enough", "hits"] == 1
    assert rows.loc["hessian_trace", "n"] == 80 and rows.loc["none", "note"] == "no value"
    assert np.isnan(rows.loc["none", "regret"]) and rows.loc["train_loss", "n"] == 81
    part = records[(records["hp.lr"] < 0.1) & (records["hp.batch_size"] < 128) & (records["hp.init_gain"] < 2)]
    row = selection(part.reset_index(drop=True), labels=["kappa_2019"], resamples=50).iloc[0]
    assert row["note"] == NONE and np.isnan(row["regret.low"]) and np.isfinite(row["regret"])


@pytest.mark.parametrize(("name", "held"), [("3 × 3 × 3 levels, 4 seeds", 0.85), ("4 levels, 20 seeds", 0.65)])
def test_intervals_for_new_levels_hold_what_is_expected_of_such_studies(name, held):
    """Share of 150 simulated studies whose 95% interval holds the mean over all: of the regret as little as `held`, as
    the module says; of the normalized regret .85 at least, of hits .95."""
    columns = ["measure.first", "gap.loss"]
    frames = [study(name, 0.7, number).frame for number in range(150)]
    each = [outcome(f[columns[0]].to_numpy()[None], f[columns[1]].to_numpy(), np.ones((len(f), 1))) for f in frames]
    truth = np.mean(each, axis=0)[:, 0]
    inside = []
    for number, frame in enumerate(frames):
        row = selection(frame, "gap.loss", ["first"], noise=(), resamples=100, seed=number).iloc[0]
        inside.append([row[f"{s}.low"] <= t <= row[f"{s}.high"] for s, t in zip(SAID, truth, strict=True)])
    share = np.mean(inside, axis=0)
    assert share[0] >= held and share[1] >= 0.85 and share[2] >= 0.95


def test_the_table_has_every_target_and_unit_and_the_figure_a_row_a_measure(records):
    got = table.build(records, resamples=20)
    assert got["target"].unique().tolist() == ["test.error", "test.loss", "gap.error", "gap.loss"]
    assert set(got["unit"]) == {"network", "configuration"}
    kept = records[records["train.converged"]].reset_index(drop=True)
    one = selection(kept, "test.loss", ["kappa_2019"], resamples=20).iloc[0]
    rows = got[(got["target"] == "test.loss") & (got["unit"] == "network")].set_index("measure")
    assert rows.loc["kappa_2019", one.index[1:]].tolist() == one.tolist()[1:]
    assert {"oracle(0.02)", "random_choice", "train_loss", "canonical_ordering"} <= set(got["measure"])
    assert not got.duplicated(["target", "unit", "measure"]).any()
    drawn = figure.build(records, resamples=20)
    left, right = drawn.axes
    n_rows = len(got) // 8
    assert len(left.get_yticks()) == n_rows and left.get_xlabel() == "normalized regret, test error"
    points = [line for line in right.lines if line.get_marker() not in ("None", None, "")]
    assert len(points) == n_rows
    assert table.build(records.iloc[:1]).attrs["lacks"] and table.build(pd.DataFrame(columns=["stop"])).attrs["lacks"]
    with pytest.raises(Lacking, match="two networks"):
        figure.build(records.iloc[:1])
