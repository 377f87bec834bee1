"""The source papers' scatter: the last layer's measures against the gap, as trained and reparameterized."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from analysis.columns import at_stop, stops, targets
from analysis.drawing import style
from analysis.drawing.groups import by_main_axis, groups, legend
from analysis.exclude import exclude
from analysis.figures import Lacking
from analysis.figures.reparameterization import fill, row_height
from analysis.selection import few, last_layer, transforms
from study.names import Label, Stop

TITLE = (
    "The last layer alone against the gap, as trained and after every network is reparameterized: the last stop of "
    "each kind; r is of the values, also where an axis is logarithmic"
)
_MEASURES = 3  # panels across
NEEDS = "a measure of several layers, taken again after a reparameterization, and two networks with a gap"


def build(frame: pd.DataFrame, measures: Sequence[str] = ()) -> Figure:
    """The last stop of each kind: two rows of scatters, a column a measure; first transform, first target."""
    last = {Stop.read(stop).kind: stop for stop in stops(frame)}  # of each kind: a training loss, an epoch
    parts = [part for part in (_part(frame, stop, measures) for stop in last.values()) if part]
    if not parts:
        raise Lacking(NEEDS)
    last_kept, _, target, _ = parts[-1]
    settings = groups(frame) or by_main_axis(last_kept, target, frame)
    n_columns = max(len(pairs) for _, pairs, _, _ in parts)
    height = 2 * row_height(n_columns) + (0.25 if len(parts) > 1 else 0)
    with style.paper_style():
        width = style.PAGE if n_columns > 2 else style.COLUMN
        figure = Figure(figsize=(width, height * len(parts)))
        places = figure.subfigures(len(parts), 1, squeeze=False)[:, 0]
        for place, (kept, pairs, target, stop) in zip(places, parts, strict=True):
            fill(place, kept, pairs, target, settings, width)
            if len(parts) > 1:
                place.suptitle(f"{Stop.read(stop).words}: {len(kept)} networks", fontweight="bold")
        legend(figure, settings)
    figure.set_label(settings.caption if settings else "")
    return figure


def _part(
    frame: pd.DataFrame, stop: str, measures: Sequence[str]
) -> tuple[pd.DataFrame, dict[str, str], str, str] | None:
    """The networks of one stop, the labels before and after, the target; None where there is nothing to show."""
    kept, _ = exclude(at_stop(frame, stop))
    found, available = transforms(kept), targets(kept)
    pairs = {
        m: (last_layer(kept, m), last_layer(kept, str(Label.parse(m).at(transform=t[0])))) for m, t in found.items()
    }
    shown = few(measures, [m for m, both in pairs.items() if all(both)], _MEASURES)
    return (kept, dict(pairs[m] for m in shown), available[0], stop) if shown and available else None
