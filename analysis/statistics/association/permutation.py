"""Chance: permutation p-values within blocks, of many measures at once, and what a correlation within blocks is.

An analytic p assumes independent networks, which a grid is not. Here the levels of each axis are exchanged as a whole
(see exchange), those of the blocks' own axes staying: data set and model, or the setting that is shared. Where the
blocks are the configurations, their networks are exchanged, which differ in the seed alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from analysis.columns import axes, axis_columns, check_frame, codes, hyperparameters, measures, values
from analysis.statistics.association.coefficients import RESAMPLES
from analysis.statistics.association.within_groups import interval_within, within_blocks
from analysis.statistics.resampling.design import Design, design
from analysis.statistics.resampling.exchange import cell_places, coordinates, level_orders, orders, run_orders
from analysis.statistics.resampling.multiple import benjamini_hochberg
from analysis.vocabulary import hyperparameter_words

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
BLOCKS = ("hp.dataset", "hp.model")
WHOLE = "data set and model"  # within which networks are, at least
_MOST = 4  # axes; a grid of more has a statistic of its own for that, granulated


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
    frame: pd.DataFrame,
    target: str,
    labels: Sequence[str],
    permutations: int = RESAMPLES,
    resamples: int = RESAMPLES,
) -> pd.DataFrame:
    """`permutation` within each of `settings`, under one another, with the column within; no p of 0 permutations."""
    parts = []
    for within, blocks in settings(frame).items():
        part = permutation(frame, target, labels, blocks, permutations, resamples)
        part.insert(1, "within", within)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def permutation(
    frame: pd.DataFrame,
    target: str = "gap.loss",
    labels: Sequence[str] | None = None,
    blocks: Sequence[str] = BLOCKS,
    permutations: int = RESAMPLES,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> pd.DataFrame:
    """Two-sided permutation p of every measure, and Benjamini-Hochberg's q over them; a records frame of one stop.

    The statistic is the correlation of cells' mean ranks (of runs' ranks where runs are exchanged), less their block's
    mean: it orders permutations as tau nearly does and costs one matrix product for all measures. p is the share of all
    orders of the levels that reach it, or, where there are more than `permutations`, (1 + hits) / (1 + permutations).
    Columns: measure, n, pearson and spearman (of what is left of values, and of their ranks, when the block's mean is
    removed; bounds of the first for new levels), p_permutation, p_least (below which the grid, or their number, allows
    no p), q_bh, note; NaN, with the note saying why, where nothing can be exchanged.
    """
    check_frame(frame, target)
    names = measures(frame) if labels is None else list(labels)
    gap, grid = values(frame, target), design(frame)
    block = codes(frame, [b for b in blocks if b in frame.columns])
    is_seeds = set(blocks) >= set(hyperparameters(frame))
    x = {name: values(frame, f"measure.{name}") for name in names}
    result: dict[str, tuple[int, float, float, str]] = {}
    masks = {name: ~(np.isnan(x[name]) | np.isnan(gap)) for name in names}
    # Measures that miss the same runs share their permutations: one product for all of them.
    for mask in {m.tobytes(): m for m in masks.values()}.values():
        same = [name for name in names if np.array_equal(masks[name], mask)]
        own, of_block = grid.where(mask), block[mask]
        draws = _of_runs(of_block, permutations, seed) if is_seeds else _of_levels(own, blocks, permutations, seed)
        ranks = np.stack([stats.rankdata(x[name][mask]) for name in same]), stats.rankdata(gap[mask])
        p, why = _p_values(*ranks, of_block, draws)
        found = zip(same, p, why, strict=True)
        result |= {name: (int(mask.sum()), float(value), draws.least, note) for name, value, note in found}
    rows = []
    for name in names:
        n, p_value, least, note = result[name]
        bounds = interval_within(x[name], gap, block, grid, resamples, seed)
        rest = [within_blocks(x[name], gap, block, of_ranks) for of_ranks in (False, True)]
        reason = f"no interval for pearson: {bounds.reason}" if bounds.reason and np.isfinite(rest[0]) else ""
        known = least if np.isfinite(p_value) else np.nan
        rows.append((name, n, rest[0], bounds.low, bounds.high, rest[1], p_value, known, note or reason))
    columns = ["measure", "n", "pearson", "pearson.low", "pearson.high", "spearman", "p_permutation", "p_least", "note"]
    table = pd.DataFrame(rows, columns=columns)
    table.insert(8, "q_bh", benjamini_hochberg(table["p_permutation"]))
    return table


@dataclass(frozen=True)
class _Draws:
    """What is exchanged: each run's cell (n,), chunks of which cell stands in whose place, the least p; or why not."""

    cell: Ints
    chunks: Iterable[Ints]
    least: float
    is_exact: bool
    reason: str = ""


