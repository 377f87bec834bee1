"""Simulated studies on the designs of the published ones, and what our intervals and tests say of each.

Every level of every axis has an effect on gap, measures and training loss (standard deviation 1), every cell (.3) and
every seed (.5). All of them have the same correlations: r of both measures with the gap, .6 of the training loss with
it; what any two others have in common is the gap. So over the population of levels all are jointly normal: Pearson is
r, Kendall's tau (2 / pi) arcsin r, Spearman's rho (6 / pi) arcsin (r / 2).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import kendalltau

from analysis.columns import configurations
from analysis.statistics.association.coefficients import coefficients
from analysis.statistics.association.differences import difference, paired
from analysis.statistics.association.intervals import this_grid
from analysis.statistics.association.partial import partial
from analysis.statistics.association.permutation import permutation
from analysis.statistics.resampling.design import unrelated
from analysis.statistics.resampling.resample import Interval, bca

Floats = NDArray[np.float64]
# Design -> levels of each axis, seeds: LeNet5 on CIFAR-10, on Fashion-MNIST, with every measure; digits; MNIST, whose
# pairs are one axis.
DESIGNS: dict[str, tuple[tuple[int, ...], int]] = {
    "4 × 4 levels, 9 seeds": ((4, 4), 9),
    "4 × 4 levels, 3 seeds": ((4, 4), 3),
    "4 × 4 levels, 2 seeds": ((4, 4), 2),
    "3 × 3 × 3 levels, 4 seeds": ((3, 3, 3), 4),
    "4 levels, 20 seeds": ((4,), 20),
}
RELATIONS = (0.0, 0.7)
_CELL, _SEED, _CONTROL = 0.3, 0.5, 0.6
_ORDERS = 600  # more than there are of the levels of 4 x 4, so that every p is exact
_MANY = 200  # seeds a cell whose tau is taken for that of all seeds there could be


@dataclass(frozen=True)
class Study:
    """One simulated study: its records, the means of its cells, gap first (4, cells); what it was asked for."""

    frame: pd.DataFrame
    means: Floats
    relation: float
    number: int
    resamples: int

    @property
    def tau(self) -> float:
        """Kendall's tau of either measure and the gap, of all levels there could be."""
        return float(2 / np.pi * np.arcsin(self.relation))

    @property
    def partial_rho(self) -> float:
        """Spearman's partial rho of the two, the training loss held fixed, of all levels there could be."""
        both = (self.relation, _CONTROL, self.relation * _CONTROL)
        rho, of_gap, of_measure = (6 / np.pi * np.arcsin(r / 2) for r in both)
        return float((rho - of_gap * of_measure) / np.sqrt((1 - of_gap**2) * (1 - of_measure**2)))


def simulate(
    name: str, relation: float, studies: int, resamples: int = 400, asked: Sequence[str] | None = None
) -> pd.DataFrame:
    """What is said of the first so many studies of a design, one row each.

    `asked`: names of SAID, by default all; their columns, 0 or 1 but for `least_`: whether a 95% interval holds the
    truth (one that is not there does not), whether p is below .05 (NaN without a p), and the least p there is.
    """
    rows = []
    for number in range(studies):
        one = study(name, relation, number, resamples)
        rows.append({k: v for about in asked or SAID for k, v in SAID[about](one).items()})
    return pd.DataFrame(rows)


def study(name: str, relation: float, number: int, resamples: int = 400) -> Study:
    """Study `number` of a design, the same whenever it is asked for; its resamples are seeded by the number, too."""
    levels, seeds = DESIGNS[name]
    generator = np.random.default_rng([number, *levels, seeds, round(100 * relation)])
    cells = np.array(list(itertools.product(*map(range, levels)))).T
    of_axes = [effects(generator, n, relation)[:, level] for n, level in zip(levels, cells, strict=True)]
    means = np.sum(of_axes, axis=0) + _CELL * effects(generator, cells.shape[1], relation)
    frame = pd.DataFrame({f"hp.{'abc'[k]}": np.repeat(level, seeds) for k, level in enumerate(cells)})
    frame["hp.seed"] = np.tile(np.arange(seeds), cells.shape[1])
    columns = ("gap.loss", "measure.first", "measure.second", "train.loss")
    frame[list(columns)] = _trained(generator, means, seeds, relation).T
    return Study(frame, means, relation, number, resamples)


def effects(generator: np.random.Generator, n: int, relation: float) -> Floats:
    """Standard normal effects on the gap, two measures and the training loss, (4, n)."""
    loading = np.array([1.0, relation, relation, _CONTROL])[:, None]
    common, own = generator.normal(size=n), generator.normal(size=(4, n))
    return loading * common + np.sqrt(1 - loading**2) * own


def _trained(generator: np.random.Generator, means: Floats, seeds: int, relation: float) -> Floats:
    return np.repeat(means, seeds, axis=1) + _SEED * effects(generator, means.shape[1] * seeds, relation)


def _new_levels(s: Study) -> dict[str, float]:
    first, second = paired(s.frame, "gap.loss", "first", "second", s.resamples, s.number)
    return {
        "tau_b": _holds(first.interval("tau_b"), s.tau),
        "pearson": _holds(first.interval("pearson"), s.relation),
        "difference": _holds(difference(first, second, "tau_b"), 0.0),
    }


def _within_axis(s: Study) -> dict[str, float]:
    """Of what is left of the first axis' settings, where r is what it is everywhere."""
    row = permutation(s.frame, "gap.loss", ["first"], ["hp.a"], _ORDERS, s.resamples, s.number).iloc[0]
    held = _holds(Interval(row["pearson.low"], row["pearson.high"]), s.relation)
    return {"within_axis": held, "p_axis": _below(row["p_permutation"]), "least_axis": row["p_least"]}


def _whole(s: Study) -> dict[str, float]:
    row = permutation(s.frame, "gap.loss", ["first"], [], _ORDERS, 0, s.number).iloc[0]
    return {"p_whole": _below(row["p_permutation"]), "least_whole": row["p_least"]}


def _given_loss(s: Study) -> dict[str, float]:
    row = partial(s.frame, "gap.loss", ["first"], s.resamples, s.number).iloc[0]
    bounds = Interval(row["partial_spearman.low"], row["partial_spearman.high"])
    return {"partial_spearman": _holds(bounds, s.partial_rho)}


def _this_grid(s: Study) -> dict[str, float]:
    many = _trained(np.random.default_rng([s.number, _MANY]), s.means, _MANY, s.relation)
    columns = s.frame["measure.first"], s.frame["gap.loss"], configurations(s.frame)
    bounds = this_grid(*columns, s.resamples, s.number).interval("tau_b")
    return {"this_grid": _holds(bounds, float(kendalltau(many[1], many[0]).statistic))}


def _over_configurations(s: Study) -> dict[str, float]:
    """BCa, configurations taken for unrelated: what new levels are not."""
    over = unrelated(configurations(s.frame))
    c = coefficients(s.frame["measure.first"], s.frame["gap.loss"], over, s.resamples, s.number)
    return {"bca": _holds(bca(c.point["tau_b"], c.replicates["tau_b"], c.jackknife["tau_b"]), s.tau)}


def _holds(bounds: Interval, truth: float) -> float:
    return float(bounds.low <= truth <= bounds.high)


def _below(p: float) -> float:
    return np.nan if np.isnan(p) else float(p < 0.05)


SAID: dict[str, Callable[[Study], dict[str, float]]] = {
    "new levels": _new_levels,
    "within an axis": _within_axis,
    "given the training loss": _given_loss,
    "this grid": _this_grid,
    "over configurations": _over_configurations,
    "whole": _whole,
}
