"""Coefficients equal loops over pairs and scipy; intervals are by configuration."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from analysis import correlate, kendall
from analysis.statistics.association import coefficients as module
from analysis.statistics.association.coefficients import coefficients, tau
from analysis.statistics.association.correlation import more_coefficients
from analysis.statistics.association.pairs import GroupSigns, PairSigns
from analysis.statistics.association.weighted import WeightedSums
from analysis.statistics.resampling.resample import bca, multiplicities
from tests.reference import statistics as brute


def awkward(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A small sample with ties, NaN, infinities, constants and configurations of unequal size."""
    r = np.random.default_rng(seed)
    n = int(r.integers(2, 14))
    x, y = r.integers(0, int(r.integers(1, 9)), n).astype(float), r.normal(size=n).round(int(r.integers(0, 3)))
    for v in (x, y):
        if r.random() < 0.3:
            v[r.integers(0, n, 2)] = r.choice([np.inf, -np.inf, np.nan], 2)
    return x, y, r.integers(0, max(2, n // 2), n)


@pytest.mark.parametrize("seed", range(60))
def test_taus_and_pearson_equal_loops_over_pairs(seed):
    x, y, groups = awkward(seed)
    c = coefficients(x, y, groups, resamples=0)
    left, right, kept = brute.complete(x, y, groups)
    assert (c.n, c.n_configurations) == (len(left), len(set(kept)))
    if len(left) < 2:
        assert math.isnan(c.point["tau_a"]) and "undefined" in c.note
        return
    for name, expected in (
        ("tau_a", brute.tau(left, right, "a")),
        ("tau_b", brute.tau(left, right, "b")),
        ("pearson", brute.pearson(left, right)),
    ):
        assert c.point[name] == pytest.approx(expected, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("few", [0, 256])
@pytest.mark.parametrize("seed", range(20))
def test_replicates_and_jackknife_equal_samples_written_out(seed, few, monkeypatch):
    """Both by sums between configurations, for few of them, and by sums over runs, for many."""
    monkeypatch.setattr("analysis.statistics.association.weighted._FEW", few)
    module._coefficients.cache_clear()
    x, y, groups = awkward(seed)
    c = coefficients(x, y, groups, resamples=15, seed=3)
    left, right, kept = brute.complete(x, y, groups)
    if len(left) < 2:
        return
    names = sorted(set(kept))
    if len(names) < 3:
        assert not c.replicates and c.interval("tau_a").reason == "no axis has three levels in one setting"
        return
    counts = multiplicities(len(names), 15, 3)
    twins = {"tau_a": lambda a, b: brute.tau(a, b, "a"), "tau_b": lambda a, b: brute.tau(a, b, "b")}
    if np.isfinite([*left, *right]).all():
        twins["pearson"] = brute.pearson
    else:
        assert np.isnan(c.replicates["pearson"]).all() and "Pearson NaN" in c.note
    for b in range(15):
        times = {g: int(counts[k, b]) for k, g in enumerate(names)}
        sample = brute.repeat(left, kept, times), brute.repeat(right, kept, times)
        for name, twin in twins.items():
            assert c.replicates[name][b] == pytest.approx(twin(*sample), abs=1e-9, nan_ok=True)
    for k, g in enumerate(names):
        sample = tuple([v for v, h in zip(side, kept, strict=True) if h != g] for side in (left, right))
        for name, twin in twins.items():
            assert c.jackknife[name][k] == pytest.approx(twin(*sample), abs=1e-9, nan_ok=True)


@pytest.mark.parametrize("seed", range(5))
def test_equal_to_scipy_on_many_rows_with_ties(seed):
    r = np.random.default_rng(seed)
    y = r.normal(size=1500).round(1 + seed % 3)
    x = (y + r.normal(size=1500)).round(seed % 2)
    c = coefficients(x, y, resamples=0).point
    assert c["tau_b"] == pytest.approx(stats.kendalltau(x, y).statistic, abs=1e-12)
    assert c["pearson"] == pytest.approx(stats.pearsonr(x, y).statistic, abs=1e-12)
    c |= more_coefficients(x, y)
    assert c["spearman"] == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)
    assert c["weighted_tau"] == pytest.approx(stats.weightedtau(x, y).statistic, abs=1e-12)


@pytest.mark.parametrize("block", [1, 2, 3, 7, 50])
def test_blocks_of_any_size_give_the_same_sums(block):
    r = np.random.default_rng(block)
    x, y, w = r.integers(0, 9, 40), r.integers(0, 30, 40), r.integers(0, 4, (40, 3)).astype(np.float32)
    s = np.sign(x[:, None] - x) * np.sign(y[:, None] - y)
    assert np.array_equal(PairSigns(x, y, block).apply(w), s @ w)


@pytest.mark.parametrize("n_groups", [1, 2, 9, 40])
@pytest.mark.parametrize("rows", [1, 5, 64])
def test_signs_summed_between_groups_give_the_same_sums(n_groups, rows):
    r = np.random.default_rng(n_groups)
    x, y = r.integers(0, 9, 60), r.integers(0, 30, 60)
    group = np.concatenate([np.arange(n_groups), r.integers(0, n_groups, 60 - n_groups)])
    w = r.integers(0, 4, (n_groups, 3)).astype(np.float32)
    s = np.sign(x[:, None] - x) * np.sign(y[:, None] - y)
    sums = GroupSigns(x, y, group, rows)
    member = np.eye(n_groups)[group]
    assert np.array_equal(sums.sums, member.T @ s @ member)
    for block in (1, 4, 256):
        assert np.array_equal(sums.form(w, block), np.einsum("ib,ij,jb->b", w[group], s, w[group]))


def test_sums_beyond_float32_stay_exact():
    x, group = np.arange(9000), np.repeat([0, 1], [8999, 1])
    weights = np.array([[4000.0], [1.0]])
    with pytest.raises(ValueError, match="numbers with a gap"):
        GroupSigns(x, x, 2 * group)
    sums = GroupSigns(x, x, group)
    assert sums.sums.tolist() == [[8999 * 8998, 8999], [8999, 0]]
    assert sums.form(weights).tolist() == [4000.0**2 * 8999 * 8998 + 2 * 4000 * 8999]


@pytest.mark.parametrize("n_groups", [2, 30, 500, 700])
def test_few_configurations_and_many_go_different_ways_to_the_same_numbers(n_groups, monkeypatch):
    r = np.random.default_rng(0)
    x, y = r.integers(0, 90, 1200).astype(float), r.normal(size=1200)
    group = np.concatenate([np.arange(n_groups), r.integers(0, n_groups, 1200 - n_groups)])
    found = []
    for few in (0, 4096):
        monkeypatch.setattr("analysis.statistics.association.weighted._FEW", few)
        monkeypatch.setattr("analysis.statistics.association.weighted._SHARE", 1.0)
        monkeypatch.setattr("analysis.statistics.association.weighted._LARGEST", 20 if few == 0 else 2000)
        sums = WeightedSums(x, y, group)
        assert (sums.between is None) == (few == 0)
        found.append({**sums.all_rows(), **{f"{k}*": v for k, v in sums.resampled(300, 1).items()}})
        found[-1] |= {f"{k}-": v for k, v in sums.leave_one_out().items()}
    for name, values in found[0].items():
        np.testing.assert_array_equal(values, found[1][name], err_msg=name)


def test_constant_measure_scores_zero_in_tau_a_and_is_undefined_in_tau_b():
    c = coefficients(np.ones(12), np.arange(12.0), resamples=50)
    assert c.point["tau_a"] == 0 and math.isnan(c.point["tau_b"])
    assert "tau-b NaN: the measure is constant" in c.note
    assert c.interval("tau_b").reason == "the coefficient is undefined"
    assert "same in every resample" in c.interval("tau_a").reason


def test_bca_equals_scipy_where_every_run_is_a_configuration():
    r = np.random.default_rng(1)
    y = r.normal(size=60)
    x = y + r.normal(size=60)
    ours = coefficients(x, y, resamples=20_000).interval("pearson")
    theirs = stats.bootstrap(
        (x, y), lambda a, b: stats.pearsonr(a, b).statistic, paired=True, vectorized=False, n_resamples=20_000,
        rng=np.random.default_rng(2),
    ).confidence_interval  # fmt: skip
    assert (ours.low, ours.high) == pytest.approx(theirs, abs=0.012)


def test_bca_of_given_replicates_equals_the_formula():
    r = np.random.default_rng(0)
    replicates, jackknife = r.normal(0.1, 1, 999), r.exponential(size=30)
    below = (replicates < 0).mean()
    z0 = stats.norm.ppf(below)
    d = jackknife.mean() - jackknife
    a = (d**3).sum() / (6 * (d**2).sum() ** 1.5)
    tails = [stats.norm.cdf(z0 + (z0 + z) / (1 - a * (z0 + z))) for z in stats.norm.ppf([0.025, 0.975])]
    interval = bca(0.0, replicates, jackknife)
    assert (interval.low, interval.high) == pytest.approx(tuple(np.quantile(replicates, tails)))


def test_interval_by_configuration_is_wider_than_by_run(make_records):
    frame = make_records(n_seeds=6)
    frame["measure.relative_flatness"] = frame.groupby("hp.lr")["gap.loss"].transform("mean")
    x, y = frame["measure.relative_flatness"], frame["gap.loss"]
    by_run = coefficients(x, y).interval("tau_b")
    by_configuration = coefficients(x, y, np.arange(len(x)) // 6).interval("tau_b")
    assert by_configuration.high - by_configuration.low > 1.3 * (by_run.high - by_run.low)


def test_order_of_rows_changes_nothing(records):
    shuffled = records.sample(frac=1, random_state=1).reset_index(drop=True)
    first, second = correlate(records, resamples=200), correlate(shuffled, resamples=200)
    numeric = first.select_dtypes("number")
    assert np.allclose(numeric, second[numeric.columns], atol=1e-12, equal_nan=True)


def test_missing_value_leaves_out_one_run_of_one_measure(records):
    table = kendall(records, resamples=0).set_index("measure")
    assert table.loc["inverse_margin", "n"] == len(records) - 1
    assert table.drop("inverse_margin")["n"].eq(len(records)).all()


def test_flipping_a_measure_flips_its_coefficients_and_no_others(records):
    before = correlate(records, resamples=100).set_index("measure")
    records["measure.hessian_trace"] *= -1
    after = correlate(records, resamples=100).set_index("measure")
    for name in ("tau_b", "tau_a", "pearson", "spearman"):
        assert after.loc["hessian_trace", name] == pytest.approx(-before.loc["hessian_trace", name])
    assert after.drop("hessian_trace").equals(before.drop("hessian_trace"))


def test_several_stops_or_an_unknown_target_are_refused(make_records):
    with pytest.raises(ValueError, match=r"rows of one stop"):
        kendall(make_records(stops=("loss_0.1", "loss_0.01")))
    with pytest.raises(ValueError, match=r"target: gap.nothing: allowed are .*gap.loss"):
        kendall(make_records(), "gap.nothing")
    with pytest.raises(ValueError, match="variant: c: allowed are a, b"):
        tau([1, 2], [1, 2], "c")
