"""Granulated, information, sign error and scope statistics equal loops on awkward grids."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis import (
    by_scope,
    granulated,
    information,
    kendall,
    sign_error,
)
from analysis.statistics.association.pair_table import pair_tables
from analysis.statistics.grid.means import runs_or_means
from tests.reference import statistics as brute

AXES = ("hp.a", "hp.b", "hp.c")


def grid(seed: int, awkward: bool = True) -> pd.DataFrame:
    """A small grid: ties, NaN, infinities, a constant measure; incomplete, with seeds of unequal number."""
    r = np.random.default_rng(seed)
    levels = [range(int(r.integers(1, 4))) for _ in AXES]
    rows = list(itertools.product(*levels, range(int(r.integers(1, 4)))))
    if awkward:
        rows = [rows[i] for i in r.permutation(len(rows))[: max(2, int(len(rows) * 0.8))]]
    frame = pd.DataFrame(rows, columns=[*AXES, "hp.seed"])
    n = len(frame)
    frame["stop"] = "ledger"
    frame["gen.gap"] = r.normal(0.2, 0.2, n).round(1)
    frame["measure.good"] = frame["gen.gap"] + r.normal(0, 0.1, n).round(1)
    frame["measure.ties"] = r.integers(0, 3, n).astype(float)
    frame["measure.constant"] = 1.0
    frame["measure.axis"] = frame["hp.a"].astype(float)
    if awkward:
        frame.loc[r.integers(0, n), "measure.good"] = np.nan
        frame.loc[r.integers(0, n), "measure.ties"] = np.inf
        frame.loc[r.integers(0, n), "gen.gap"] = r.choice([np.nan, -np.inf, np.inf])
    return frame


def settings(frame: pd.DataFrame, *columns: str) -> list[dict]:
    return frame[list(columns)].to_dict("records")


MEASURES = ("good", "ties", "constant", "axis")


@pytest.mark.parametrize("variant", ["a", "b"])
@pytest.mark.parametrize("same_seed", [True, False])
@pytest.mark.parametrize("seed", range(12))
def test_granulated_equals_loops_over_cells(seed, same_seed, variant):
    frame = grid(seed)
    table = granulated(frame, "gen.gap", axes=AXES, variant=variant, same_seed=same_seed).set_index(["measure", "axis"])
    held = [*AXES, "hp.seed"] if same_seed else list(AXES)
    for label in MEASURES:
        x, y = frame[f"measure.{label}"].tolist(), frame["gen.gap"].tolist()
        psis = []
        for axis in AXES:
            expected = brute.psi(x, y, settings(frame, *held), axis, variant)
            got = table.loc[(label, axis)]
            assert got["psi"] == pytest.approx(expected[0], abs=1e-12, nan_ok=True)
            assert (got["cells"], got["nan_cells"]) == expected[1:]
            psis.append(expected[0])
        known = [p for p in psis if not math.isnan(p)]
        assert table.loc[(label, "all"), "psi"] == pytest.approx(brute.mean(known), abs=1e-12, nan_ok=True)
        rest = [p for p in psis[1:] if not math.isnan(p)]
        assert table.loc[(label, f"all but {AXES[0]}"), "psi"] == pytest.approx(
            brute.mean(rest), abs=1e-12, nan_ok=True
        )


def test_a_constant_measure_scores_zero_in_a_and_counts_nan_cells_in_b():
    frame = grid(1, awkward=False)
    a, b = (granulated(frame, "gen.gap", ["constant"], variant=v).set_index("axis") for v in "ab")
    assert a.loc["all", "psi"] == 0 and a.loc["all", "nan_cells"] == 0
    assert math.isnan(b.loc["all", "psi"]) and b.loc["all", "nan_cells"] == b.loc["all", "cells"] > 0


@pytest.mark.parametrize("seed", range(12))
def test_pair_tables_count_every_pair(seed):
    frame = grid(seed).dropna()
    x, y = frame["measure.ties"].to_numpy(), frame["gen.gap"].to_numpy()
    group = frame["hp.a"].to_numpy()
    (table,) = pair_tables(x, y, [group])
    expected = np.zeros_like(table)
    place = {v: k for k, v in enumerate(sorted(set(group)))}
    for i, j in itertools.permutations(range(len(x)), 2):
        expected[place[group[i]], place[group[j]], brute.sign(x[i], x[j]) + 1, brute.sign(y[i], y[j]) + 1] += 1
    assert np.array_equal(table, expected)


@pytest.mark.parametrize("seed", range(12))
def test_both_information_scores_equal_loops_over_pairs(seed):
    frame = grid(seed)
    table = information(frame, "gen.gap", axes=AXES).set_index("measure")
    for label in MEASURES:
        x, y, rows = brute.complete(
            frame[f"measure.{label}"].tolist(), frame["gen.gap"].tolist(), frame[list(AXES)].to_dict("records")
        )
        sets = [s for size in (0, 1, 2) for s in itertools.combinations(AXES, size)]
        groups = {s: [tuple(row[k] for k in s) for row in rows] for s in sets}
        k = [v for s in sets if not math.isnan(v := brute.jiang(x, y, groups[s]))]
        score = [v for s in sets if len(s) == 2 and not math.isnan(v := brute.pgdl(x, y, groups[s]))]
        assert table.loc[label, "n"] == len(x)
        assert table.loc[label, "K"] == pytest.approx(min(k, default=math.nan), abs=1e-9, nan_ok=True)
        assert table.loc[label, "pgdl"] == pytest.approx(min(score, default=math.nan), abs=1e-9, nan_ok=True)


def test_flipping_a_measure_with_ties_moves_the_pgdl_score_but_not_k():
    frame = grid(3, awkward=False)
    frame["measure.flipped"] = -frame["measure.ties"]
    table = information(frame, "gen.gap", axes=AXES).set_index("measure")
    assert table.loc["ties", "K"] == pytest.approx(table.loc["flipped", "K"], abs=1e-12)
    assert abs(table.loc["ties", "pgdl"] - table.loc["flipped", "pgdl"]) > 1e-6


@pytest.mark.parametrize("least", [0.0, 2.0, 4.0])
@pytest.mark.parametrize("seed", range(12))
def test_sign_error_equals_loops_over_environments(seed, least):
    frame = grid(seed)
    table = sign_error(frame, "gen.gap", n_test=100, min_samples=least, axes=AXES).set_index(["measure", "axis"])
    for label in MEASURES:
        used, count, unweighted = brute.environments(
            frame[f"measure.{label}"].tolist(), frame["gen.gap"].tolist(), settings(frame, *AXES), 100, least
        )
        got = table.loc[(label, "all")]
        assert (got["environments"], got["used"]) == (count, len(used))
        assert got["unweighted"] == pytest.approx(unweighted, abs=1e-12, nan_ok=True)
        expected = (np.mean(used), np.quantile(used, 0.9), max(used)) if used else (math.nan,) * 3
        assert tuple(got[["mean", "p90", "max"]]) == pytest.approx(expected, abs=1e-12, nan_ok=True)


def of_means(frame: pd.DataFrame) -> pd.DataFrame:
    """A row a configuration, each column's mean over its runs, NaN where one has no value, by loops."""
    rows = []
    for setting in sorted(set(frame[list(AXES)].itertuples(index=False, name=None))):
        own = [row for row in frame.to_dict("records") if tuple(row[a] for a in AXES) == setting]
        row = dict(zip(AXES, setting, strict=True))
        for column in ("gen.gap", *(f"measure.{label}" for label in MEASURES)):
            found = [r[column] for r in own]
            row[column] = math.nan if any(map(math.isnan, found)) else brute.mean(found)
        rows.append(row)
    return pd.DataFrame(rows)


