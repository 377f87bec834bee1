"""Every layer and the total: what stands beside each headline, which is about one layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from analysis.columns import layers
from analysis.manuscript import networks as of_study
from analysis.manuscript.coefficient import at_stops, coefficient, difference
from analysis.manuscript.networks import Networks
from analysis.manuscript.number import grid
from analysis.vocabulary import measure_words

TOTAL = "sum over layers"


def layers_at_stop(
    of: str | Networks, measures: Sequence[str], than: str, column: str = "tau_b", stop: str | None = None,
    target: str = "gap.loss", after: str = "",
) -> pd.DataFrame:  # fmt: skip
    """A row a layer and the total: each measure's coefficient, that of `than`, and the paired differences.

    `after` names a transform (layerwise_1): then rows are the layers that it rescales, and the total.
    """
    where: dict[str, Any] = {"column": column, "stop": stop, "target": target}
    words = [measure_words(m) for m in (*measures, than)]
    head = ["layer", *words, *[f"{w} − {words[-1]}" for w in words[:-1]]]
    rows = []
    for layer in [*_layers(of, than, after), ""]:
        labels = [_label(m, layer, after) for m in (*measures, than)]
        each = [coefficient(of, label, **where).full for label in labels]
        less = [difference(of, label, labels[-1], **where).full for label in labels[:-1]]
        rows.append([layer or TOTAL, *each, *less])
    return grid(head, rows)


def layers_by_stop(
    of: str | Networks, measure: str, than: str = "", column: str = "pearson", target: str = "gap.loss",
    after: str = "", at: str | Sequence[str] = "every",
) -> pd.DataFrame:  # fmt: skip
    """A row a layer and the total, a column a stop: the measure's coefficient, less that of `than` if given."""
    rows = []
    for layer in [*_layers(of, measure, after), ""]:
        labels = [_label(m, layer, after) for m in (measure, than) if m]
        found = at_stops(of, difference if than else coefficient, *labels, at=at, column=column, target=target)
        rows.append([layer or TOTAL, *found.full])
    return grid(["layer", *found], rows)


def _layers(of: str | Networks, measure: str, after: str) -> list[str]:
    frame = of_study.records(of_study.networks(of))
    return layers(frame, f"{measure}@{after}" if after else measure)


def _label(measure: str, layer: str, after: str) -> str:
    return measure + (f"@{after}" if after else "") + (f".{layer}" if layer else "")
