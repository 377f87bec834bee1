"""Levels and runs resampled: equal to loops, and the interval for new levels holds the truth of crossed grids."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest

from analysis.columns import configurations
from analysis.statistics.coefficients import Coefficients, coefficients
from analysis.statistics.differences import difference, paired
from analysis.statistics.intervals import drawn_runs, intervals, this_grid
from analysis.statistics.pigeonhole import crossed, drawn_levels, new_levels
from analysis.statistics.resample import bca, percentile
from analysis.tables import intervals as table
from tests.reference import statistics as brute

NAMES = ("tau_b", "tau_a", "pearson")


def awkward(seed: int, levels: tuple[int, ...] = (4, 3, 2)) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x, y with ties, NaN and infinities, and the levels (axes, n) of a grid with seeds and missing cells."""
    r = np.random.default_rng(seed)
    grid = np.array(list(itertools.product(*map(range, levels), range(3)))).T[:-1]
    grid = grid[:, r.permutation(grid.shape[1])[: int(0.6 * grid.shape[1])]]
    x, y = r.integers(0, 6, grid.shape[1]).astype(float), r.normal(size=grid.shape[1]).round(1)
    x[r.integers(0, len(x))], y[r.integers(0, len(y))] = np.nan, r.choice([np.nan, np.inf, 0.0])
    return x, y, grid


def frame_of(x: np.ndarray, y: np.ndarray, grid: np.ndarray) -> pd.DataFrame:
    columns = {f"hp.{'abc'[k]}": level for k, level in enumerate(grid)}
    return pd.DataFrame(columns | {"hp.seed": np.arange(len(x)), "measure.m": x, "gap.loss": y})


def assert_equal_to_loops(got: Coefficients, x: list[float], y: list[float], weights: np.ndarray) -> None:
    for b, w in enumerate(weights.T):
        expected = list(brute.weighted(x, y, w.tolist()))
        if np.isinf([x, y]).any():  # makes Pearson undefined whether or not its run is drawn
            expected[2] = math.nan
        assert [got.replicates[name][b] for name in NAMES] == pytest.approx(expected, abs=1e-9, nan_ok=True)


@pytest.mark.parametrize("few", [0, 4096])
@pytest.mark.parametrize("seed", range(8))
def test_new_levels_equal_loops_over_weighted_pairs(seed, few, monkeypatch):
    """A run counts the product of its levels' counts, of the two axes that have three levels; by cells and by runs."""
    monkeypatch.setattr("analysis.statistics.weighted._FEW", few)
    monkeypatch.setattr("analysis.statistics.pigeonhole._CHUNK", 7)
    x, y, grid = awkward(seed)
    frame = frame_of(x, y, grid)
    got = new_levels(x, y, crossed(frame), configurations(frame), resamples=15, seed=seed)
    left, right, first, second = brute.complete(x.tolist(), y.tolist(), grid[0].tolist(), grid[1].tolist())
    draws = drawn_levels([4, 3], 15, seed)
    weights = np.array([draws[0][f] * draws[1][s] for f, s in zip(first, second, strict=True)])
    assert got.resampled == ("hp.a", "hp.b") and got.n == len(left)
    assert_equal_to_loops(got, left, right, weights)
    assert [got.point[name] for name in NAMES] == pytest.approx(brute.weighted(left, right, [1.0] * got.n), nan_ok=True)


@pytest.mark.parametrize("seed", range(4))
def test_this_grid_equals_loops_over_runs_drawn_from_their_configuration(seed, monkeypatch):
    monkeypatch.setattr("analysis.statistics.intervals._CHUNK", 7)
    x, y, grid = awkward(seed)
    group = configurations(frame_of(x, y, grid))
    got = this_grid(x, y, group, resamples=15, seed=seed)
    left, right, kept = brute.complete(x.tolist(), y.tolist(), group.tolist())
    number = np.unique(kept, return_inverse=True)[1]
    weights = np.concatenate(list(drawn_runs(number, 15, seed)), axis=1)
    of_configuration = np.stack([weights[number == g].sum(axis=0) for g in range(number.max() + 1)])
    assert (of_configuration == np.bincount(number)[:, None]).all() and weights.std(axis=1).max() > 0
    assert not got.jackknife
    assert_equal_to_loops(got, left, right, weights)


