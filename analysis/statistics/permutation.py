"""Chance: permutation p-values within blocks, of many measures at once, and what a correlation within blocks is.

An analytic p assumes independent networks, which a grid is not. Here the configuration is what is exchanged: all
seeds of one move together, and only between configurations of one block (data set, model) with equally many runs.
Where the blocks are the configurations themselves, their networks are exchanged, which differ in the seed alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from analysis.columns import (
    SEED,
    axes,
    axis_columns,
    check_frame,
    codes,
    configurations,
    hyperparameters,
    measures,
    values,
)
from analysis.statistics.coefficients import RESAMPLES
from analysis.statistics.resample import jackknife
from analysis.statistics.within_groups import within_blocks
from analysis.vocabulary import hyperparameter_words

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
BLOCKS = ("hp.dataset", "hp.model")
WHOLE = "data set and model"  # within which networks are, at least
_MOST = 4  # axes; a grid of more has a statistic of its own for that, granulated
_CHUNK = 250  # permutations at a time, to bound memory; ours


def settings(frame: pd.DataFrame) -> dict[str, list[str]]:
    """What networks may share: words -> columns. All of one data set and model, an axis' setting, a configuration."""
    found = {WHOLE: [b for b in BLOCKS if b in frame.columns]}
    grid = axes(frame)
    if 1 < len(grid) <= _MOST:
        found |= {hyperparameter_words(axis): axis_columns([axis]) for axis in grid}
    if grid and frame.duplicated(hyperparameters(frame)).any():
        found["configuration"] = hyperparameters(frame)
    return found


def within_settings(
    frame: pd.DataFrame, target: str, labels: Sequence[str], permutations: int = RESAMPLES
) -> pd.DataFrame:
    """`permutation` within each of `settings`, under one another, with the column within; no p of 0 permutations."""
    parts = []
    for within, blocks in settings(frame).items():
        part = permutation(frame, target, labels, blocks, permutations)
        part.insert(1, "within", within)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def permutation(
    frame: pd.DataFrame,
    target: str = "gap.loss",
    labels: Sequence[str] | None = None,
    blocks: Sequence[str] = BLOCKS,
    permutations: int = RESAMPLES,
    seed: int = 0,
) -> pd.DataFrame:
    """Two-sided permutation p of every measure, and Benjamini-Hochberg's q over them; a records frame of one stop.

    The statistic is the sum of products of ranks (Spearman's), which orders permutations as tau nearly does and costs
    one matrix product for all measures. p = (1 + hits) / (1 + permutations). Columns: measure, n, pearson and spearman
    (of what is left of values, and of their ranks, when the block's mean is removed; bounds of the first by the
    jackknife over what is compared within a block, the settings of all other hyperparameters, each in all blocks at
    once), p_permutation, q_bh, note; NaN, with the note saying why, where nothing can be exchanged.
    """
    check_frame(frame, target)
    names = measures(frame) if labels is None else list(labels)
    gap, group = values(frame, target), configurations(frame)
    block = codes(frame, [b for b in blocks if b in frame.columns])
    others = [column for column in hyperparameters(frame) if column not in blocks]
    unit = codes(frame, others) if others else group
    if not others:  # a block is a configuration: seeds are what is left to exchange
        group = np.arange(len(frame))
    within = values(frame, SEED)
    x = {name: values(frame, f"measure.{name}") for name in names}
    result: dict[str, tuple[int, float, str]] = {}
    masks = {name: ~(np.isnan(x[name]) | np.isnan(gap)) for name in names}
    # Measures that miss the same runs share their permutations: one product for all of them.
    for mask in {m.tobytes(): m for m in masks.values()}.values():
        same = [name for name in names if np.array_equal(masks[name], mask)]
        at = np.flatnonzero(mask)
        at = at[np.lexsort((within[at], group[at]))]
        p, why = _p_values(np.stack([x[name][at] for name in same]), gap[at], group[at], block[at], permutations, seed)
        result |= {name: (len(at), float(value), note) for name, value, note in zip(same, p, why, strict=True)}
    left = {name: _left(x[name], gap, block, unit) for name in names}
    columns = ["measure", "n", "pearson", "pearson.low", "pearson.high", "spearman", "p_permutation", "note"]
    rows = [(m, result[m][0], *left[m][0], result[m][1], result[m][2] or left[m][1]) for m in names]
    table = pd.DataFrame(rows, columns=columns)
    table.insert(7, "q_bh", benjamini_hochberg(table["p_permutation"]))
    return table


