"""How stable the measures' order is: tau-b against the number of networks, for nested random sets of configurations."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.stats import kendalltau

from analysis.columns import at_stop, configurations, targets, values
from analysis.drawing import style
from analysis.exclude import exclude
from analysis.figures import Lacking
from analysis.selection import trained
from analysis.vocabulary import measure_words, target_words

TITLE = (
    "Rank stability: τ_b against the number of networks (median and central 80% of 40 random sets of configurations)"
)
_DRAWS = 40
_POINTS = 6
_MEASURES = 6  # lines that one panel can carry


def build(frame: pd.DataFrame) -> Figure:
    """Lines for the first measures; at the main stop, first target; seeded, so the same frame gives the same figure."""
    kept, _ = exclude(at_stop(frame))
    available = targets(kept)
    names = trained(kept)[:_MEASURES]
    group = configurations(kept) if len(kept) else np.zeros(0, dtype=np.int64)
    if not available or len(set(group.tolist())) < 8:
        raise Lacking("a gap and eight configurations")
    networks, low, middle, high = curves(kept, names, available[0], group)
    with style.paper_style():
        figure = Figure(figsize=(style.COLUMN, 2.4))
        axes = figure.subplots()
        axes.axhline(0, color="#999999", linewidth=0.6)
        for k, name in enumerate(names):
            colour, marker = style.colour(name), style.marker(name)
            axes.fill_between(networks, low[:, k], high[:, k], color=colour, alpha=0.12, linewidth=0)
            axes.plot(networks, middle[:, k], color=colour, marker=marker, markersize=3, label=measure_words(name))
        axes.set(
            xlabel="networks",
            ylabel=rf"$\tau_b$ with the {target_words(available[0])}",
            ylim=(-1.02, 1.02),
        )
        figure.legend(loc="outside lower center", ncols=2, handletextpad=0.4, columnspacing=1.0)
    return figure


def curves(
    frame: pd.DataFrame, names: list[str], target: str, group: NDArray[np.int64]
) -> tuple[NDArray[np.float64], ...]:
    """Mean networks a set (points,), then the 10th, 50th and 90th percentile of tau-b, each (points, measures)."""
    gap = values(frame, target)
    n_configurations = int(group.max()) + 1
    sizes = np.unique(np.linspace(4, n_configurations, _POINTS).round().astype(int))
    found = np.full((len(sizes), _DRAWS, len(names)), np.nan)
    networks = np.zeros((len(sizes), _DRAWS))
    for draw in range(_DRAWS):
        place = np.random.default_rng([0, draw]).permutation(n_configurations)[group]
        for s, size in enumerate(sizes):
            chosen = place < size
            networks[s, draw] = chosen.sum()
            for k, name in enumerate(names):
                x = values(frame, f"measure.{name}")
                there = chosen & ~np.isnan(x) & ~np.isnan(gap)
                a, b = x[there], gap[there]
                if len(a) > 1 and (a != a[0]).any() and (b != b[0]).any():
                    found[s, draw, k] = kendalltau(a, b).statistic
    spread = [_quantile(found, q) for q in (0.1, 0.5, 0.9)]
    return networks.mean(axis=1), *spread


def _quantile(found: NDArray[np.float64], q: float) -> NDArray[np.float64]:
    """Quantile over draws, of those where tau is defined; NaN where it never is."""
    missing = np.isnan(found)
    filled = np.sort(np.where(missing, np.inf, found), axis=1)
    last = found.shape[1] - missing.sum(axis=1) - 1
    at = np.clip(q * last, 0, None)
    low, high = np.floor(at).astype(int), np.ceil(at).astype(int)

    def pick(index: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.take_along_axis(filled, index[:, None, :], axis=1)[:, 0, :]

    below, above = pick(low), pick(high)
    known = last >= 0
    return np.where(known, np.where(known, below, 0) + (at - low) * np.where(known, above - below, 0), np.nan)
