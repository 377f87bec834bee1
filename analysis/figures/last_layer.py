"""The source papers' scatter: the last layer's measures against the gap, as trained and reparameterized."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from analysis.exclude import exclude
from analysis.figures import Lacking
from analysis.figures.reparameterization import draw
from analysis.load import at_stop
from analysis.stopwise import targets
from analysis.subject import last_layer, transforms

TITLE = "The last layer alone against the gap, as trained (top) and after every network is reparameterized (bottom)"
_SHOWN = ("relative_flatness", "kappa_2019", "hessian_trace")


def build(frame: pd.DataFrame) -> Figure:
    """Two rows of scatters, a column a measure of the last layer; first transform, main stop, first target."""
    kept, _ = exclude(at_stop(frame))
    found, available = transforms(kept), targets(kept)
    pairs = {last_layer(kept, m): last_layer(kept, f"{m}@{found[m][0]}") for m in _SHOWN if m in found}
    pairs = {before: after for before, after in pairs.items() if before and after}
    if not pairs or not available:
        raise Lacking("relative_flatness, kappa_2019 or hessian_trace of the last layer, also reparameterized")
    return draw(kept, pairs, available[0])
