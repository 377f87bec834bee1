"""Lines that lie on one another, each of which shows: shared stretches in dashes by turns, markers side by side."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.transforms import ScaledTranslation

from analysis.drawing.looks import Looks

Line = tuple[Sequence[float], Sequence[float]]
_NEAR = 0.015  # of the height of the axes: less apart, one line hides the other
_DASH = 3.0  # points
_APART, _WIDEST = 4.5, 20.0  # points from marker to marker; from the first to the last of many


def draw(axes: Axes, lines: Mapping[str, Line], looks: Looks, without: Collection[float] = ()) -> list[Line2D]:
    """Draw label -> (x, y), all positive, on logarithmic axes; the handles of a legend, whose texts are the caller's.

    Which lines coincide is judged stretch by stretch. A marker that others lie on is moved sideways, never up or down;
    where x is in `without` there are none.
    """
    axes.set(xscale="log", yscale="log")
    met = _met(lines)
    places = {name: dict(zip(*line, strict=True)) for name, line in lines.items()}
    for name, place in places.items():
        colour = looks.of(name).colour
        for start, end in zip(list(place)[:-1], list(place)[1:], strict=True):
            along = [other for other in met[start][name] if other in met[end][name]]
            turn, n = along.index(name), len(along)
            dashes = "-" if n == 1 else ((n - turn) * _DASH, (_DASH, (n - 1) * _DASH))
            axes.plot([start, end], [place[start], place[end]], color=colour, linestyle=dashes)
        for at, height in place.items():
            if at in without:
                continue
            turn, n = met[at][name].index(name), len(met[at][name])
            aside = (turn - (n - 1) / 2) * min(_APART, _WIDEST / max(n - 1, 1))
            moved = axes.transData + ScaledTranslation(aside / 72, 0, axes.figure.dpi_scale_trans)
            axes.plot([at], [height], linestyle="", marker=looks.of(name).marker, color=colour, markersize=3.5,
                      transform=moved)  # fmt: skip
    axes.margins(y=0.1)
    return [Line2D([], [], color=looks.of(m).colour, marker=looks.of(m).marker, markersize=3.5) for m in lines]


def _met(lines: Mapping[str, Line]) -> dict[float, dict[str, list[str]]]:
    """At each x, of each line that has a value there, the lines that lie on it, itself among them."""
    heights = np.log([y for _, ys in lines.values() for y in ys])
    near = _NEAR * max(float(np.ptp(heights)), 1e-9)
    found: dict[float, dict[str, list[str]]] = {}
    for x in sorted({x for xs, _ in lines.values() for x in xs}):
        there = {name: float(np.log(dict(zip(*line, strict=True))[x])) for name, line in lines.items() if x in line[0]}
        order = sorted(there, key=there.__getitem__)
        ends = np.flatnonzero(np.diff([there[name] for name in order]) > near) + 1
        for part in np.split(np.array(order, dtype=object), ends):
            together = [name for name in lines if name in part]
            found.setdefault(x, {}).update(dict.fromkeys(together, together))
    return found
