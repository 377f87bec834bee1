"""Levels and runs resampled: equal to loops, and the interval for new levels holds the truth of crossed grids."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.columns import configurations
from analysis.exclude import exclude
from analysis.statistics.association import coefficients as module
from analysis.statistics.association.coefficients import Coefficients, coefficients
from analysis.statistics.association.differences import difference, differences, paired
from analysis.statistics.association.intervals import drawn_runs, intervals, this_grid
from analysis.statistics.resampling.design import MOST, design, drawn_levels, every_draw
from analysis.statistics.resampling.resample import percentile
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


def only_some(monkeypatch: pytest.MonkeyPatch) -> None:
    """Levels are drawn at random though all ways to draw them are few."""
    monkeypatch.setattr("analysis.statistics.resampling.design.MOST", 0)


@pytest.mark.parametrize("few", [0, 4096])
@pytest.mark.parametrize("seed", range(8))
def test_new_levels_equal_loops_over_weighted_pairs(seed, few, monkeypatch):
    """A run counts the product of its levels' counts, of the two axes that have three levels; by cells and by runs."""
    only_some(monkeypatch)
    monkeypatch.setattr("analysis.statistics.association.weighted._FEW", few)
    monkeypatch.setattr("analysis.statistics.resampling.design._CHUNK", 7)
    x, y, grid = awkward(seed)
    frame = frame_of(x, y, grid)
    got = coefficients(x, y, design(frame), resamples=15, seed=seed)
    left, right, first, second = brute.complete(x.tolist(), y.tolist(), grid[0].tolist(), grid[1].tolist())
    draws = [drawn_levels((0,) * n, place, 15, seed) for place, n in enumerate((4, 3))]
    weights = np.array([draws[0][f] * draws[1][s] for f, s in zip(first, second, strict=True)])
    assert got.resampled == ("hp.a", "hp.b") and got.n == len(left)
    assert_equal_to_loops(got, left, right, weights)
    assert [got.point[name] for name in NAMES] == pytest.approx(brute.weighted(left, right, [1.0] * got.n), nan_ok=True)


@pytest.mark.parametrize("seed", range(4))
def test_few_ways_to_draw_are_all_taken_each_with_its_probability(seed, monkeypatch):
    """As loops over all 4^4 x 3^3 equally likely draws of the levels of two axes have it, one after another."""
    monkeypatch.setattr("analysis.statistics.resampling.design._CHUNK", 7)
    x, y, grid = awkward(seed)
    got = coefficients(x, y, design(frame_of(x, y, grid)), resamples=1, seed=seed)
    left, right, first, second = brute.complete(x.tolist(), y.tolist(), grid[0].tolist(), grid[1].tolist())
    draws = [list(itertools.product(range(n), repeat=n)) for n in (4, 3)]
    seen: dict[tuple[int, ...], float] = {}
    chance: dict[tuple[int, ...], int] = {}
    for one, other in itertools.product(*draws):
        counts = tuple(one.count(level) for level in range(4)), tuple(other.count(level) for level in range(3))
        weights = [counts[0][f] * counts[1][s] for f, s in zip(first, second, strict=True)]
        if (both := counts[0] + counts[1]) not in chance:
            seen[both] = brute.weighted(left, right, [float(w) for w in weights])[0]
        chance[both] = chance.get(both, 0) + 1
    each = sorted(value for both, value in seen.items() for _ in range(chance[both]) if not math.isnan(value))
    assert len(seen) == len(got.replicates["tau_b"]) == 350 and sum(chance.values()) == 256 * 27
    assert got.probability is not None and got.probability.sum() == pytest.approx(1)
    assert got.draws == 0  # no resamples to be cautious about
    for level in (0.5, 0.9, 0.95):
        beyond = (1 - level) / 2 * len(each)  # so many may lie beyond a bound, and no more
        bounds = got.interval("tau_b", level)
        assert bounds.low == pytest.approx(next(v for n, v in enumerate(each, 1) if n > beyond + 1e-6), abs=1e-9)
        assert bounds.high == pytest.approx(next(v for n, v in enumerate(each[::-1], 1) if n > beyond + 1e-6), abs=1e-9)
    share = min(sum(v <= 1e-12 for v in each), sum(v >= -1e-12 for v in each)) / len(each)
    assert got.p_of_zero("tau_b") == pytest.approx(min(1, 2 * share), abs=2e-4)
    again = coefficients(x, y, design(frame_of(x, y, grid)), resamples=1, seed=seed + 1)
    assert again.interval("tau_b") == got.interval("tau_b")


