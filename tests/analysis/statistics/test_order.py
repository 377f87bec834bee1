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

from analysis.columns import at_stop
from analysis.exclude import exclude
from analysis.statistics.association.coefficients import coefficients
from analysis.statistics.beside import order as module
from analysis.statistics.beside.order import families, order
from analysis.statistics.beside.papers import beside
from analysis.statistics.beside.replication import replication
from analysis.studies.paper import read_papers
from analysis.vocabulary import family

RECORDS = Path(__file__).parents[3] / "analysis" / "records"
# Measures a family, of what is laid beside one another at a loss of .01: library_fashion and library_cifar10, the
# former and lenet5_fashion, and jiang_small with the tables of Jiang et al. and Dziugaite et al.
SIZES = {
    "library": (32, 19, 13, 11, 8, 4, 2),
    "thirteen": (3, 2, 2, 2, 2, 2),
    "jiang2020": (7, 5, 2, 2, 1),
    "dziugaite2020": (17, 6, 1),
}
STUDIES = 150
LABELS = ["l2", "path_norm", "hessian_trace", "lambda_max", "sharpness_max(rho=1)", "ece", "mine", "yours"]


def pair(
    generator: np.random.Generator, sizes: tuple[int, ...], of_families: float, between: float, within: float
) -> tuple[np.ndarray, np.ndarray]:
    """Two lists, (n,): a measure is its family's effect and its own, which correlate from list to list as given."""

    def both(n: int, r: float) -> np.ndarray:
        a, b = generator.normal(size=(2, n))
        return np.stack([a, r * a + np.sqrt(1 - r**2) * b])

    of_family = both(len(sizes), between)[:, np.repeat(np.arange(len(sizes)), sizes)]
    x, y = np.sqrt(of_families) * of_family + np.sqrt(1 - of_families) * both(sum(sizes), within)
    return x, y


def truth(sizes: tuple[int, ...], of_families: float, between: float, within: float) -> float:
    """Tau-b of all families there could be: of two measures of one family their own effects differ, of two both do."""
    n, of_one = sum(sizes), sum(k * (k - 1) for k in sizes)
    inside, outside = np.arcsin(within), np.arcsin(of_families * between + (1 - of_families) * within)
    return float(2 / np.pi * (of_one * inside + (n * (n - 1) - of_one) * outside) / (n * (n - 1)))


@pytest.fixture(scope="module")
def held() -> pd.DataFrame:
    """A row a design: in which share of studies each interval holds the truth, and how wide it is (median)."""
    kinds = {name: [str(k) for k, n in enumerate(sizes) for _ in range(n)] for name, sizes in SIZES.items()}
    rows = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "family", lambda label: label)
        every = itertools.product(SIZES, (0.2, 0.5, 0.8), ((0.0, 0.0), (0.8, 0.8), (0.8, 0.0), (0.0, 0.8)))
        for name, share, (between, within) in every:
            of = (SIZES[name], share, between, within)
            generator = np.random.default_rng([len(kinds[name]), round(100 * share), *map(round, of[2:])])
            true = truth(*of)
            lists = [pair(generator, *of) for _ in range(STUDIES)]
            found = [order(kinds[name], x, y).interval for x, y in lists]
            some = lists if between == within else []
            alone = [coefficients(x, y, resamples=200).interval("tau_b") for x, y in some]
            rows.append({
                "design": name, "families": share, "between": between, "within": within,
                "held": np.mean([one.low <= true <= one.high for one in found]),
                "width": np.median([one.high - one.low for one in found]),
                "held_by_single": np.mean([one.low <= true <= one.high for one in alone]) if alone else np.nan,
            })  # fmt: skip
    return pd.DataFrame(rows)


def test_the_interval_over_families_holds_the_truth_and_one_over_measures_does_not(held: pd.DataFrame) -> None:
    assert (held["held"] >= 0.9).all(), held[held["held"] < 0.9]
    library = held[held["design"] == "library"]
    assert (library["held_by_single"][library["families"] >= 0.5].dropna() < 0.8).all()
    assert (library["width"] < 1.3).all() and (library["width"][library["families"] < 0.5] < 0.6).all(), "it says much"