def test_axes_of_as_many_levels_are_drawn_apart_and_each_evenly():
    first, second = drawn_levels([4, 4], 4000, 0)
    assert (first.sum(axis=0) == 4).all() and abs(np.corrcoef(first[0], second[0])[0, 1]) < 0.05
    assert first.mean(axis=1) == pytest.approx(1, abs=0.05) and first.var(axis=1) == pytest.approx(0.75, abs=0.08)


def test_a_grid_that_is_not_crossed_has_the_interval_over_configurations_and_says_so(records):
    gap, x, group = records["gap.loss"], records["measure.hessian_trace"], configurations(records)
    assert sorted(crossed(records)) == ["hp.batch_size", "hp.init_gain", "hp.lr"]
    for kept in (records["hp.lr"] == 0.01, records["hp.lr"] < 0.1):
        part = records[kept & (records["hp.batch_size"] == 8)].reset_index(drop=True)
        (row,) = intervals(part, labels=["hessian_trace"], resamples=200).to_dict("records")
        usual = coefficients(
            part["measure.hessian_trace"], part["gap.loss"], configurations(part), resamples=200
        ).interval("tau_b")
        assert row["drawn"] == "" and (row["tau_b_levels.low"], row["tau_b_levels.high"]) == (usual.low, usual.high)
    # Of the runs with a value one axis may have two levels left.
    missing = x.where((records["hp.lr"] < 0.1) & (records["hp.batch_size"] < 128))
    assert new_levels(missing, gap, crossed(records), group, resamples=50).resampled == ()
    assert len(new_levels(x, gap, crossed(records), group, resamples=50).resampled) == 3


def test_zipped_hyperparameters_are_one_axis_and_an_axis_of_two_levels_stays(records):
    records["hp.twice"] = 2 * records["hp.lr"]
    part = records[records["hp.init_gain"] < 2].reset_index(drop=True)
    assert sorted(crossed(part)) == ["hp.batch_size", "hp.lr+hp.twice"]


def test_two_measures_are_drawn_together_and_their_difference_has_an_interval(records):
    records.loc[7, "measure.kappa_2019"] = np.nan
    a, b = paired(records, "gap.loss", "hessian_trace", "kappa_2019", resamples=100, levels=True)
    assert a.n == b.n == len(records) - 1 and len(a.resampled) == 3
    bounds = difference(a, b, "tau_b")
    each = a.replicates["tau_b"] - b.replicates["tau_b"]
    assert (bounds.low, bounds.high) == pytest.approx(tuple(np.quantile(each, [0.025, 0.975])))
    again = paired(records, "gap.loss", "kappa_2019", "kappa_2019", resamples=100, levels=True)
    assert "the same in every resample" in difference(*again, "tau_b").reason


def test_where_a_percentile_interval_lacks_it_says_why():
    values = np.linspace(0, 1, 100)
    assert percentile(0.5, values, 0.9).low == pytest.approx(0.05)
    assert "undefined" in percentile(math.nan, values).reason
    assert "undefined in 10%" in percentile(0.5, np.where(values < 0.1, np.nan, values)).reason
    assert percentile(0.5, np.where(values < 0.04, np.nan, values)).reason == ""
    with pytest.raises(ValueError, match=r"level: 0:"):
        percentile(0.5, values, 0)


