"""What the page says of each measure it shows: meaning, formula and source, from the measure's own docstring."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pandas as pd
from markupsafe import Markup, escape

from analysis.columns import measures
from analysis.vocabulary import measure_words, ordered
from study.measures import MEASURES
from study.names import Label
from study.reference.definition import definition
from study.transforms.rescaling import FACTORS

SHOWN = ("Meaning", "Formula", "Source")
UNKNOWN = "Not a measure of this project: what it is, its own file or the maker of the ledger says."


def definitions(frames: Sequence[pd.DataFrame]) -> list[dict[str, Any]]:
    """One entry a measure of these records, in the order of the tables: label, words, and lines of (name, text)."""
    labels = dict.fromkeys(Label.parse(label).measure for frame in frames for label in measures(frame))
    return [{"label": label, "words": measure_words(label), "lines": _lines(label)} for label in ordered(labels)]


def transforms_defined(frames: Sequence[pd.DataFrame]) -> str:
    """What `measure @transform` is of, in a sentence; empty where no network was measured again."""
    names = {Label.parse(label).transform for frame in frames for label in measures(frame)} - {""}
    if not names:
        return ""
    kinds = {
        "layerwise": f"layerwise by one factor of {FACTORS[0]} to {FACTORS[1]}, drawn for each network",
        "neuronwise": f"neuronwise by such a factor for each neuron, {FACTORS[0]} to {FACTORS[1]}",
        "factor": "factor by the one given",
    }
    how = "; ".join(words for kind, words in kinds.items() if any(name.startswith(kind) for name in names))
    return f"A measure @ a transform is of the same network, rescaled without changing its function: {how}."


def _lines(label: str) -> list[tuple[str, Markup]]:
    if label not in MEASURES:
        return [("Meaning", Markup(UNKNOWN))]
    said = definition(MEASURES[label])
    return [(name, _with_code(said[name])) for name in SHOWN]


def _with_code(text: str) -> Markup:
    """Text in which `code` stands, as HTML."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))
