"""Two measures against the gap, layer by layer: one with the weights in it, one without, say."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from analysis.columns import at_stop, layers, targets
from analysis.drawing import style
from analysis.exclude import exclude
from analysis.figures import Lacking
from analysis.figures.scatter import panels
from analysis.selection import few, trained
from study.names import Label

TITLE = "Two measures of each layer (the last four of a deep network) against the generalization gap, a row a measure"
_MEASURES = 2
_LAYERS = 4  # panels across two columns


def build(frame: pd.DataFrame, measures: Sequence[str] = ()) -> Figure:
    """One panel a measure and layer (the last four layers of a deep network); at the main stop, first target."""
    kept, _ = exclude(at_stop(frame))
    available = targets(kept)
    shown = few(measures, [m for m in trained(kept) if layers(kept, m)], _MEASURES)
    if len(kept) < 2 or not available or not shown:
        raise Lacking("a measure with a column a layer (measure.<label>.<layer>) and two networks with a gap")
    labels = [str(Label.parse(m).at(layer=layer)) for m in shown for layer in layers(kept, m)[-_LAYERS:]]
    across = len(layers(kept, shown[0])[-_LAYERS:])
    with style.paper_style():
        return panels(kept, labels, available[0], across)
