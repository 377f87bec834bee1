"""Heat map of tau-b among measures, clustered: which of them say the same of the same networks."""

from __future__ import annotations

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from analysis.columns import at_stop
from analysis.drawing import style
from analysis.exclude import exclude
from analysis.figures import Lacking
from analysis.selection import trained
from analysis.statistics.redundancy import agreement
from analysis.vocabulary import measure_words, ordered

TITLE = "Which measures say the same: rank correlation (τ_b) of every two, those that agree side by side"

_ANNOTATED = 14  # measures with room for a number in each cell; ours


def build(frame: pd.DataFrame) -> Figure:
    """Measures down and across in the order of average linkage on 1 - |tau-b|; at the main stop. Missing is grey.

    Of many measures, those that rank all networks alike are one row, and rows are numbered: the label says which.
    """
    kept, _ = exclude(at_stop(frame))
    table = agreement(kept, trained(kept))
    off = table.to_numpy()[~np.eye(len(table), dtype=bool)]
    if len(table) < 2 or np.isnan(off).all():
        raise Lacking("two measures that vary among the networks kept")
    many = len(table) > style.MANY
    alike = _alike(table) if many else {}
    table = table.loc[list(alike), list(alike)] if many else table
    with style.paper_style():
        figure = Figure(figsize=_size(len(table)), label=_said(alike))
        panel = figure.subplots()
        panel.set_facecolor("#dddddd")
        sns.heatmap(
            table, ax=panel, vmin=-1, vmax=1, cmap="RdBu_r", fmt="", mask=np.isnan(table),
            linewidths=0 if many else 0.3,
            annot=table.map(style.two) if len(table) <= _ANNOTATED else None, annot_kws={"fontsize": style.SMALL},
            cbar_kws={"label": r"$\tau_b$", "aspect": 30, "ticks": [-1, -0.5, 0, 0.5, 1]},
        )  # fmt: skip
        words = [measure_words(name) for name in table.index]
        places = np.arange(len(words))
        if many:
            panel.set_yticks(places + 0.5, [f"{one}  {at + 1}" for at, one in enumerate(words)], rotation=0)
            panel.set_xticks(places[4::5] + 0.5, [str(at + 1) for at in places[4::5]], rotation=0)
        else:
            panel.set_yticks(places + 0.5, words, rotation=0)
            panel.set_xticks(places + 0.5, words, rotation=45, ha="right", rotation_mode="anchor")
        panel.set(xlabel="", ylabel="")
        panel.tick_params(length=0)
    return figure


def _size(n: int) -> tuple[float, float]:
    """Inches: square while the measures stand at both sides; no higher than a page, of which rows are no part alone."""
    width = style.COLUMN if n <= 6 else style.PAGE
    if n <= style.MANY:
        return width, min(width, 1.6 + 0.22 * n)
    return style.PAGE, min(style.of_rows(n)[1], style.HEIGHT)


def _alike(table: pd.DataFrame) -> dict[str, list[str]]:
    """Measure -> others that rank all networks as it does; of measures that vary. The first in the order of tables."""
    same, names = table.to_numpy() > 1 - 1e-12, list(table.index)
    varying = {name for name, row in zip(names, np.isfinite(table.to_numpy()), strict=True) if row.sum() > 1}
    found: dict[str, list[str]] = {}
    for name in filter(varying.__contains__, ordered(names)):
        first = next((one for one in found if same[names.index(one), names.index(name)]), None)
        found.setdefault(first or name, []).extend([name] if first else [])
    return {name: found[name] for name in names if name in found}


def _said(alike: dict[str, list[str]]) -> str:
    """Which measures have no row of their own."""
    both = [
        f"{measure_words(name)}: {', '.join(map(measure_words, others))}" for name, others in alike.items() if others
    ]
    return f"rows that stand for others, too, which rank all networks alike: {'; '.join(both)}" if both else ""
