"""What a measure is, as its docstring says it: meaning, formula, source, parameters, data, draws, cost."""

from __future__ import annotations

import inspect
import re

from study.measures.registry import Measure

# What stands in a docstring after its first line and its formula.
_PARTS = ("Source:", "Parameters:", "Data:", "Deterministic.", "Sampled:", "Cost:", "Invariant:")
_ORDER = ("Source:", "Parameters:", "Data:", "Draws:", "Cost:")


def definition(measure: Measure) -> dict[str, str]:
    """Meaning (one line), Formula, Source, Parameters, Data, Draws and Cost of a measure, in this order.

    With Invariant behind them where that is said: the transformations that leave its value, or "none".

    Raises KeyError where its docstring lacks a part, ValueError where it ends in a part's name.
    """
    first, _, rest = (inspect.getdoc(measure.function) or "").partition("\n")
    pieces = re.split("(" + "|".join(map(re.escape, _PARTS)) + ")", " ".join(rest.split()))
    said = dict(zip(pieces[1::2], (piece.strip() for piece in pieces[2::2]), strict=True))
    said["Draws:"] = said.pop("Sampled:", "none")
    order = (*_ORDER, "Invariant:") if "Invariant:" in said else _ORDER
    return {"Meaning": first, "Formula": pieces[0].strip()} | {part.rstrip(":"): said[part] for part in order}