def test_its_docstring_says_what_was_simulated(held: pd.DataFrame) -> None:
    over_families, single = (f"{held[c].min():.0%} to {held[c].max():.0%}" for c in ("held", "held_by_single"))
    words = " ".join((module.__doc__ or "").split())
    assert f"it held the truth in {over_families} of {STUDIES} pairs of studies" in words, over_families
    assert f"an interval over single measures in {single} (see" in words, single


def test_the_truth_is_that_of_very_many_lists() -> None:
    of = ((6, 5, 2, 2, 1), 0.5, 0.8, 0.0)
    generator = np.random.default_rng(0)
    found = [stats.kendalltau(*pair(generator, *of)).statistic for _ in range(3000)]
    assert np.mean(found) == pytest.approx(truth(*of), abs=0.02)


def test_the_sizes_are_those_of_what_is_laid_beside_one_another() -> None:
    kept = {
        name: exclude(at_stop(pd.read_csv(RECORDS / f"{name}.csv", low_memory=False)))[0]
        for name in ("library_fashion", "library_cifar10", "lenet5_fashion", "jiang_small")
    }
    found = {}
    for name, other in (("library", "library_cifar10"), ("thirteen", "lenet5_fashion")):
        both = replication(kept["library_fashion"], kept[other], "gap.loss", resamples=0)
        both = both.assign(family=both["measure"].map(family))
        found[name] = sizes(both.drop_duplicates(["family", "tau_b", "there_tau_b"])["measure"])
    for paper, name in zip(read_papers(), ("jiang2020", "dziugaite2020"), strict=True):
        two = beside(kept["jiang_small"], paper)
        there = two.ours.notna().any(axis=1)
        labels = [row.label for row, is_there in zip(two.paper.rows, there, strict=True) if is_there]
        found[name] = sizes(label for label in labels if label and label not in two.constant)
    assert found == SIZES


def sizes(labels: Iterable[str]) -> tuple[int, ...]:
    return tuple(sorted(Counter(family(label) or label for label in labels).values(), reverse=True))


def test_the_order_is_that_of_scipy_and_its_interval_the_jackknifes_over_families() -> None:
    x, y = np.random.default_rng(0).normal(size=(2, len(LABELS)))
    y += x
    found = order([*LABELS, "tic"], [*x, np.nan], [*y, 1.0])
    assert found.measures == 8
    assert found.tau_b == pytest.approx(stats.kendalltau(x, y).statistic)
    kin = families(LABELS)
    assert [kin[0] == kin[1], kin[2] == kin[3], kin[6] == kin[7]] == [True, True, False]
    without = np.arcsin([stats.kendalltau(x[kin != one], y[kin != one]).statistic for one in range(6)])
    error = np.sqrt(5 / 6 * ((without - without.mean()) ** 2).sum())
    reach = stats.t.ppf(0.975, 5) * error
    low, high = (max(-np.pi / 2, min(np.pi / 2, np.arcsin(found.tau_b) + side * reach)) for side in (-1, 1))
    assert (found.interval.low, found.interval.high) == pytest.approx((np.sin(low), np.sin(high)))


@pytest.mark.parametrize(
    ("labels", "x", "y", "reason"),
    [
        (LABELS[:4], [1, 2, 3, 4], [1, 2, 4, 3], "2 families; an interval needs 3"),
        (LABELS[-3:], [1, 2, 3], [1, 2, 3], "the same whichever family is left out"),
        (LABELS[-3:], [1, 1, 2], [1, 2, 3], "undefined without one of the families"),
        (LABELS[:1], [1], [1], "1 families; an interval needs 3"),
    ],
)
def test_what_gives_no_interval_says_why(labels: list[str], x: list[float], y: list[float], reason: str) -> None:
    bounds = order(labels, x, y).interval
    assert np.isnan([bounds.low, bounds.high]).all() and bounds.reason == reason


def test_lists_that_agree_without_a_family_still_have_an_interval_that_says_something() -> None:
    """On Fisher's scale 1 is infinite, and the interval would be all there is."""
    labels = [f"m{at}" for at in range(12)]
    x = np.arange(12.0)
    y = x.copy()
    y[[4, 5]] = y[[5, 4]]
    bounds = order(labels, x, y).interval
    assert 0.5 < bounds.low < order(labels, x, y).tau_b < bounds.high <= 1
