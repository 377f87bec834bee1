"""The registry of measures and what each of them is given."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from study.seeds import generator_for

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from study.curvature import LayerCurvature


@dataclass
class MeasureContext:
    """A trained network in eval mode, its initial parameters, and the training data that it is measured on.

    `x` (n, *shape) and `labels` (n,) are the whole training set, without augmentation, in a fixed order. Work shared by
    several measures (`curvature`, `logits`) is done once.
    """

    model: nn.Module
    initial: Mapping[str, Tensor]
    x: Tensor
    labels: Tensor
    loss: str
    key: str = ""
    seed: int = 0
    difference: float | None = None  # of a reparameterized network's outputs, relative to the largest
    _reparameterized: dict[str, MeasureContext] = field(default_factory=dict, repr=False)

    def batches(self, size: int = 2048) -> Iterator[tuple[Tensor, Tensor]]:
        """The training set in its fixed order, `size` samples at a time."""
        for start in range(0, len(self.x), size):
            yield self.x[start : start + size], self.labels[start : start + size]

    def generator(self, label: str) -> torch.Generator:
        """A CPU generator seeded by run key and label, for sampled measures."""
        return generator_for(self.key, "measure", label)

    @functools.cached_property
    def curvature(self) -> Mapping[str, LayerCurvature]:
        """One exact pass over the data, shared by all measures that read it."""
        from study.curvature import layer_curvature

        return layer_curvature(self.model, (self.x, self.labels), loss=self.loss)

    @functools.cached_property
    def logits(self) -> Tensor:
        """Outputs on the training set, shape (n, C), in float64 after a forward pass in the model's dtype."""
        import torch

        with torch.no_grad():
            return torch.cat([self.model(x).double() for x, _ in self.batches()])

    def reparameterized(self, transform: str) -> MeasureContext:
        """The same network with other weights and the same outputs (checked); made once and kept."""
        from study.reparameterize import function_difference, reparameterized

        if transform not in self._reparameterized:
            other = replace(self, model=reparameterized(self.model, transform, self.seed), _reparameterized={})
            other.difference = function_difference(self.logits, other.logits)
            self._reparameterized[transform] = other
        return self._reparameterized[transform]


Value = float | dict[str, float]


@dataclass(frozen=True)
class Measure:
    """A registered measure."""

    label: str
    layerwise: bool
    function: Callable[[MeasureContext], Value]


MEASURES: dict[str, Measure] = {}


def measure(label: str, *, layerwise: bool = False) -> Callable[[Callable[[Any], Value]], Callable[[Any], Value]]:
    """Register a measure under its label: the name in configs, records, tables and figures."""

    def register(function: Callable[[MeasureContext], Value]) -> Callable[[MeasureContext], Value]:
        if label in MEASURES:
            raise ValueError(f"measure: {label!r}: is registered twice")
        MEASURES[label] = Measure(label, layerwise, function)
        return function

    return register


def compute(label: str, context: MeasureContext) -> dict[str, Any]:
    """One measure as it is stored: {"label", "value", "layers"}; a layerwise value is the sum over its layers.

    `<measure>@<transform>` is the measure of the reparameterized network, stored with the "difference" of its outputs.
    Raises ValueError where the value is not finite: the caller records it as an explicit null with this reason.
    """
    name, _, transform = label.partition("@")
    if transform:
        context = context.reparameterized(transform)
    result = MEASURES[name].function(context)
    layers = {name: float(v) for name, v in result.items()} if isinstance(result, dict) else None
    value = sum(layers.values()) if layers is not None else float(result)  # type: ignore[arg-type]  # no dict here
    if not math.isfinite(value):
        raise ValueError(f"{label}: {value}: is not finite")
    stored = {"label": label, "value": value, "layers": layers}
    return stored if context.difference is None else {**stored, "difference": context.difference}
