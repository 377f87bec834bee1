"""Intervals of few configurations: do they hold the truth as often as they say? Simulated studies with a known r."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.statistics.association.coefficients import coefficients
from analysis.statistics.association.within_groups import interval_within
from analysis.statistics.resampling.design import design, unrelated
from analysis.statistics.resampling.resample import FEW, bca, interval, jackknife


def coverage(n_configurations: int, between: float, among_seeds: float, spread: float = 0.5) -> tuple[float, float]:
    """How many of 300 studies of 9 seeds have the true r in their BCa interval, and in the jackknife's."""
    r = np.random.default_rng(n_configurations)
    truth = (between + among_seeds * spread**2) / (1 + spread**2)
    group = np.repeat(np.arange(n_configurations), 9)
    hits = np.zeros(2)

    def pair(rho: float, *shape: int) -> np.ndarray:
        a, b = r.normal(size=shape), r.normal(size=shape)
        return np.stack([a, rho * a + np.sqrt(1 - rho**2) * b])

    for _ in range(300):
        x, y = (pair(between, n_configurations)[..., None] + spread * pair(among_seeds, n_configurations, 9)).reshape(
            2, -1
        )
        c = coefficients(x, y, group, resamples=300)
        arguments = c.point["pearson"], c.replicates["pearson"], c.jackknife["pearson"]
        for i, bounds in enumerate((bca(*arguments), jackknife(arguments[0], arguments[2]))):
            hits[i] += bounds.low <= truth <= bounds.high
    first, second = hits / 300
    return float(first), float(second)


@pytest.mark.parametrize("n_configurations", [4, 6])
@pytest.mark.parametrize(("between", "among_seeds"), [(0.0, 0.0), (0.9, 0.3), (0.5, 0.5), (0.95, 0.95)])
def test_the_jackknife_holds_the_truth_of_few_configurations_where_bca_does_not(
    n_configurations: int, between: float, among_seeds: float
) -> None:
    of_bca, of_jackknife = coverage(n_configurations, between, among_seeds)
    assert of_bca < 0.9
    assert of_jackknife > 0.88 and of_jackknife > of_bca + 0.04


def test_with_sixteen_configurations_bca_holds_the_truth_nearly_as_often_as_it_says() -> None:
    for between, among_seeds in ((0.0, 0.0), (0.9, 0.3), (0.5, 0.5), (0.95, 0.95)):
        of_bca, of_jackknife = coverage(16, between, among_seeds)
        assert 0.84 < of_bca < 0.95 and of_jackknife > 0.88


def test_within_a_setting_the_levels_of_both_axes_are_drawn_not_the_configurations() -> None:
    """4 x 4 settings, 5 seeds; x and y have unrelated effects of both axes, so that r within the first is truly 0."""
    r = np.random.default_rng(0)
    first, second = (v.ravel() for v in np.meshgrid(np.repeat(range(4), 5), range(4), indexing="ij"))
    frame = pd.DataFrame({"hp.a": first, "hp.b": second, "hp.seed": np.tile(np.arange(5), 4).repeat(4)})
    blocks, configuration = frame["hp.a"].to_numpy(), (4 * first + second).astype(np.int64)
    hits = np.zeros(2)
    for _ in range(200):
        for column in ("gen.gap", "measure.m"):
            frame[column] = r.normal(size=4)[first] + r.normal(size=4)[second] + 0.3 * r.normal(size=80)
        x, y = (frame[c].to_numpy() for c in ("measure.m", "gen.gap"))
        for k, grid in enumerate((design(frame), unrelated(configuration))):
            bounds = interval_within(x, y, blocks, grid, 300, 0)
            hits[k] += bounds.low <= 0 <= bounds.high
    of_levels, of_configurations = hits / 200
    assert of_levels > 0.9 and of_configurations < 0.75, (of_levels, of_configurations)


def test_the_jackknife_is_students_t_on_fishers_scale() -> None:
    """Against the definition, pseudo-values written out: their mean's standard error is the jackknife's."""
    r = np.random.default_rng(0)
    x, y = r.normal(size=(2, 6))
    c = coefficients(x, y, resamples=50)
    z = np.arctanh(np.corrcoef(x, y)[0, 1])
    without = [np.arctanh(np.corrcoef(np.delete(x, i), np.delete(y, i))[0, 1]) for i in range(6)]
    reach = stats.t.ppf(0.975, 5) * stats.sem([6 * z - 5 * w for w in without])
    bounds = c.interval("pearson")
    assert (bounds.low, bounds.high) == pytest.approx((np.tanh(z - reach), np.tanh(z + reach)))


def test_from_ten_configurations_on_it_is_the_bootstraps() -> None:
    r = np.random.default_rng(0)
    for n in (FEW - 1, FEW):
        c = coefficients(*r.normal(size=(2, n)), resamples=200)
        arguments = c.point["tau_b"], c.replicates["tau_b"], c.jackknife["tau_b"]
        own = jackknife(arguments[0], arguments[2]) if n < FEW else bca(*arguments)
        assert interval(*arguments) == own == c.interval("tau_b")


def test_where_there_is_no_interval_it_says_why() -> None:
    x = np.arange(5.0)
    assert "whichever" in coefficients(x, x, resamples=50).interval("tau_b").reason
    assert "no axis has three levels" in coefficients(x[:2], x[:2], resamples=50).interval("tau_b").reason
    assert "without one" in jackknife(0.5, np.array([0.4, np.nan, 0.6])).reason
    one = coefficients(np.array([0.0, 0, 0, 1]), np.arange(4.0), resamples=50)  # constant without its last run
    assert "without one" in one.interval("pearson").reason
    with pytest.raises(ValueError, match=r"level: 1\.5"):
        jackknife(0.5, np.array([0.4, 0.5, 0.6]), 1.5)
