"""How far each measure moves when the rescaling factor runs over orders of magnitude: flat is invariant."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis import style
from analysis.exclude import exclude
from analysis.figures import Lacking
from analysis.load import at_stop, measures, values

TITLE = "Each measure after rescaling by a factor, over its value before (median over networks)"
_FACTOR = re.compile(r"factor_(\d+(?:\.\d+)?(?:e[+-]?\d+)?)")


def build(frame: pd.DataFrame) -> Figure:
    """One line a measure over the factors of its factor_<a> transforms; at the main stop."""
    kept, _ = exclude(at_stop(frame))
    lines = ratios(kept)
    if not lines:
        raise Lacking("measures of networks rescaled by given factors (columns measure.<label>@factor_<a>)")
    with style.paper_style():
        figure = Figure(figsize=(style.COLUMN, 2.4))
        axes = figure.subplots()
        for name, line in lines.items():
            look = style.look(name)
            axes.plot(*line, color=look.colour, marker=look.marker, markersize=3, label=look.words)
        axes.set(xscale="log", yscale="log", xlabel="factor", ylabel="after / before")
        figure.legend(loc="outside lower center", ncols=2, handletextpad=0.4, columnspacing=1.0)
    return figure


def ratios(frame: pd.DataFrame) -> dict[str, tuple[list[float], list[float]]]:
    """Measure -> (factors in order, median over networks of after / before); the factor 1 is before itself."""
    found: dict[str, list[tuple[float, float]]] = {}
    for label in style.ordered(measures(frame)):
        name, _, transform = label.partition("@")
        match = _FACTOR.fullmatch(transform)
        before = values(frame, f"measure.{name}")
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio = values(frame, f"measure.{label}") / before
        known = ratio[np.isfinite(ratio) & (ratio > 0)]
        if match and len(known):
            found.setdefault(name, [(1.0, 1.0)]).append((float(match[1]), float(np.median(known))))
    return {name: ([f for f, _ in sorted(p)], [r for _, r in sorted(p)]) for name, p in found.items()}
