"""How far each measure moves when the rescaling factor runs over orders of magnitude: flat is invariant."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.columns import at_stop
from analysis.drawing import coinciding, style
from analysis.drawing.looks import looks
from analysis.exclude import exclude
from analysis.figures import Lacking
from analysis.selection import transforms
from analysis.statistics.reparameterization import NEEDS_FACTORS, median_ratio
from analysis.vocabulary import measure_words
from study.names import Label
from study.transforms.rescaling import given_factor

TITLE = (
    "Each measure after rescaling by a factor, over its value before (median over networks); where lines coincide, "
    "their dashes take turns and their markers stand side by side; a factor of 1 is the network itself"
)


def build(frame: pd.DataFrame) -> Figure:
    """One line a measure over the factors of its factor_<a> transforms; at the main stop."""
    kept, _ = exclude(at_stop(frame))
    lines = ratios(kept)
    if not lines:
        raise Lacking(NEEDS_FACTORS)
    with style.paper_style():
        figure = Figure(figsize=(style.COLUMN, 1.8))
        axes = figure.subplots()
        handles = coinciding.draw(axes, lines, looks(frame), without=[1.0])  # the network itself: nothing measured
        axes.set(xlabel="factor", ylabel="after / before")
        style.legend(figure, handles, [measure_words(name) for name in lines])
    return figure


def ratios(frame: pd.DataFrame) -> dict[str, tuple[list[float], list[float]]]:
    """Measure -> (factors in order, median over networks of after / before); the factor 1 is before itself."""
    found: dict[str, list[tuple[float, float]]] = {}
    for name, factors in transforms(frame, sweep=True).items():
        label = Label.parse(name)
        for transform in factors:
            factor = given_factor(transform)
            ratio = median_ratio(frame, label.column, label.at(transform=transform).column)
            if factor is not None and np.isfinite(ratio):
                found.setdefault(name, [(1.0, 1.0)]).append((factor, ratio))
    return {name: ([f for f, _ in sorted(p)], [r for _, r in sorted(p)]) for name, p in found.items()}
