"""Which measures say the same, and what one adds to another: tau-b among measures, and gaps predicted from them.

A gap is predicted for networks that the model was not fitted to: a configuration is left out with all its seeds, the
rest is fitted (with more than MOST_FITS configurations, that many groups of them in turn). R^2 is 1 less the sum of
squared errors over that of the fitted networks' mean; 0 is no better than that mean, and below 0 is worse. The linear
model is least squares; the monotone one is isotonic regression, rising or falling as fits better, and between the
fitted values a line.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import optimize, stats
from scipy.cluster import hierarchy
from scipy.spatial.distance import squareform

from analysis.columns import check_frame, configurations, measures, values
from analysis.statistics.association.partial import controls

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
MOST_FITS = 100
FEWEST = 5  # configurations, below which nothing is predicted; ours


def agreement(frame: pd.DataFrame, labels: Sequence[str] | None = None) -> pd.DataFrame:
    """Tau-b of every two measures over the networks that have both, of a records frame of one stop; labels both ways.

    NaN where less than half of the networks have both: three networks say of any two measures that they agree.
    The measures are in the order of average linkage on 1 - |tau-b|, so that those that agree stand side by side.
    """
    names = list(measures(frame) if labels is None else labels)
    table = _tau_b(np.stack([values(frame, f"measure.{name}") for name in names])) if names else np.empty((0, 0))
    order = _clustered(table)
    return pd.DataFrame(table[np.ix_(order, order)], [names[i] for i in order], [names[i] for i in order])


def prediction(frame: pd.DataFrame, target: str = "gap.loss", labels: Sequence[str] | None = None) -> pd.DataFrame:
    """How well each measure predicts the target alone and beside training loss and norm; a frame of one stop.

    Columns: measure, n, configurations, r2_linear, r2_monotone, and for each control that the frame has, over those of
    the networks that have it, r2_<control> of it alone and added_to_<control>: what the linear model of both has more.
    An infinite value counts as missing.
    """
    check_frame(frame, target)
    gap, group = values(frame, target), configurations(frame)
    held = {name.split()[-1]: values(frame, column) for name, column in controls(frame).items()}
    rows = []
    for label in measures(frame) if labels is None else labels:
        x = values(frame, f"measure.{label}")
        there = np.isfinite(np.stack([x, gap])).all(axis=0)
        y, one = gap[there], _folds(group[there])
        row = {"measure": label, "n": int(there.sum()), "configurations": len(np.unique(group[there]))}
        row |= {"r2_linear": linear([x[there]], y, one), "r2_monotone": monotone(x[there], y, one)}
        for name, control in held.items():
            known = there & np.isfinite(control)
            goal, fold = gap[known], _folds(group[known])
            alone = linear([control[known]], goal, fold)
            both = linear([control[known], x[known]], goal, fold)
            same = np.array_equal(control[known], x[known])
            row |= {f"r2_{name}": alone, f"added_to_{name}": np.nan if same else both - alone}
        rows.append(row)
    return pd.DataFrame(rows)


def linear(columns: Sequence[Floats], y: Floats, fold: Ints) -> float:
    """R^2 of y (n,) by least squares on columns (n,) each, every fold 0, 1, ... predicted from the others; see above.

    Cost O(n) a column squared: what a fold adds to the normal equations is taken from those of all.
    """
    n_folds = int(fold.max(initial=-1)) + 1
    if n_folds < FEWEST:
        return np.nan
    design = np.stack([np.ones(len(y)), *map(_standard, columns)], axis=1)
    scaled = _standard(y)
    moments = np.zeros((n_folds, design.shape[1], design.shape[1] + 1))
    np.add.at(moments, fold, design[:, :, None] * np.column_stack([design, scaled])[:, None, :])
    rest = moments.sum(axis=0) - moments
    inverse = np.linalg.pinv(rest[:, :, :-1], rcond=1e-10, hermitian=True)
    weights = np.einsum("fij,fj->fi", inverse, rest[:, :, -1])
    return _r_squared((design * weights[fold]).sum(axis=1), scaled, fold)


def monotone(x: Floats, y: Floats, fold: Ints) -> float:
    """R^2 of y (n,) by isotonic regression on x (n,), as `linear`."""
    n_folds = int(fold.max(initial=-1)) + 1
    if n_folds < FEWEST:
        return np.nan
    scaled, said = _standard(y), np.empty(len(y))
    for left_out in range(n_folds):
        out = fold == left_out
        said[out] = _isotonic(x[~out], scaled[~out], x[out])
    return _r_squared(said, scaled, fold)


def _isotonic(x: Floats, y: Floats, at: Floats) -> Floats:
    """The better one of the rising and the falling fit of y to x, read at other places."""
    places, where, count = np.unique(x, return_inverse=True, return_counts=True)
    mean = np.bincount(where.reshape(-1), weights=y) / count
    fits = [optimize.isotonic_regression(mean, weights=count, increasing=rising).x for rising in (True, False)]
    best = min(fits, key=lambda fit: float((count * (mean - fit) ** 2).sum()))
    return np.interp(at, places, best)


def _r_squared(said: Floats, y: Floats, fold: Ints) -> float:
    """1 - sum (y - said)^2 / sum (y - mean of the other folds)^2."""
    sums, sizes = np.bincount(fold, weights=y), np.bincount(fold)
    mean = ((y.sum() - sums) / (len(y) - sizes))[fold]
    total = float(((y - mean) ** 2).sum())
    return 1 - float(((y - said) ** 2).sum()) / total if total > 0 else np.nan


def _standard(x: Floats) -> Floats:
    """The same values moved and scaled, which no prediction notices, but powers of 1e160 would."""
    largest = np.abs(x).max(initial=0.0)
    part = x / largest if largest > 0 else x
    spread = float(part.std()) if len(part) else 0.0
    return (part - part.mean()) / spread if spread > 1e-12 else part * 0


def _folds(group: Ints) -> Ints:
    """Configurations numbered from 0, in MOST_FITS groups where there are more."""
    return np.unique(group, return_inverse=True)[1].reshape(-1) % MOST_FITS


def _tau_b(columns: Floats) -> Floats:
    """Tau-b of every two rows of (m, n), (m, m), from the signs of all pairs of networks, some networks at a time."""
    m, n = columns.shape
    # An infinity is an ordered value. Ranks are whole or halves: exact in 32 bits.
    ranks = stats.rankdata(columns, axis=1, nan_policy="omit").astype(np.float32)
    there = ~np.isnan(ranks)
    product, untied = np.zeros((2, m, m))
    step = max(1, 2**20 // max(1, m * n))
    for at in range(0, n, step):
        inside, behind = slice(at, at + step), slice(at + step, n)
        for others, times in ((inside, 1), (behind, 2)):  # of a pair within, both orders are there
            sign = np.sign(ranks[:, inside, None] - ranks[:, None, others]).reshape(m, -1)
            both = (there[:, inside, None] & there[:, None, others]).reshape(m, -1).astype(np.float32)
            sign[both == 0] = 0
            product += times * (sign @ sign.T)  # of row i: its pairs without a tie among those that row j has, too
            untied += times * (np.abs(sign, out=sign) @ both.T)
    both = there.astype(np.float64)
    enough = (2 * (both @ both.T) >= n) & (untied > 0) & (untied.T > 0)
    table = np.full((m, m), np.nan)
    np.divide(product, np.sqrt(untied * untied.T), out=table, where=enough)
    np.fill_diagonal(table, 1.0)
    return table


def _clustered(table: Floats) -> list[int]:
    if len(table) < 3:
        return list(range(len(table)))
    distance = 1 - np.abs(np.nan_to_num(table))
    np.fill_diagonal(distance, 0)
    return list(hierarchy.leaves_list(hierarchy.linkage(squareform(distance, checks=False), "average")))
