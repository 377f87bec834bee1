"""The order of measures in two lists: as scipy has it, and how often its interval holds the truth."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.columns import measures
from analysis.statistics.association.coefficients import coefficients
from analysis.statistics.beside.order import families, order
from analysis.statistics.resampling.resample import jackknife
from analysis.studies.paper import read_papers
from analysis.vocabulary import family

RECORDS = Path(__file__).parents[2] / "analysis" / "records"
# Measures a family, of what is laid beside one another: set:library with options, the tables of Jiang et al. and
# Dziugaite et al., and what the libraries share with the studies of their protocols.
SIZES = {
    "library": (35, 29, 12, 11, 9, 2, 2),
    "jiang2020": (7, 5, 2, 2, 1),
    "dziugaite2020": (17, 6, 1),
    "thirteen": (3, 2, 2, 2, 2, 2),
}
LABELS = ("l2", "path_norm", "hessian_trace", "lambda_max", "sharpness_max(rho=1)", "ece", "mine", "yours")


def sizes(labels: Iterable[str]) -> tuple[int, ...]:
    return tuple(sorted(Counter(family(label) or label for label in labels).values(), reverse=True))


def shares(sizes: tuple[int, ...], of_families: float, r: float, studies: int = 150) -> tuple[float, float]:
    """How many simulated pairs of studies have the true tau-b in the interval over families, and over measures.

    Effects of families and of single measures both have the correlation r from study to study, so that the difference
    of two measures has it, too, be they of one family or of two.
    """
    generator = np.random.default_rng([*sizes, round(100 * of_families), round(100 * r)])
    kin = np.repeat(np.arange(len(sizes)), sizes)
    truth, hits = 2 / np.pi * np.arcsin(r), np.zeros(2)

    def both(n: int) -> np.ndarray:
        a, b = generator.normal(size=(2, n))
        return np.stack([a, r * a + np.sqrt(1 - r**2) * b])

    for _ in range(studies):
        x, y = np.sqrt(of_families) * both(len(sizes))[:, kin] + np.sqrt(1 - of_families) * both(len(kin))
        found = [coefficients(x, y, over, resamples=200).interval("tau_b") for over in (kin, None)]
        hits += [bounds.low <= truth <= bounds.high for bounds in found]
    return float(hits[0] / studies), float(hits[1] / studies)


@pytest.mark.parametrize(("name", "of_families", "r"), list(itertools.product(SIZES, (0.2, 0.5, 0.8), (0.0, 0.8))))
def test_the_interval_over_families_holds_the_truth(name: str, of_families: float, r: float) -> None:
    over_families, over_measures = shares(SIZES[name], of_families, r)
    assert over_families >= 0.9
    assert over_measures < 0.75 or name != "library" or of_families < 0.5, "what single measures claim is too much"


def test_the_sizes_are_those_of_what_is_laid_beside_one_another() -> None:
    """Transforms are no measures of their own here; a paper's rows are those that have a measure of ours."""

    def of(study: str) -> set[str]:
        columns = measures(pd.read_csv(RECORDS / f"{study}.csv", low_memory=False))
        return {name for name in columns if "@" not in name}

    library = of("library_fashion")
    found = {"library": sizes(library), "thirteen": sizes(library & of("lenet5_cifar10"))}
    for paper, name in zip(read_papers(), ("jiang2020", "dziugaite2020"), strict=True):
        found[name] = sizes(row.label for row in paper.rows if row.label)
    assert found == SIZES


def test_the_order_is_that_of_scipy_and_its_interval_the_jackknifes_over_families() -> None:
    x, y = np.random.default_rng(0).normal(size=(2, len(LABELS)))
    y += x
    found = order([*LABELS, "tic"], [*x, np.nan], [*y, 1.0])
    assert found.n == 8 and found.point["tau_b"] == pytest.approx(stats.kendalltau(x, y).statistic)
    kin = families(LABELS)
    assert [len(set(kin)), kin[0] == kin[1], kin[2] == kin[3], kin[6] == kin[7]] == [6, True, True, False]
    without = [stats.kendalltau(x[kin != one], y[kin != one]).statistic for one in range(6)]
    expected = jackknife(found.point["tau_b"], np.array(without))
    bounds = found.interval("tau_b")
    assert (bounds.low, bounds.high) == pytest.approx((expected.low, expected.high))


def test_two_families_give_no_interval_and_say_why() -> None:
    bounds = order(LABELS[:4], [1, 2, 3, 4], [1, 2, 4, 3]).interval("tau_b")
    assert np.isnan(bounds.low) and "three" in bounds.reason