def quarters(seed: int) -> pd.DataFrame:
    """An awkward grid of multiples of 1/4, whose sums are exact: means that are equal tie."""
    frame = grid(seed)
    for column in ("gen.gap", "measure.good"):
        frame[column] = (frame[column] * 4).round() / 4
    return frame


@pytest.mark.parametrize("seed", range(8))
def test_of_means_configurations_are_compared_not_runs(seed):
    frame = quarters(seed)
    means = of_means(frame)
    config = settings(means, *AXES)
    psi = granulated(frame, "gen.gap", axes=AXES, of="means").set_index(["measure", "axis"])
    score = information(frame, "gen.gap", axes=AXES, of="means").set_index("measure")
    error = sign_error(frame, "gen.gap", n_test=100, axes=AXES, of="means").set_index(["measure", "axis"])
    sets = [s for size in (0, 1, 2) for s in itertools.combinations(AXES, size)]
    for label in MEASURES:
        x, y = means[f"measure.{label}"].tolist(), means["gen.gap"].tolist()
        for axis in AXES:
            expected = brute.psi(x, y, config, axis, "a")
            assert psi.loc[(label, axis), "psi"] == pytest.approx(expected[0], abs=1e-12, nan_ok=True)
            assert psi.loc[(label, axis), "cells"] == expected[1]
        left, right, rows = brute.complete(x, y, config)
        k = [brute.jiang(left, right, [tuple(row[a] for a in s) for row in rows]) for s in sets]
        k = [v for v in k if not math.isnan(v)]
        assert score.loc[label, "n"] == len(left)
        assert score.loc[label, "K"] == pytest.approx(min(k, default=math.nan), abs=1e-9, nan_ok=True)
        used, count, unweighted = brute.environments(x, y, config, 100, 0)
        got = error.loc[(label, "all")]
        assert (got["environments"], got["used"]) == (count, len(used))
        assert got["mean"] == pytest.approx(brute.mean(used), abs=1e-12, nan_ok=True)
        assert got["unweighted"] == pytest.approx(unweighted, abs=1e-12, nan_ok=True)


