"""Intervals for new levels hold the truth on the designs of the published studies; those over configurations do not."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis import simulated
from analysis.drawing.render import to_latex
from analysis.statistics.association.differences import p_of_no_difference, paired
from analysis.statistics.resampling.design import design
from study.storage.paths import published_studies
from tests.benchmarks import coverage
from tests.support.crossed import DESIGNS, RELATIONS, effects, simulate, study

RECORDS = Path(__file__).parents[3] / "analysis" / "records"
EVERY = list(itertools.product(DESIGNS, RELATIONS))
# No text prints an interval for new levels of these: three networks of three kinds, one seed of half of a grid, and one
# of axes that have two levels each.
WITHOUT_INTERVALS = {"invariance", "lenet5_fashion_all", "jiang_small"}


@pytest.mark.parametrize(("name", "relation"), EVERY)
def test_intervals_for_new_levels_hold_the_truth_and_those_over_configurations_do_not(name, relation):
    found = simulate(name, relation, 150, asked=("new levels", "over configurations")).mean()
    assert (found[["tau_b", "pearson", "difference"]] >= 0.9).all() and found["bca"] < 0.85, found.to_dict()


@pytest.mark.parametrize("name", ["4 × 4 levels, 9 seeds", "3 × 3 × 3 levels, 4 seeds"])
def test_small_p_come_no_more_often_than_they_say_where_nothing_is_related(name):
    """Of one coefficient, and of the difference of two: what Benjamini-Hochberg rests on."""
    found = []
    for number in range(300):
        first, second = paired(study(name, 0.0, number).frame, "gap.loss", "first", "second", 1)
        assert first.probability is not None
        found.append([first.p_of_zero("pearson"), p_of_no_difference(first, second, "pearson")])
    for p in np.transpose(found):
        for level in (0.05, 0.01, 0.001):
            assert (p <= level).mean() <= level + 3 * np.sqrt(level * (1 - level) / len(p))
        assert p.min() < 0.05 < np.median(p)


def test_the_truth_is_that_of_very_many_levels():
    """Two runs that share no level differ by independent effects: their signs, ranks and products are the formulas'."""
    gap, first, second, loss = effects(np.random.default_rng(0), 20_000, 0.7)
    one = study("4 × 4 levels, 9 seeds", 0.7, 0)
    assert stats.kendalltau(first, gap).statistic == pytest.approx(one.tau, abs=0.01)
    assert np.corrcoef([gap, first, second, loss])[0] == pytest.approx([1, 0.7, 0.7, 0.6], abs=0.01)
    assert np.corrcoef([first, second, loss])[0] == pytest.approx([1, 0.49, 0.42], abs=0.02)
    ranks = [stats.rankdata(v) for v in (first, gap, loss)]
    left = [r - np.polyval(np.polyfit(ranks[2], r, 1), ranks[2]) for r in ranks[:2]]
    assert np.corrcoef(left)[0, 1] == pytest.approx(one.partial_rho, abs=0.01)
    means = np.concatenate([study("4 levels, 20 seeds", 0.7, k).means for k in range(500)], axis=1)
    assert np.corrcoef(means)[0] == pytest.approx([1, 0.7, 0.7, 0.6], abs=0.05)
    assert means.std(axis=1) == pytest.approx(np.full(4, np.sqrt(1.09)), abs=0.05)


@pytest.mark.parametrize("name", DESIGNS)
def test_a_simulated_study_has_its_design_and_is_the_same_again(name):
    levels, seeds = DESIGNS[name]
    frame, again, other = (study(name, 0.0, number).frame for number in (3, 3, 4))
    assert frame.equals(again) and not frame.equals(other) and len(frame) == np.prod(levels) * seeds
    assert [len(axis.stratum) for axis in design(frame).axes] == list(levels)


def test_the_designs_are_those_of_the_published_studies():
    found = set()
    for name in set(published_studies()) - WITHOUT_INTERVALS:
        frame = pd.read_csv(RECORDS / f"{name}.csv", low_memory=False).drop_duplicates("key").reset_index(drop=True)
        levels = tuple(len(axis.stratum) for axis in design(frame).axes)
        found.add((levels, frame["hp.seed"].nunique()))
    assert found == set(DESIGNS.values())


def test_the_table_is_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setenv("STUDY_RESULTS", str(tmp_path))
    coverage.main(["--studies", "2", "--resamples", "50"])
    measured = json.loads((tmp_path / "bench" / "coverage.json").read_text())
    assert [(row["design"], row["r"]) for row in measured["rows"]] == EVERY
    assert measured["command"] == "--studies 2 --resamples 50" and len(measured["commit"].removesuffix("-dirty")) == 12
    assert "Coverage of 95% intervals" in capsys.readouterr().out
    table = simulated.coverage(measured)
    assert len(table) == len(EVERY) and table["least p"].tolist()[-1] == "1/24"
    latex = to_latex(table)
    assert r"4 $\times$ 4 levels, 9 seeds" in latex and "nan" not in latex
