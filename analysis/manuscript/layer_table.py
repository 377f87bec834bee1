"""Every layer and the total: what stands beside each headline, which is about one layer.

A table of paired differences holds many comparisons, so a verdict on one of them rests on Benjamini-Hochberg's q over
all of the table.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import pandas as pd

from analysis.columns import layers
from analysis.manuscript import networks as of_study
from analysis.manuscript.coefficient import at_stops, coefficient, p_of_difference, stops_of
from analysis.manuscript.coefficient import difference as paired_difference
from analysis.manuscript.networks import Networks, allowed
from analysis.manuscript.number import Number, Words, grid, printed
from analysis.manuscript.wording import in_words, side_of_zero
from analysis.statistics.resampling.multiple import CLEAR, benjamini_hochberg
from analysis.vocabulary import measure_words
from study.names import Label

TOTAL = "sum over layers"
_VERDICT = {"above": "ahead", "below": "behind"}


def layers_at_stop(
    of: str | Networks, measures: Sequence[str], than: str, column: str = "tau_b", stop: str | None = None,
    target: str = "gap.loss", after: str = "",
) -> pd.DataFrame:  # fmt: skip
    """A row a layer and the total: each measure's coefficient, that of `than`, and the paired differences.

    `after` names a transform (layerwise_1): then rows are the layers that it rescales, and the total. A star marks a
    difference that is clear (see `decided`).
    """
    where: dict[str, Any] = {"column": column, "stop": stop, "target": target}
    words = [measure_words(m) for m in (*measures, than)]
    head = ["layer", *words, *[f"{w} − {words[-1]}" for w in words[:-1]]]
    at = stop or of_study.stop_of(of_study.networks(of))
    found = _verdicts(of, tuple(measures), than, column, (at,), target, after)
    rows = []
    for layer in [*_layers(of, than, after), ""]:
        each = [coefficient(of, _label(m, layer, after), **where).full for m in (*measures, than)]
        rows.append([layer or TOTAL, *each, *[_cell(*found[m, layer, at]) for m in measures]])
    return grid(head, rows)


def layers_by_stop(
    of: str | Networks, measure: str, than: str = "", column: str = "pearson", target: str = "gap.loss",
    after: str = "", at: str | Sequence[str] = "every",
) -> pd.DataFrame:  # fmt: skip
    """A row a layer and the total, a column a stop: the measure's coefficient, less that of `than` if given.

    A star marks a difference that is clear (see `decided`).
    """
    stops = _stops(of, at)
    rows: list[list[object]] = []
    if than:
        found = _verdicts(of, (measure,), than, column, tuple(stops), target, after)
    for layer in [*_layers(of, measure, after), ""]:
        if than:
            cells: list[object] = [_cell(*found[measure, layer, stop]) for stop in stops]
        else:
            each = at_stops(of, coefficient, _label(measure, layer, after), at=stops, column=column, target=target)
            cells = list(each.full)
        rows.append([layer or TOTAL, *cells])
    return grid(["layer", *stops], rows)


def decided(
    of: str | Networks, what: str, measures: str | Sequence[str], than: str, column: str = "pearson",
    target: str = "gap.loss", after: str = "", at: str | Sequence[str] = "every",
) -> Words:  # fmt: skip
    """In which layers, and at which stops, the `measures` are clearly `what` (ahead, behind) of `than`.

    In words, "fc2 (epoch_10 and epoch_20), sum over layers (every stop)", or "nowhere". A difference is clear where
    Benjamini-Hochberg's q is below CLEAR, over all differences of these measures, layers and stops: the more of them
    are asked about at once, the fewer may be clear.
    """
    allowed(what, tuple(_VERDICT.values()), "what")
    names, stops = ((measures,) if isinstance(measures, str) else tuple(measures)), _stops(of, at)
    found = _verdicts(of, names, than, column, tuple(stops), target, after)
    parts = []
    for name in names:
        for layer in [*_layers(of, than, after), ""]:
            there = [stop for stop in stops if found[name, layer, stop][1] == what]
            place = (f"{measure_words(name)}, " if len(names) > 1 else "") + (layer or TOTAL)
            parts += [f"{place} ({in_words(there, stops)})" if len(stops) > 1 else place] if there else []
    return Words(", ".join(parts) or "nowhere")


@cache
def _verdicts(
    of: str | Networks, measures: tuple[str, ...], than: str, column: str, stops: tuple[str, ...], target: str,
    after: str,
) -> dict[tuple[str, str, str], tuple[Number, str]]:  # fmt: skip
    """(measure, layer, stop) -> the paired difference, and what is decided of it: ahead, behind or nothing."""
    places = [(m, layer, stop) for m in measures for layer in [*_layers(of, than, after), ""] for stop in stops]
    pairs = [(_label(m, layer, after), _label(than, layer, after), stop) for m, layer, stop in places]
    less = [paired_difference(of, a, b, column=column, stop=stop, target=target) for a, b, stop in pairs]
    q = benjamini_hochberg([p_of_difference(of, a, b, column, stop, target) for a, b, stop in pairs])
    said = [
        _VERDICT.get(side_of_zero(x.low, x.high), "") if each < CLEAR else "" for x, each in zip(less, q, strict=True)
    ]
    return dict(zip(places, zip(less, said, strict=True), strict=True))


def _cell(x: Number, said: str) -> str:
    return printed(x.full) + (" *" if said else "")


def _stops(of: str | Networks, at: str | Sequence[str]) -> list[str]:
    return stops_of(of, at) if isinstance(at, str) else list(at)


def _layers(of: str | Networks, measure: str, after: str) -> list[str]:
    frame = of_study.records(of_study.networks(of))
    return layers(frame, _label(measure, "", after))


def _label(measure: str, layer: str, after: str) -> str:
    return str(Label.parse(measure).at(transform=after or None, layer=layer or None))