def _left(x: Floats, y: Floats, block: Ints, unit: Ints) -> tuple[tuple[float, float, float, float], str]:
    """Pearson's r with bounds and Spearman's rho within blocks, and why the first has no bounds."""
    pearson, without = within_blocks(x, y, block, unit)
    bounds = jackknife(pearson, without)
    reason = f"no interval for pearson: {bounds.reason}" if bounds.reason and np.isfinite(pearson) else ""
    return (pearson, bounds.low, bounds.high, within_blocks(x, y, block, unit, of_ranks=True)[0]), reason


def benjamini_hochberg(p: ArrayLike) -> Floats:
    """Adjusted p-values (q) that control the false discovery rate; a NaN stays NaN and is not counted as a test."""
    values_ = np.asarray(p, dtype=np.float64)
    q = np.full(len(values_), np.nan)
    there = ~np.isnan(values_)
    m = int(there.sum())
    if m:
        order = np.argsort(values_[there], kind="stable")
        scaled = values_[there][order] * m / np.arange(1, m + 1)
        adjusted = np.minimum(1.0, np.minimum.accumulate(scaled[::-1])[::-1])
        q[np.flatnonzero(there)[order]] = adjusted
    return q


def _p_values(x: Floats, y: Floats, group: Ints, block: Ints, permutations: int, seed: int) -> tuple[Floats, list[str]]:
    """p of each row of x (measures, n) with y (n,), and why it has none; columns sorted by configuration, so that
    one's runs are consecutive."""
    undefined = np.full(len(x), np.nan)
    if len(y) < 2:
        return undefined, [f"{len(y)} run{'s' * (len(y) != 1)} with a value"] * len(x)
    start = np.flatnonzero(np.diff(group, prepend=group[0] - 1))
    size = np.diff(start, append=len(group))
    stratum = np.unique(np.stack([block[start], size], axis=1), axis=0, return_inverse=True)[1].reshape(-1)
    if np.bincount(stratum).max() < 2:
        return undefined, ["no two configurations of one block have equally many runs"] * len(x)
    # Centred within the stratum, every statistic has expectation 0 under exchange, so that two-sided means |T|.
    of_row = np.repeat(stratum, size)
    ranks = stats.rankdata(x, axis=1)
    for s in range(int(stratum.max()) + 1):
        ranks[:, of_row == s] -= ranks[:, of_row == s].mean(axis=1, keepdims=True)
    gap = stats.rankdata(y)
    observed = np.abs(ranks @ gap)
    generator = np.random.default_rng([seed, len(y), permutations])
    hits = np.zeros(len(x))
    for at in range(0, permutations, _CHUNK):
        rows = _exchanged(generator, start, size, stratum, min(_CHUNK, permutations - at))
        hits += (np.abs(ranks @ gap[rows]) >= observed[:, None] * (1 - 1e-12) - 1e-9).sum(axis=1)
    p = (1 + hits) / (1 + permutations) if permutations else undefined
    constant = np.abs(ranks).max(axis=1) < 1e-9
    return np.where(constant, np.nan, p), ["constant within blocks" if c else "" for c in constant]


def _exchanged(generator: np.random.Generator, start: Ints, size: Ints, stratum: Ints, count: int) -> Ints:
    """Row numbers after exchanging whole configurations within their stratum; (n, count)."""
    order = np.argsort(stratum, kind="stable")
    keys = generator.random((len(start), count)) + stratum[order][:, None]
    source = np.empty((len(start), count), dtype=np.int64)
    source[order] = order[np.argsort(keys, axis=0, kind="stable")]
    offset = np.arange(int(size.sum())) - np.repeat(start - start[0], size)
    return start[source][np.repeat(np.arange(len(start)), size)] + offset[:, None]
