"""Does a measure that ranks the gap here rank it in another study? A point a measure: tau-b there across, here up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.columns import at_stop, main_stop, targets
from analysis.drawing import style
from analysis.drawing.looks import Look, Looks, looks
from analysis.exclude import exclude
from analysis.figures import Lacking
from analysis.statistics.association.coefficients import RESAMPLES
from analysis.statistics.beside.order import LEAST
from analysis.statistics.beside.replication import Other, order_in_both, replication
from analysis.vocabulary import family, measure_words, ordered, target_words

TITLE = (
    "Rank correlation τ_b with the gap in another study (across) and here (up), a measure each; numbered those whose "
    "95% interval leaves zero out in either, with both intervals; above, τ_b of the measures' order, with its "
    "95% interval for other families of measures"
)
NEEDS = f"a study beside it (`beside` in its file of analysis/studies) with {LEAST} measures that both have"


def build(frame: pd.DataFrame, others: Sequence[Other] = (), resamples: int = RESAMPLES) -> Figure:
    """A panel a study beside it; main stop and first target. Raises Lacking where there is none."""
    kept, _ = exclude(at_stop(frame))
    target = next(iter(targets(kept)), "")
    stop = main_stop(frame) if target else ""
    some = others if target and len(kept) > 1 else ()
    every = [(one, replication(kept, one.kept[one.like(stop)], target, resamples)) for one in some]
    shown = [(one, both, order_in_both(both)) for one, both in every]
    shown = [two for two in shown if two[2]]
    if not shown:
        raise Lacking(NEEDS)
    told = ordered({str(name) for _, both, _ in shown for name in both[_leaves_zero_out(both)]["measure"]})
    own = looks(frame)
    numbered = {name: Look(own.of(name).colour, f"${at}$") for at, name in enumerate(told, 1)}
    with style.paper_style():
        figure = Figure(figsize=(style.PAGE if len(shown) > 1 else style.COLUMN, 3.4))
        grid = figure.subplots(1, len(shown), squeeze=False).ravel().tolist()
        for axes, (one, both, found) in zip(grid, shown, strict=True):
            _panel(axes, both, numbered, own)
            axes.set_title(f"{_order_words(found)}, {found['measures']} measures")
            axes.set_xlabel(rf"$\tau_b$ in {one.name}, {_words(one.like(stop))}")
        grid[0].set_ylabel(rf"$\tau_b$ here with the {target_words(target)}, {_words(stop)}")
        names = [str(name) for _, both, _ in shown for name in both["measure"]]
        kinds = {family(name): own.of(name).colour for name in names if family(name)}
        handles = [Line2D([], [], marker="o", linestyle="", markersize=3, color=c) for c in kinds.values()]
        handles += [Line2D([], [], **_drawn(numbered[name])) for name in told]
        style.legend(figure, handles, [*kinds, *map(measure_words, told)])
    return figure


def _leaves_zero_out(both: pd.DataFrame) -> pd.Series[bool]:
    sides = [(both[f"{name}.low"] > 0) | (both[f"{name}.high"] < 0) for name in ("tau_b", "there_tau_b")]
    return sides[0] | sides[1]


def _words(stop: str) -> str:
    return stop.replace("_", " ")


def _order_words(found: dict[str, float]) -> str:
    known = not np.isnan(found["order.low"])
    interval = f" [{style.two(found['order.low'])}, {style.two(found['order.high'])}]" if known else ""
    return rf"$\tau_b$ {style.two(found['order'])}{interval}"


def _panel(axes: Axes, both: pd.DataFrame, numbered: dict[str, Look], every: Looks) -> None:
    """The lines on which there is nothing and on which both are the same; the numbered measures above the others."""
    axes.axhline(0, **style.ZERO)
    axes.axvline(0, **style.ZERO)
    axes.plot([-1, 1], [-1, 1], **style.ZERO)
    for row in both.to_dict("records"):
        name = str(row["measure"])
        if name not in numbered:
            axes.plot(row["there_tau_b"], row["tau_b"], "o", color=every.of(name).colour, markersize=2, alpha=0.6)
            continue
        look = numbered[name]
        for x, y in (("there_tau_b", ("tau_b.low", "tau_b.high")), (("there_tau_b.low", "there_tau_b.high"), "tau_b")):
            across = [row[x]] * 2 if isinstance(x, str) else [row[at] for at in x]
            up = [row[y]] * 2 if isinstance(y, str) else [row[at] for at in y]
            axes.plot(across, up, color=look.colour, linewidth=0.4, alpha=0.4)
        axes.plot(row["there_tau_b"], row["tau_b"], **_drawn(look))
    axes.set(xlim=(-1.05, 1.05), ylim=(-1.05, 1.05), xticks=np.linspace(-1, 1, 5), yticks=np.linspace(-1, 1, 5))


def _drawn(look: Look) -> dict[str, Any]:
    size = 6 if len(look.marker) > 3 else 4  # two digits
    return {"marker": look.marker, "color": look.colour, "markersize": size, "markeredgewidth": 0.3, "linestyle": ""}
