"""What the report page's explorer knows of each study, as JSON that cannot end the script element it stands in."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from analysis.columns import (
    SEED,
    at_stop,
    axis_columns,
    configurations,
    layers,
    main_stop,
    measures,
    stops,
    targets,
    varying,
)
from analysis.drawing import style
from analysis.drawing.groups import shades
from analysis.exclude import exclude
from analysis.load import Source
from analysis.statistics.grid.explained import explained
from analysis.vocabulary import hyperparameter_words, measure_words, ordered, target_words
from study.measures import is_of_test
from study.names import Label
from study.transforms.rescaling import given_factor


def explorer_data(sources: list[Source]) -> Markup:
    """A JSON list, one entry a study: names, stops, measures, targets, axes, and the columns the explorer shows."""
    text = json.dumps([_study(source) for source in sources], separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c").replace('"__inf__"', "1e999").replace('"__-inf__"', "-1e999"))


def _study(source: Source) -> dict[str, Any]:
    frame = source.records
    # A sweep of given factors has a table and a figure of its own; it would fill the list of measures.
    swept = [m for m in measures(frame) if given_factor(Label.parse(m).transform) is not None]
    shown = [m for m in ordered(measures(frame)) if m not in swept and not is_of_test(m)]
    every = [name for m in shown for name in (m, *(str(Label.parse(m).at(layer=layer)) for layer in layers(frame, m)))]
    across = varying(frame)
    columns = ["key", "stop", *across, *([SEED] if SEED in frame else []), *targets(frame)]
    columns += [f"measure.{name}" for name in every]
    return {
        "name": source.name,
        "title": source.title,
        "stop": main_stop(frame),
        "stops": stops(frame),
        "measures": [(f"measure.{name}", measure_words(name)) for name in every],
        "targets": [(t, target_words(t)) for t in targets(frame)],
        "axes": [(a, hyperparameter_words(a)) for a in across],
        "colour": _main_axis(frame, across),
        "cycle": [_on_paper(colour) for colour in style.CYCLE],
        "shades": _shades(frame),
        "kept": _kept(frame),
        "configurations": configurations(frame).tolist(),
        "columns": {c: _plain(frame[c]) for c in columns if c in frame.columns},
    }


def _main_axis(frame: pd.DataFrame, across: list[str]) -> str:
    """What points are coloured by at first: the axis that the figures, too, are coloured by."""
    kept, _ = exclude(at_stop(frame))
    shares = explained(kept, targets(kept)[0]) if targets(kept) else {}
    return axis_columns(shares)[0] if shares else next(iter(across), "")


def _shades(frame: pd.DataFrame) -> dict[str, list[tuple[Any, str]]]:
    """Of hyperparameters that vary: values as in their columns, and the colours that the figures give them."""
    found = shades(frame)
    return {
        column: list(zip(_plain(pd.Series(list(of))), map(_on_paper, of.values()), strict=True))
        for column, of in found.items()
    }


def _on_paper(colour: str) -> str:
    """Black is the ink's colour, which is light on dark paper."""
    return "var(--ink)" if colour == style.BLACK else colour


def _kept(frame: pd.DataFrame) -> list[bool]:
    """Whether the default rules keep each row; judged within its stop, as the tables do."""
    keys = set()
    for stop in stops(frame):
        kept, _ = exclude(at_stop(frame, stop))
        keys |= set(zip(kept["key"], kept["stop"], strict=True))
    return [place in keys for place in zip(frame["key"], frame["stop"], strict=True)]


def _plain(column: pd.Series) -> list[Any]:
    """Numbers in full, a missing value as null, an infinity as a number so large that reading it gives one."""
    if not pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column):
        return [None if pd.isna(v) else str(v) for v in column]
    if pd.api.types.is_integer_dtype(column):
        return [int(v) for v in column]
    marks: dict[float, str] = {np.inf: "__inf__", -np.inf: "__-inf__"}
    return [None if np.isnan(v) else marks.get(v, float(v)) for v in column]