def test_the_table_has_both_intervals_of_each_stop_and_says_which_hold_zero(make_records):
    frame = make_records(stops=("loss_0.1", "loss_0.01"))
    frame["measure.noise"] = np.random.default_rng(0).normal(size=len(frame))
    frame["measure.gap"] = frame["gap.loss"]
    got = table.build(frame, resamples=200)
    assert got["stop"].unique().tolist() == ["loss_0.1", "loss_0.01"]
    rows = got[(got["stop"] == "loss_0.01") & (got["target"] == "gap.loss")].set_index("measure")
    assert set(rows["drawn"]) == {"3 axes"}
    assert {"hessian_trace", "hessian_trace.fc3"} <= set(rows.index)
    flat = rows.loc["relative_flatness"]
    assert flat["tau_b_levels.low"] < flat["tau_b.low"] < flat["tau_b"] < flat["tau_b.high"] < flat["tau_b_levels.high"]
    assert flat["tau_b_holds_0"] == "no / no" and rows.loc["noise", "pearson_holds_0"] == "yes / yes"
    assert rows.loc["gap", "tau_b_holds_0"] == "n/a / n/a" and "the same in every resample" in rows.loc["gap", "note"]
    assert "percentiles" in got.attrs["note"] and got.attrs["title"]


def test_a_ledger_of_very_many_networks_has_no_such_table(records):
    many = pd.concat([records] * 30, ignore_index=True)
    assert "at most 2,000" in table.build(many).attrs["lacks"]


def study(
    r: np.random.Generator, levels: tuple[int, ...], seeds: int, relation: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x, y and levels of one study: an effect of each level of each axis, of each cell and of each seed, shared."""
    grid = np.repeat(np.array(list(itertools.product(*map(range, levels)))).T, seeds, axis=1)

    def effects(n: int) -> np.ndarray:
        a, b = r.normal(size=(2, n))
        return np.stack([a, relation * a + np.sqrt(1 - relation**2) * b])

    n = grid.shape[1]
    of_axes = sum(effects(k)[:, level] for k, level in zip(levels, grid, strict=True))
    x, y = of_axes + 0.3 * np.repeat(effects(n // seeds), seeds, axis=1) + 0.5 * effects(n)
    return x, y, grid


def coverage(levels: tuple[int, ...], seeds: int, relation: float, studies: int = 400) -> dict[str, float]:
    """How often the interval for new levels holds the truth over all levels there are, and BCa that of tau-b.

    All effects have one correlation r, so that in the population of levels Pearson is r and tau (2 / pi) arcsin r.
    """
    r, truth = np.random.default_rng(0), {"tau_b": 2 / np.pi * np.arcsin(relation), "pearson": relation}
    hits = dict.fromkeys([*truth, "bca"], 0)
    for _ in range(studies):
        x, y, grid = study(r, levels, seeds, relation)
        group = np.unique(grid, axis=1, return_inverse=True)[1].reshape(-1)
        drawn = new_levels(x, y, {f"hp.{k}": level for k, level in enumerate(grid)}, group, resamples=400)
        usual = coefficients(x, y, group, resamples=400)
        bounds = {name: drawn.interval(name) for name in truth}
        bounds["bca"] = bca(usual.point["tau_b"], usual.replicates["tau_b"], usual.jackknife["tau_b"])
        for name, b in bounds.items():
            hits[name] += b.low <= truth["tau_b" if name == "bca" else name] <= b.high
    return {name: count / studies for name, count in hits.items()}


@pytest.mark.parametrize("relation", [0.0, 0.7])
@pytest.mark.parametrize(("levels", "seeds"), [((4, 4), 9), ((4, 4), 3), ((3, 3, 3), 4)])
def test_the_interval_for_new_levels_holds_the_truth_of_crossed_grids_where_bca_does_not(levels, seeds, relation):
    found = coverage(levels, seeds, relation)
    assert found["tau_b"] >= 0.9 and found["pearson"] >= 0.9 and found["bca"] < 0.82, found


@pytest.mark.parametrize("relation", [0.0, 0.7])
def test_of_a_single_axis_the_jackknife_holds_the_truth(relation):
    found = coverage((4,), 20, relation)
    assert found["tau_b"] >= 0.9 and found["pearson"] >= 0.9, found
