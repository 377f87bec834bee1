"""Permutation p, what is left within blocks and q equal loops and all exchanges written out."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis import correlate, permutation
from analysis.columns import configurations
from analysis.statistics.permutation import benjamini_hochberg
from analysis.statistics.resample import jackknife
from analysis.statistics.within_groups import within_blocks


def test_permutation_p_equals_all_exchanges_written_out():
    r = np.random.default_rng(0)
    frame = pd.DataFrame({"hp.a": np.repeat(range(6), 2), "hp.seed": [0, 1] * 6, "hp.dataset": ["x"] * 8 + ["y"] * 4})
    frame["gen.gap"], frame["measure.m"] = r.normal(size=12), r.normal(size=12)
    frame["measure.m"] += frame["gen.gap"]
    got = permutation(frame, "gen.gap", blocks=["hp.dataset"], permutations=20_000)["p_permutation"][0]
    x, y = stats.rankdata(frame["measure.m"]), stats.rankdata(frame["gen.gap"])
    for rows in (slice(0, 8), slice(8, 12)):
        x[rows] -= x[rows].mean()
    every = []
    for first in itertools.permutations(range(4)):
        for second in itertools.permutations((4, 5)):
            order = [2 * c + k for c in (*first, *second) for k in (0, 1)]
            every.append(abs(x @ y[order]))
    assert got == pytest.approx(np.mean(np.array(every) >= abs(x @ y) - 1e-9), abs=0.01)


def test_permutation_p_is_uniform_for_noise_and_small_for_signal():
    r = np.random.default_rng(1)
    frame = pd.DataFrame({"hp.a": np.repeat(range(20), 3), "hp.seed": list(range(3)) * 20})
    level = np.repeat(r.normal(size=20), 3)
    frame["gen.gap"] = level + 0.1 * r.normal(size=60)
    noise = {f"measure.noise{k}": np.repeat(r.normal(size=20), 3) for k in range(200)}
    frame = pd.concat([frame, pd.DataFrame(noise)], axis=1)
    frame["measure.signal"] = level
    table = permutation(frame, "gen.gap", permutations=400).set_index("measure")
    noise = table.loc[table.index.str.startswith("noise"), "p_permutation"]
    assert stats.kstest(noise, "uniform").pvalue > 0.01
    assert table.loc["signal", "p_permutation"] == pytest.approx(1 / 401)


def test_what_is_left_within_blocks_is_that_of_deviations_from_their_means(records):
    table = permutation(records, blocks=["hp.lr"], permutations=10).set_index("measure")
    block = records["hp.lr"]
    for name in ("relative_flatness", "hessian_trace"):
        x, y = records[f"measure.{name}"], records["gap.loss"]
        ours = table.loc[name, ["pearson", "spearman"]].astype(float)
        left = [[v - v.groupby(block).transform("mean") for v in pair] for pair in ((x, y), (x.rank(), y.rank()))]
        assert ours.to_list() == pytest.approx([np.corrcoef(*pair)[0, 1] for pair in left])
    whole = permutation(records, permutations=10).set_index("measure")
    assert whole["pearson"].to_dict() == pytest.approx(
        correlate(records, resamples=0).set_index("measure")["pearson"].to_dict(), nan_ok=True
    )


@pytest.mark.parametrize("block", ["hp.lr", "hp.batch_size"])
def test_the_interval_within_a_setting_is_the_jackknifes_over_the_settings_of_all_other_axes(records, block):
    records.loc[4, "measure.hessian_trace"] = np.nan
    row = permutation(records, labels=["hessian_trace"], blocks=[block], permutations=10).iloc[0]
    others = [c for c in records if c.startswith("hp.") and c not in (block, "hp.seed")]
    group = records.groupby(others, dropna=False).ngroup().to_numpy()
    assert 2 < len(np.unique(group)) < len(np.unique(configurations(records)))
    there = records["measure.hessian_trace"].notna()

    def r(rows: pd.DataFrame) -> float:
        left = [rows[c] - rows.groupby(block)[c].transform("mean") for c in ("measure.hessian_trace", "gap.loss")]
        return float(np.corrcoef(*left)[0, 1])

    without = np.array([r(records[there & (group != g)]) for g in np.unique(group)])
    bounds = jackknife(r(records[there]), without)
    assert (row["pearson.low"], row["pearson.high"]) == pytest.approx((bounds.low, bounds.high))
    assert row["pearson"] == pytest.approx(r(records[there])) and row["n"] == len(records) - 1


@pytest.mark.parametrize("crossed", [False, True])
@pytest.mark.parametrize("spoil", ["offset", "one"])
def test_what_is_left_within_blocks_has_its_digits_where_values_are_large_or_one_is(spoil, crossed):
    r = np.random.default_rng(0)
    unit, block = np.repeat(range(8), 3), np.repeat(range(2), 12)
    if crossed:
        unit = np.arange(24) % 8
    x, y = r.normal(size=(2, 24))
    x += y
    if spoil == "offset":
        x = 1 + 1e-7 * x
    else:
        x[4] = 1e7

    def left(rows: np.ndarray) -> float:
        pair = (pd.Series(v[rows]) - pd.Series(v[rows]).groupby(block[rows]).transform("mean") for v in (x, y))
        return float(np.corrcoef(*pair)[0, 1])

    value, without = within_blocks(x, y, block, unit)
    assert value == pytest.approx(left(np.full(24, True)), rel=1e-6)
    assert without == pytest.approx([left(unit != u) for u in range(8)], rel=1e-5)


def test_within_a_configuration_seeds_are_exchanged():
    r = np.random.default_rng(3)
    level = np.repeat(r.normal(size=3), 3)
    frame = pd.DataFrame({"hp.a": np.repeat(range(3), 3), "hp.seed": list(range(3)) * 3})
    frame["gen.gap"], frame["measure.m"] = level + r.normal(size=9), -level + r.normal(size=9)
    got = permutation(frame, "gen.gap", blocks=["hp.a"], permutations=20_000)["p_permutation"][0]
    x, y = stats.rankdata(frame["measure.m"]), stats.rankdata(frame["gen.gap"])
    x -= pd.Series(x).groupby(frame["hp.a"]).transform("mean").to_numpy()
    three = list(itertools.permutations(range(3)))
    orders = [[*a, *(3 + i for i in b), *(6 + i for i in c)] for a in three for b in three for c in three]
    every = np.array([abs(x @ y[order]) for order in orders])
    assert got == pytest.approx(np.mean(every >= abs(x @ y) - 1e-9), abs=0.01)


def test_nothing_is_left_of_what_is_constant_in_each_block(records):
    records["measure.own"] = records["hp.lr"] * 1e9 + 1 / 3
    records["gap.loss"] += 1e-3 * records["hp.lr"]
    row = permutation(records, labels=["own"], blocks=["hp.lr"], permutations=10).iloc[0]
    assert row[["pearson", "spearman", "p_permutation"]].isna().all() and row["note"] == "constant within blocks"


def test_that_a_measure_is_constant_is_said_of_that_one_alone(records):
    records["measure.constant"] = 1.0
    table = permutation(records, labels=["constant", "hessian_trace"], permutations=10).set_index("measure")
    assert table["note"].to_dict() == {"constant": "constant within blocks", "hessian_trace": ""}
    assert np.isfinite(table.loc["hessian_trace", "p_permutation"])


def test_nothing_to_exchange_is_said(records):
    one = records.iloc[:3].copy()
    table = permutation(one, permutations=10)
    assert table["p_permutation"].isna().all() and table["note"].str.contains("no two configurations").any()


def test_benjamini_hochberg_equals_scipy():
    p = np.array([0.01, 0.04, 0.03, np.nan, 0.5, 0.001])
    known = ~np.isnan(p)
    q = benjamini_hochberg(p)
    assert np.isnan(q[3]) and q[known] == pytest.approx(stats.false_discovery_control(p[known]))