def test_many_ways_to_draw_are_sampled_and_converge_to_all_of_them():
    levels = ((0,) * 4, (0,) * 4)
    counts, probability = every_draw(levels, MOST)
    assert len(probability) == 35 * 35 and every_draw(levels, 35 * 35 - 1) is None
    assert every_draw(((0,) * 9,), MOST) is None
    sampled = [drawn_levels(axis, place, 20000, 0) for place, axis in enumerate(levels)]
    for every, some in zip(counts, sampled, strict=True):
        assert (every.sum(axis=0) == 4).all()
        assert every @ probability == pytest.approx(np.ones(4))
        assert every @ probability == pytest.approx(some.mean(axis=1), abs=0.03)
        assert (every**2) @ probability == pytest.approx((some**2).mean(axis=1), abs=0.06)


@pytest.mark.parametrize("seed", range(4))
def test_this_grid_equals_loops_over_runs_drawn_from_their_configuration(seed, monkeypatch):
    monkeypatch.setattr("analysis.statistics.association.intervals._CHUNK", 7)
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
    first, second = (drawn_levels((0,) * 4, place, 4000, 0) for place in (0, 1))
    assert (first.sum(axis=0) == 4).all() and abs(np.corrcoef(first[0], second[0])[0, 1]) < 0.05
    assert first.mean(axis=1) == pytest.approx(1, abs=0.05) and first.var(axis=1) == pytest.approx(0.75, abs=0.08)


def test_of_one_axis_levels_are_resampled_as_unrelated_configurations_are(records):
    gap, x = records["gap.loss"], records["measure.hessian_trace"]
    assert sorted(axis.name for axis in design(records).axes) == ["hp.batch_size", "hp.init_gain", "hp.lr"]
    part = records[records["hp.batch_size"] == 8].reset_index(drop=True)
    part = part[part["hp.lr"] < 0.1].reset_index(drop=True)  # two rates, three gains
    (row,) = intervals(part, labels=["hessian_trace"], resamples=200).to_dict("records")
    usual = coefficients(part["measure.hessian_trace"], part["gap.loss"], part["hp.init_gain"], resamples=200)
    bounds = usual.interval("tau_b")
    assert row["drawn"] == "hp.init_gain" and (row["tau_b_levels.low"], row["tau_b_levels.high"]) == (
        bounds.low,
        bounds.high,
    )
    # Of the runs with a value one axis may have two levels left.
    missing = x.where((records["hp.lr"] < 0.1) & (records["hp.batch_size"] < 128))
    assert coefficients(missing, gap, design(records), resamples=50).resampled == ("hp.init_gain",)
    assert len(coefficients(x, gap, design(records), resamples=50).resampled) == 3


def test_where_no_axis_has_three_levels_there_is_no_interval_and_it_says_so(records):
    kept = (records["hp.lr"] < 0.1) & (records["hp.batch_size"] < 128) & (records["hp.init_gain"] < 2)
    part = records[kept].reset_index(drop=True)
    (row,) = intervals(part, labels=["hessian_trace"], resamples=50).to_dict("records")
    assert row["drawn"] == "" and np.isnan(row["tau_b_levels.low"]) and np.isfinite(row["tau_b.low"])
    assert row["tau_b_holds_0"].endswith("n/a") and "no axis has three levels in one setting" in row["note"]
    assert design(part).resampling.probability is None
    a, b = paired(part, "gap.loss", "hessian_trace", "kappa_2019", resamples=50)
    assert difference(a, b, "tau_b").reason == "no axis has three levels in one setting"


