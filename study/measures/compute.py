"""One measure of one network, as it is stored."""

from __future__ import annotations

import math
from typing import Any

from study.device import is_of_the_machine
from study.measures.context import MeasureContext
from study.measures.own import Own, OwnMeasureError
from study.measures.registry import Sampled, Whole, taking
from study.names import Label


def attempt(label: str, context: MeasureContext) -> tuple[dict[str, Any], Exception | None]:
    """One measure as `compute` has it; where the network has no such value, with "value" None, and the reason.

    Raises OwnMeasureError, which would be the same for every network, and what is of the machine.
    """
    try:
        return compute(label, context), None
    except OwnMeasureError:
        raise
    except (ValueError, ArithmeticError, RuntimeError) as error:
        if is_of_the_machine(error):
            raise
        code = {"code": label.code} if isinstance(label, Own) else {}
        return {"label": label, "value": None, "layers": None, **code}, error


def compute(label: str, context: MeasureContext) -> dict[str, Any]:
    """One measure as it is stored: {"label", "value", "layers"}; a layerwise value is a sum over layers, or Whole's.

    A sampled value has its "standard_error". `<measure>@<transform>` is the measure of the reparameterized network,
    stored with the "difference" of its outputs; its "layers" are those whose weights changed, its value the sum over
    all. A measure from a person's own file is stored with the hash of its "code". Raises ValueError where a value is
    not finite: the caller records it as an explicit null with this reason.
    """
    parsed = Label.parse(label)
    if parsed.transform:
        context = context.reparameterized(parsed.transform)
    take = label.take if isinstance(label, Own) else taking(parsed.name)
    result = context.value(parsed.name, take)
    stored: dict[str, Any] = {"label": label, "value": result, "layers": None}
    if isinstance(label, Own):
        stored["code"] = label.code
    if isinstance(result, Sampled):
        stored |= {"value": float(result.value), "standard_error": float(result.standard_error)}
    elif isinstance(result, Whole):
        layers = {layer: float(value) for layer, value in result.layers.items() if layer in context.layers()}
        stored |= {"value": float(result.value), "layers": layers}
    elif isinstance(result, dict):
        layers = {layer: float(value) for layer, value in result.items() if layer in context.layers()}
        before = context.before
        unchanged = before.value(parsed.name, take) if before else {}
        if before and isinstance(unchanged, dict):
            every = {layer: float(v) for layer, v in unchanged.items() if layer in before.layers()} | layers
        else:
            every = layers
        stored |= {"value": sum(every.values()), "layers": layers}
    else:
        stored["value"] = float(result)
    if not all(math.isfinite(v) for v in (stored["value"], stored.get("standard_error", 0.0))):
        raise ValueError(f"{label}: {stored['value']}: is not finite")
    return stored if context.difference is None else {**stored, "difference": context.difference}
