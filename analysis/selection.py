"""What a table has rows of: the measures of networks as they were trained, the last layer alone, reparameterized ones.

`measure.<label>@<transform>` is the measure of the same network after its weights were rescaled without changing its
function. It stands beside `<label>` in the tables that compare the two, and nowhere else: a network measured three
times is not three networks, nor three measures.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from analysis.columns import half_have, layers, measures, values
from analysis.vocabulary import family, measure_words, ordered
from study.measures import is_of_test
from study.names import Label
from study.transforms.rescaling import given_factor

MOST = 75  # rows of a figure on one page; ours


def trained(frame: pd.DataFrame) -> list[str]:
    """The measures of networks as they were trained, in the order of every table; none that reads test data."""
    found = [label for label in ordered(measures(frame)) if not Label.parse(label).transform]
    return [label for label in found if not is_of_test(label)]


def last_layer(frame: pd.DataFrame, label: str) -> str:
    """`<label>.<layer>` of the last layer that a layerwise measure was taken in; empty for any other measure."""
    found = layers(frame, label)
    return str(Label.parse(label).at(layer=found[-1])) if len(found) > 1 else ""


def with_last_layer(frame: pd.DataFrame) -> list[str]:
    """`trained`, each layerwise measure (its sum over layers) followed by its last layer alone."""
    both = [(label, last_layer(frame, label)) for label in trained(frame)]
    return [name for pair in both for name in pair if name]


def drawn(frame: pd.DataFrame) -> list[str]:
    """What a figure has rows of: `with_last_layer`, or `trained` where those are more than a page holds."""
    both = with_last_layer(frame)
    return both if len(both) <= MOST else trained(frame)


def of_half(frame: pd.DataFrame, labels: Sequence[str], target: str) -> tuple[list[str], str]:
    """Those of the measures that at least half of the networks with a target have, and words that name the others.

    Where no measure is left all stay: a table of none says less.
    """
    goal = np.isfinite(values(frame, target))
    there = {label: ~np.isnan(values(frame, f"measure.{label}")) for label in labels}
    kept = [label for label in labels if half_have(there[label], goal)]
    few = [f"{measure_words(label)} ({(there[label] & goal).sum()})" for label in labels if label not in kept]
    if not kept or not few:
        return list(labels), ""
    return kept, f"left out, since less than half of the {goal.sum()} networks have a value: {', '.join(few)}"


def transforms(frame: pd.DataFrame, sweep: bool = False) -> dict[str, list[str]]:
    """The measures that were taken again after a transform: label -> transforms, in order.

    Drawn ones (layerwise_1, neuronwise_1); with `sweep`, those by a given factor (factor_20) instead.
    """
    found: dict[str, list[str]] = {}
    for label in ordered(measures(frame)):
        known = Label.parse(label)
        given = given_factor(known.transform) is not None
        if known.transform and given == sweep and known.at(transform="").column in frame.columns:
            found.setdefault(known.name, []).append(known.transform)
    return found


def few(asked: Sequence[str], there: Iterable[str], most: int) -> list[str]:
    """The measures that a figure with room for `most` shows, of those that are there.

    Those asked for (by a study's file), in that order; where none is asked, the first of each family.
    """
    known = ordered(there)
    if asked:
        return [label for label in asked if label in known][:most]
    first = {family(label) or label: label for label in reversed(known)}
    return ordered(first.values())[:most]