def _of_levels(grid: Design, blocks: Sequence[str], permutations: int, seed: int) -> _Draws:
    axes_ = coordinates(grid.axes)
    free = [not set(axis_columns([axis.name])) & set(blocks) for axis in axes_]
    n_orders = orders(axes_, free)
    if n_orders < 2 or not permutations:
        reason = "" if n_orders > 1 else "no axis has two levels to exchange"
        return _Draws(np.zeros(len(grid.configuration), dtype=np.int64), (), np.nan, False, reason)
    cell, cells, reason = cell_places(axes_)
    if reason:
        return _Draws(cell, (), np.nan, False, reason)
    is_exact = n_orders <= permutations
    chunks = level_orders(axes_, free, cells, permutations, seed)
    return _Draws(cell, chunks, 1 / n_orders if is_exact else 1 / (1 + permutations), is_exact)


def _of_runs(block: Ints, permutations: int, seed: int) -> _Draws:
    cell = np.arange(len(block))
    if np.bincount(block, minlength=1).max() < 2:
        return _Draws(cell, (), np.nan, False, "no two runs of one configuration")
    least = 1 / (1 + permutations) if permutations else np.nan
    return _Draws(cell, run_orders(block, permutations, seed), least, False)


def _p_values(x: Floats, y: Floats, block: Ints, draws: _Draws) -> tuple[Floats, list[str]]:
    """p of the ranks of each measure, x (measures, n), with those of the target, y (n,); and why it has none."""
    undefined = np.full(len(x), np.nan)
    if len(y) < 2:
        return undefined, [f"{len(y)} run{'s' * (len(y) != 1)} with a value"] * len(x)
    if draws.reason:
        return undefined, [draws.reason] * len(x)
    n_cells = int(draws.cell.max()) + 1
    size = np.bincount(draws.cell)
    rows = np.stack([np.bincount(draws.cell, weights=_centred(v, block), minlength=n_cells) for v in (*x, y)]) / size
    measures_, gap = rows[:-1], rows[-1]
    observed = _correlation(measures_, gap, np.arange(n_cells)[:, None])[:, 0]
    hits, count = np.zeros(len(x)), 0
    for places in draws.chunks:
        found = _correlation(measures_, gap, places)
        hits += (np.isnan(found) | (np.abs(found) >= np.abs(observed)[:, None] - 1e-9)).sum(axis=1)
        count += places.shape[1]
    more = 0 if draws.is_exact else 1
    p = (more + hits) / (more + count) if count else undefined
    constant = np.isnan(observed)
    return np.where(constant, np.nan, p), ["constant within blocks" if c else "" for c in constant]


def _centred(ranks: Floats, block: Ints) -> Floats:
    """Ranks less their mean of each block; of a block that is constant 0, to the last digit."""
    rest = ranks - (np.bincount(block, weights=ranks) / np.maximum(np.bincount(block), 1))[block]
    return np.where(np.abs(rest) < 1e-9 * len(ranks), 0.0, rest)


def _correlation(x: Floats, y: Floats, places: Ints) -> Floats:
    """r of each row of x (m, cells) with y (cells,) as `places` (cells, B) moves it, over the cells that meet one."""
    there = (places >= 0).astype(np.float64)
    moved = np.where(places >= 0, y[places], 0.0)
    n = there.sum(axis=0)
    of_x, of_y = x @ there, moved.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        spread_x = (x * x) @ there - of_x**2 / n
        spread_y = (moved * moved).sum(axis=0) - of_y**2 / n
        r = (x @ moved - of_x * of_y / n) / np.sqrt(spread_x * spread_y)
    scale = 1e-12 * len(y) ** 3  # of sums of squares of ranks: what is below is rounding
    return np.where((spread_x > scale) & (spread_y > scale), r, np.nan)