def test_zipped_hyperparameters_are_one_axis_and_an_axis_of_two_levels_stays(records):
    records["hp.twice"] = 2 * records["hp.lr"]
    part = records[records["hp.init_gain"] < 2].reset_index(drop=True)
    assert sorted(design(part).resampling.names) == ["hp.batch_size", "hp.lr+hp.twice"]


def test_all_ways_to_draw_a_nested_axis_are_all_of_each_setting():
    """Of two settings of three levels and one of two, which stay; beside an axis of three."""
    (nested, other), probability = every_draw(((0, 0, 0, 1, 1, 1, 2, 2), (0, 0, 0)), MOST)
    assert len(probability) == 10**3 and probability.sum() == pytest.approx(1)
    assert (nested[:3].sum(axis=0) == 3).all() and (nested[3:6].sum(axis=0) == 3).all()
    assert (nested[6:] == 1).all() and (other.sum(axis=0) == 3).all()
    assert len(np.unique(np.concatenate([nested, other]), axis=1).T) == 10**3


def test_a_nested_axis_is_drawn_within_its_parent(monkeypatch):
    """Three rates of each of three optimizers, crossed with three sizes: a rate counts how often both were drawn."""
    only_some(monkeypatch)
    cells = [(o, f"{o}{rate}", size) for o in "abc" for rate in range(3) for size in (1, 2, 3)]
    columns = ["hp.optimizer", "hp.lr", "hp.size"]
    frame = pd.DataFrame([(*cell, s) for cell in cells for s in range(2)], columns=[*columns, "hp.seed"])
    found = design(frame)
    optimizer, rate, size = found.axes
    assert rate.stratum.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2] and not optimizer.stratum.any()
    drawn = found.resampling
    weights = np.concatenate(list(drawn.chunks(300, 0)), axis=1)
    of_rates = drawn_levels(tuple(rate.stratum), 1, 300, 0)
    assert (of_rates.reshape(3, 3, 300).sum(axis=1) == 3).all()
    of_optimizer, of_size = (
        drawn_levels(tuple(axis.stratum), place, 300, 0) for place, axis in ((0, optimizer), (2, size))
    )
    for unit, (o, r, z) in enumerate(drawn.cells.T):
        assert (weights[unit] == of_optimizer[o] * of_rates[r] * of_size[z]).all()
    two = design(frame[frame["hp.optimizer"] < "c"].reset_index(drop=True)).resampling
    assert two.names == ("hp.lr", "hp.size")  # two optimizers stay; their rates are drawn in each
    assert (drawn_levels(tuple(two.axes[0].stratum), 0, 50, 0).reshape(2, 3, 50).sum(axis=1) == 3).all()
    one = design(frame[(frame["hp.optimizer"] < "c") & (frame["hp.size"] == 1)].reset_index(drop=True)).resampling
    assert one.names == ("hp.lr",) and not one.is_single
    drawn = np.concatenate(list(one.chunks(50, 0)), axis=1)
    assert (drawn.reshape(2, 3, 50).sum(axis=1) == 3).all()  # alone, too, within each optimizer


def test_an_answer_is_kept_for_its_own_design_alone():
    """Six rates, nested in two optimizers or in none, crossed with three inits: the same cells, other draws."""
    cells = [(o, f"{o}{rate}", init, s) for o in "ab" for rate in range(3) for init in range(3) for s in range(2)]
    frame = pd.DataFrame(cells, columns=["hp.optimizer", "hp.lr", "hp.init", "hp.seed"])
    x, y = np.random.default_rng(0).normal(size=(2, len(frame)))
    nested, flat = design(frame), design(frame.drop(columns="hp.optimizer"))
    found = [coefficients(x, y, grid, 100).replicates["tau_b"] for grid in (nested, flat)]
    module._coefficients.cache_clear()
    again = [coefficients(x, y, grid, 100).replicates["tau_b"] for grid in (flat, nested)][::-1]
    assert not np.array_equal(*found) and all(map(np.array_equal, found, again))


