"""Relative flatness and the Hessian trace against the gap, layer by layer: with the weights and without them."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from analysis.columns import at_stop, layers, measures, targets
from analysis.drawing import style
from analysis.exclude import exclude
from analysis.figures import Lacking
from analysis.figures.scatter import panels

TITLE = "Relative flatness (top) and the Hessian trace (bottom) of each layer against the generalization gap"
_PAIR = ("relative_flatness", "hessian_trace")
_LAYERS = 4  # panels across two columns


def build(frame: pd.DataFrame) -> Figure:
    """One panel a measure and layer (the last four layers of a deep network); at the main stop, first target."""
    kept, _ = exclude(at_stop(frame))
    available = targets(kept)
    shown = [m for m in _PAIR if m in measures(kept) and layers(kept, m)]
    if len(kept) < 2 or not available or not shown:
        raise Lacking("relative_flatness or hessian_trace with a column a layer, and two networks with a gap")
    labels = [f"{m}.{layer}" for m in shown for layer in layers(kept, m)[-_LAYERS:]]
    across = len(layers(kept, shown[0])[-_LAYERS:])
    with style.paper_style():
        return panels(kept, labels, available[0], across)
