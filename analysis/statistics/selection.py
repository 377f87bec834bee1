"""Selection: what whoever trains a grid gets who keeps the network with the smallest value of a measure.

Regret: the target of the network picked less the smallest there is; normalized, over what a random pick regrets, so
that 0 is the best choice and 1 is chance. Hits: of the fifth of the networks that a measure ranks lowest, the share
whose target is no higher than that of the target's best fifth (a fifth of n is rounded up). Networks of one value are
picked with the same chance. Regret of ranked models is common in architecture search; the two here are our reading.

Baselines: the training loss; a random choice, exactly expected; an oracle, the target itself with Gaussian noise of a
standard deviation of .02 or .05 (Jiang et al., arXiv:1912.02178, of an error gap; in the unit of the target here: our
reading), the mean of DRAWS draws of the noise; the canonical ordering, which reads hyperparameters alone: Jiang et al.
order the levels of one, here the ranks of the levels of all in CANONICAL that vary are added up (our reading).

Intervals for new levels: levels are drawn as for every coefficient (see design), and a network counts the product of
its levels' counts. They are percentiles for one axis too, since no jackknife holds for a smallest value. Of resamples a
smallest value is too high: those of 95% hold a regret less often than they say, least with one axis of few levels;
those of the normalized regret and of hits about as often, all three simulated in
tests/analysis/statistics/test_selection.py.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.columns import (
    check_frame,
    configurations,
    half_have,
    measures,
    possible_targets,
    targets,
    values,
)  # fmt: skip
from analysis.statistics.association.coefficients import RESAMPLES
from analysis.statistics.grid.means import runs_or_means
from analysis.statistics.resampling.design import NONE, Design, design
from analysis.statistics.resampling.resample import percentile

Floats = NDArray[np.float64]
TARGETS = ("test.error", "test.loss", "gap.error", "gap.loss", "gen.gap")  # what is regretted, in this order
UNITS = ("network", "configuration")  # what is picked; of a configuration the mean over its seeds, if all have a value
NOISE = (0.02, 0.05)
DRAWS = 50  # of the oracle's noise; ours
# Hyperparameter -> the sign of its values' order from small gaps to large: Jiang et al.'s, as their psi has it.
CANONICAL = {
    "hp.batch_size": 1, "hp.lr": -1, "hp.lr_factor": -1, "hp.weight_decay": -1, "hp.dropout": -1, "hp.depth": -1,
    "hp.width": -1, "hp.model.dropout": -1, "hp.model.depth": -1, "hp.model.width": -1,
}  # fmt: skip
SAID = ("regret", "normalized_regret", "hits")
_LOSS = "train_loss"
_SHARE = 0.2


def selection(
    frame: pd.DataFrame,
    target: str = "test.error",
    labels: Sequence[str] | None = None,
    unit: str = "network",
    noise: Sequence[float] = NOISE,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> pd.DataFrame:
    """Regret and hits of every measure, then of the baselines; a records frame of one stop, one row each.

    Columns: measure, n (networks), configurations, regret (in the target's unit), normalized_regret and hits, each with
    .low and .high, 95% for new levels; note. Units without a value are not there to be picked; a measure that less than
    half of the units have says nothing, since the best of three is soon picked. Raises ValueError for a target that is
    no column or a unit that is none of UNITS. `noise`: an oracle each. Time: as n x resamples x (measures + DRAWS x
    oracles).
    """
    check_frame(frame, target)
    if unit not in UNITS:
        raise ValueError(f"unit: {unit}: allowed are {', '.join(UNITS)}")
    names = [label for label in (measures(frame) if labels is None else labels) if label != _LOSS]
    columns = [target, *(f"measure.{label}" for label in (*names, _LOSS)), "train.loss"]
    picked = frame if unit == "network" else runs_or_means(frame, "means", columns)
    goal, grid = values(picked, target), design(picked)
    of_unit = np.arange(len(frame)) if unit == "network" else configurations(frame)
    networks = np.bincount(of_unit[np.isfinite(values(frame, target))], minlength=len(picked))
    rows = []
    scores = {label: values(picked, f"measure.{label}")[None] for label in names} | baselines(picked, goal, noise, seed)
    for label, score in scores.items():
        there = np.isfinite(goal) & ~np.isnan(score).any(axis=0)
        enough = half_have(there, np.isfinite(goal))
        said = _row(score[:, there], goal[there], grid.where(there), resamples, seed) if enough else _nothing(there)
        n_configurations = len(np.unique(grid.configuration[there]))
        rows.append({"measure": label, "n": int(networks[there].sum()), "configurations": n_configurations, **said})
    return pd.DataFrame(rows)


def regretted(frame: pd.DataFrame) -> list[str]:
    """Those of TARGETS of which two networks of a records frame have a value, at one stop."""
    possible = possible_targets(frame)
    known = [t for t in TARGETS if t in possible] or targets(frame)
    return [target for target in known if int(np.isfinite(values(frame, target)).sum()) > 1]


def baselines(frame: pd.DataFrame, goal: Floats, noise: Sequence[float] = NOISE, seed: int = 0) -> dict[str, Floats]:
    """Scores (draws, n) of what a measure is compared with, by name; the training loss and the order where they are."""
    loss = values(frame, "train.loss" if f"measure.{_LOSS}" not in frame.columns else f"measure.{_LOSS}")
    order = canonical(frame)
    found = {_LOSS: loss[None], "canonical_ordering": order[None], "random_choice": np.zeros((1, len(frame)))}
    found = {name: score for name, score in found.items() if not np.isnan(score).all()}
    drawn = np.random.default_rng([seed, len(frame)]).normal(size=(DRAWS, len(frame)))
    return found | {f"oracle({size})": goal + size * drawn for size in noise}


def canonical(frame: pd.DataFrame) -> Floats:
    """The ranks of the levels of each hyperparameter of CANONICAL, each from 0 to 1, added up (n,); NaN without any.

    Where a factor of the learning rate varies, it stands for it: the rates of several optimizers are no one order.
    """
    total = np.full(len(frame), np.nan)
    numbers = frame.select_dtypes("number")  # of a ledger a width may be a text
    by_factor = "hp.lr_factor" in numbers and len(numbers["hp.lr_factor"].unique()) > 1
    for column, sign in CANONICAL.items():
        if column == "hp.lr" and by_factor:
            continue
        levels, place = np.unique(sign * values(numbers, column), return_inverse=True)
        if len(levels) > 1 and not np.isnan(levels).any():
            total = np.where(np.isnan(total), 0.0, total) + place / (len(levels) - 1)
    return total.round(12)  # opposite orders of one axis' hyperparameters cancel to ties


def outcome(scores: Floats, goal: Floats, weights: NDArray[np.floating]) -> Floats:
    """SAID, (3, B), of scores (draws, n) with goal (n,), means over the draws; `weights` (n, B): how often each is
    there. NaN where none is; a normalized regret is NaN where all of the goal is one value."""
    order, level = _ordered(goal)
    mass, value = _sums(weights, order, level), goal[order][level]
    total = mass.sum(axis=0)
    most = np.maximum(np.ceil(_SHARE * total - 1e-6), 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        best = value[(mass > 0).argmax(axis=0)]
        bound = value[(np.cumsum(mass, axis=0) >= most).argmax(axis=0)]
        chance = (goal @ weights) / total - best
        good = weights * (goal[:, None] <= bound)
        found = np.mean([_picked(score, goal, weights, good, most) for score in scores], axis=0)
        regret = np.maximum(found[0] - best, 0)
        close = 1e-12 * np.abs(goal).max(initial=0.0)
        return np.where(total > 0, [regret, np.where(chance > close, regret / chance, np.nan), found[1]], np.nan)


def _picked(
    score: Floats, goal: Floats, weights: NDArray[np.floating], good: NDArray[np.floating], most: Floats
) -> Floats:
    """The goal of the smallest score, and hits, (2, B)."""
    order, level = _ordered(score)
    mass, of_goal, hits = (_sums(w, order, level) for w in (weights, weights * goal[:, None], good))
    first = (mass > 0).argmax(axis=0)[None]
    before = np.cumsum(mass, axis=0) - mass
    share = np.where(mass > 0, np.clip((most - before) / mass, 0, 1), 0)
    least = np.take_along_axis(of_goal, first, axis=0) / np.take_along_axis(mass, first, axis=0)
    return np.stack([least[0], (share * hits).sum(axis=0) / most])


def _ordered(x: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The order of x (n,) from the smallest, and where in it each new value begins."""
    order = np.argsort(x, kind="stable")
    return order, np.flatnonzero(np.concatenate([[True], x[order][1:] != x[order][:-1]]))


def _sums(weights: NDArray[np.floating], order: NDArray[np.int64], level: NDArray[np.int64]) -> Floats:
    return np.add.reduceat(np.asarray(weights[order], dtype=np.float64), level, axis=0)


def _row(score: Floats, goal: Floats, grid: Design, resamples: int, seed: int) -> dict[str, object]:
    point, drawn = outcome(score, goal, np.ones((len(goal), 1)))[:, 0], grid.resampling
    chunks = drawn.chunks(resamples, seed) if resamples and drawn.names else ()
    parts = [outcome(score, goal, counts[drawn.unit]) for counts in chunks]
    replicates = np.concatenate(parts, axis=1) if parts else np.full((len(SAID), 1), np.nan)
    row: dict[str, object] = {}
    reasons = []
    for name, value, each in zip(SAID, point, replicates, strict=True):
        bounds = percentile(float(value), each, probability=drawn.probability if parts else None)
        row |= {name: float(value), f"{name}.low": bounds.low, f"{name}.high": bounds.high}
        reasons.append(bounds.reason)
    said = "; ".join(dict.fromkeys(filter(None, reasons))) if parts else ""
    return row | {"note": said if drawn.names else NONE}


def _nothing(there: NDArray[np.bool_]) -> dict[str, object]:
    why = "less than half have a value" if there.any() else "no value"
    return {f"{name}{end}": np.nan for name in SAID for end in ("", ".low", ".high")} | {"note": why}