def test_two_measures_are_drawn_together_and_their_difference_has_an_interval(records, monkeypatch):
    only_some(monkeypatch)
    records.loc[7, "measure.kappa_2019"] = np.nan
    a, b = paired(records, "gap.loss", "hessian_trace", "kappa_2019", resamples=100)
    assert a.n == b.n == len(records) - 1 and len(a.resampled) == 3
    bounds = difference(a, b, "tau_b")
    each = a.replicates["tau_b"] - b.replicates["tau_b"]
    assert (bounds.low, bounds.high) == pytest.approx(tuple(np.quantile(each, [0.025, 0.975])))
    again = paired(records, "gap.loss", "kappa_2019", "kappa_2019", resamples=100)
    assert "the same in every resample" in difference(*again, "tau_b").reason


def test_of_all_draws_a_difference_has_their_spread(records):
    a, b = paired(records, "gap.loss", "hessian_trace", "kappa_2019", resamples=1)
    each, chance = a.replicates["tau_b"] - b.replicates["tau_b"], a.probability
    assert len(each) == 1000 and np.isfinite(each).all()
    copies = np.repeat(each, np.rint(chance * 27**3).astype(int))
    assert len(copies) == 27**3
    (row,) = differences(records, labels=["hessian_trace", "kappa_2019"], resamples=1).to_dict("records")
    assert row["se"] == pytest.approx(copies.std())
    low, high = np.sort(copies)[[int(0.025 * 27**3), -1 - int(0.025 * 27**3)]]
    bounds = difference(a, b, "tau_b")
    assert (bounds.low, bounds.high) == pytest.approx((low, high))


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
    assert set(rows["drawn"]) == {"3 axes"} and (rows["tau_b_q"].dropna() <= 1).all()
    assert {"hessian_trace", "hessian_trace.fc3"} <= set(rows.index)
    flat = rows.loc["relative_flatness"]
    assert flat["tau_b_levels.low"] < flat["tau_b.low"] < flat["tau_b"] < flat["tau_b.high"] < flat["tau_b_levels.high"]
    assert flat["tau_b_holds_0"] == "no / no" and rows.loc["noise", "pearson_holds_0"] == "yes / yes"
    assert rows.loc["gap", "tau_b_holds_0"] == "n/a / n/a" and "the same in every resample" in rows.loc["gap", "note"]
    assert "percentiles" in got.attrs["note"] and got.attrs["title"]


def test_a_ledger_of_very_many_networks_has_no_such_table(records):
    many = pd.concat([records] * 30, ignore_index=True)
    assert "at most 2,000" in table.build(many).attrs["lacks"]


def test_q_is_scipys_over_the_measures_of_one_stop_and_target(make_records):
    frame = make_records(stops=("loss_0.1", "loss_0.01"))
    frame["measure.gap"] = frame["gap.loss"]
    got = table.build(frame, resamples=50)
    for stop, target in (("loss_0.1", "gap.loss"), ("loss_0.01", "gap.error")):
        of, _ = exclude(frame[frame["stop"] == stop])
        rows = got[(got["stop"] == stop) & (got["target"] == target)]
        assert len(rows) > 4
        grid, gap = design(of), of[target].to_numpy()
        each = [coefficients(of[f"measure.{label}"].to_numpy(), gap, grid, 50) for label in rows["measure"]]
        for name in ("tau_b", "pearson"):
            p = np.array([one.p_of_zero(name) for one in each])
            known = ~np.isnan(p)
            assert known.sum() > 4
            assert rows[f"{name}_q"].to_numpy()[known] == pytest.approx(stats.false_discovery_control(p[known]))