def test_means_of_the_same_values_in_another_order_tie():
    frame = pd.DataFrame({"hp.a": [0, 0, 0, 1, 1, 1], "hp.seed": [0, 1, 2] * 2, "x": [0.1, 0.2, 0.4, 0.4, 0.1, 0.2]})
    frame["n.test"] = 50.0
    means = runs_or_means(frame, "means", ["x", "n.test", "absent"])
    assert means["x"][0] == means["x"][1] and means.columns.tolist() == ["hp.a", "x", "n.test"]
    assert means["n.test"].tolist() == [50, 50] and runs_or_means(frame, "runs", ["x"]) is frame
    with pytest.raises(ValueError, match="of: seeds: allowed are runs, means"):
        granulated(frame.assign(**{"gap.loss": 1.0}), of="seeds")


def test_unweighted_coupled_tau_is_one_less_twice_the_sign_error():
    frame = grid(5, awkward=False)
    error = sign_error(frame, "gen.gap").set_index(["measure", "axis"])
    scope = by_scope(frame, "gen.gap", resamples=0).set_index("measure")
    for label in MEASURES:
        assert scope.loc[label, "coupled_tau_a"] == pytest.approx(1 - 2 * error.loc[(label, "all"), "unweighted"])


def test_scopes_are_the_rows_of_each_data_set():
    frame = pd.concat([grid(7, awkward=False).assign(**{"hp.dataset": d}) for d in ("one", "two")], ignore_index=True)
    frame.loc[frame["hp.dataset"] == "two", ["gen.gap", "measure.good"]] += 10
    table = by_scope(frame, "gen.gap", ["good"], resamples=0).set_index("scope")
    assert table.index.tolist() == ["all", "dataset=one", "dataset=two"]
    one = frame[frame["hp.dataset"] == "one"]
    assert table.loc["dataset=one", "tau_b"] == pytest.approx(stats.kendalltau(one["measure.good"], one["gen.gap"])[0])
    assert table.loc["all", "tau_b"] > table.loc["dataset=one", "tau_b"]
    table.index = table.index.str.replace("two", "(empty)")
    empty = frame.assign(**{"hp.dataset": frame["hp.dataset"].replace("two", np.nan)})
    found = by_scope(empty, "gen.gap", ["good"], resamples=0).set_index("scope")
    pd.testing.assert_frame_equal(found, table.loc[["all", "dataset=(empty)", "dataset=one"]])


def test_swapping_two_gaps_moves_every_statistic_of_the_gap_and_no_other_target(records):
    before = {t: kendall(records, t, resamples=0)["tau_b"] for t in ("gap.loss", "gap.error")}
    order = records["gap.loss"].sort_values().index
    records.loc[[order[0], order[-1]], "gap.loss"] = records.loc[[order[-1], order[0]], "gap.loss"].to_numpy()
    after = {t: kendall(records, t, resamples=0)["tau_b"] for t in ("gap.loss", "gap.error")}
    assert (before["gap.loss"] != after["gap.loss"]).all() and before["gap.error"].equals(after["gap.error"])


def test_dropping_a_seed_changes_n_but_not_the_number_of_configurations(records):
    before, after = kendall(records, resamples=0), kendall(records[records["hp.seed"] != 2], resamples=0)
    assert (before["configurations"] == after["configurations"]).all()
    assert after["n"][0] == before["n"][0] - 27


def test_a_zipped_pair_of_hyperparameters_is_compared_as_one(records):
    before = granulated(records).set_index(["measure", "axis"])
    errors = sign_error(records, min_samples=0).set_index(["measure", "axis"])
    records["hp.twice"] = records["hp.lr"] * 2
    after = granulated(records).set_index(["measure", "axis"])
    label = "relative_flatness"
    assert after.loc[(label, "hp.lr+hp.twice"), "psi"] == before.loc[(label, "hp.lr"), "psi"]
    assert after.loc[(label, "all"), "psi"] == before.loc[(label, "all"), "psi"]
    zipped = sign_error(records, min_samples=0).set_index(["measure", "axis"])
    assert zipped.loc[(label, "all")].equals(errors.loc[(label, "all")])
