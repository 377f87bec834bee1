"""What a measure is given: one trained network, its data, and shared work that is done once."""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar, cast

from study.measures.registry import Value, taking
from study.seeds import generator_for

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from study.curvature import LayerCurvature

CHUNK = 2048  # samples a forward pass
T = TypeVar("T")


@dataclass
class MeasureContext:
    """A trained network in eval mode, its initial parameters, and the training data that it is measured on.

    `x` (n, *shape) and `labels` (n,) are the whole training set, without augmentation, in a fixed order. Work shared by
    several measures (`curvature`, `logits`, values already taken) is done once, and not kept by `dataclasses.replace`.
    Of a reparameterized network `before` is the network that it was made from, `changed` the two layers whose weights
    moved, and `difference` that of the outputs, relative to the largest.
    `trained_on` is the number of training samples where `x` holds only some, else 0.
    `held_out` is test data with its labels, for the terms of a bound that are of it; None: none is at hand.
    `noise` numbers the draws of sampled measures: 0 for those of every record, another number for others.
    `history` has step and training loss, in order, wherever it was taken until this network was there; empty: unknown.
    """

    model: nn.Module
    initial: Mapping[str, Tensor]
    x: Tensor
    labels: Tensor
    loss: str
    key: str = ""
    before: MeasureContext | None = None
    changed: tuple[str, ...] = ()
    difference: float | None = None
    trained_on: int = 0
    history: Sequence[tuple[int, float]] = ()
    held_out: tuple[Tensor, Tensor] | None = None
    noise: int = 0
    _values: dict[str, Value] = field(default_factory=dict, init=False, repr=False)
    _shared: dict[object, Any] = field(default_factory=dict, init=False, repr=False)
    _inputs: dict[int, Tensor] = field(default_factory=dict, init=False, repr=False)
    _reparameterized: dict[str, MeasureContext] = field(default_factory=dict, init=False, repr=False)

    @property
    def n_train(self) -> int:
        """How many samples the network was trained on."""
        return self.trained_on or len(self.x)

    def on_first(self, n: int) -> MeasureContext:
        """The same network, measured on the first n training samples."""
        return replace(self, x=self.x[:n], labels=self.labels[:n], trained_on=self.n_train)

    def generator(self, label: str) -> torch.Generator:
        """A CPU generator seeded by run key and label, for sampled measures."""
        return generator_for(self.key, "measure", label, *self._draws)

    def common_generator(self, purpose: str) -> torch.Generator:
        """A CPU generator that is the same for all networks."""
        return generator_for("common", "measure", purpose, *self._draws)

    @property
    def _draws(self) -> tuple[int, ...]:
        return (self.noise,) if self.noise else ()

    def layers(self) -> list[str]:
        """Paths of the layers to measure, in network order: those with a parameter of two or more dimensions.

        That is `weight`, or of another name, which then is the path: position embeddings are layers, too.
        """
        weights = [n.removesuffix(".weight") for n, p in self.model.named_parameters() if p.ndim >= 2]
        return [n for n in weights if n in self.changed] if self.before else weights

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Inputs and labels of the training set, in its order, some at a time."""
        yield from zip(self.x.split(CHUNK), self.labels.split(CHUNK), strict=True)

    def from_layer(self, layer: str) -> tuple[nn.Module, Tensor]:
        """The network from one layer on, and what that layer is given (n, ...): the layers before it run once.

        Only an nn.Sequential that runs as such can be cut; of other models it is the whole. A layer keeps its path in
        the piece.
        """
        from torch import nn

        if not isinstance(self.model, nn.Sequential) or type(self.model).forward is not nn.Sequential.forward:
            return self.model, self.x
        parts = list(zip(self.model._modules, self.model, strict=True))  # one that stands there twice, twice
        start = [name for name, _ in parts].index(layer.partition(".")[0])
        return nn.Sequential(OrderedDict(parts[start:])), self._inputs_of(start)

    def _inputs_of(self, part: int) -> Tensor:
        """What part number `part` of an nn.Sequential is given; layers before a change are those of `before`."""
        import torch

        if part not in self._inputs:
            if self.before and part <= self.n_unchanged:
                return self.before._inputs_of(part)
            last = max([known for known in self._inputs if known < part], default=0)
            if self.before:
                last = max(last, self.n_unchanged)
            between = list(cast("nn.Sequential", self.model))[last:part]
            start = self._inputs_of(last) if last else self.x
            with torch.no_grad():
                pieces = [functools.reduce(lambda x, module: module(x), between, x) for x in start.split(CHUNK)]
            self._inputs[part] = torch.cat(pieces)
        return self._inputs[part]

    @functools.cached_property
    def n_unchanged(self) -> int:
        """How many parts of an nn.Sequential a reparameterized copy has in common with the network; 0 without any."""
        from study.transforms.rescaling import last_two_layers

        try:
            changed = self.changed or last_two_layers(self.model)
        except ValueError:  # it has no such copies
            return 0
        names = list(self.model._modules)
        return min(names.index(layer.partition(".")[0]) for layer in changed)

    @functools.cached_property
    def curvature(self) -> Mapping[str, LayerCurvature]:
        """One exact pass over the data, shared by all measures that read it.

        Of a reparameterized network the changed layers only: the others have the same weights in the same function.
        """
        from study.curvature import layer_curvature

        model, x = self.from_layer(self.layers()[0]) if self.before else (self.model, self.x)
        return layer_curvature(model, (x, self.labels), loss=self.loss, neuron_wise=True)

    @functools.cached_property
    def logits(self) -> Tensor:
        """Outputs on the training set, shape (n, C), in float64 after a forward pass in the model's dtype."""
        import torch

        layers = self.layers()  # what the last one is given, `lambda_max` and copies read, too
        model, x = self.from_layer(layers[-1]) if layers else (self.model, self.x)
        with torch.no_grad():
            return torch.cat([model(part).double() for part in x.split(CHUNK)])

    @functools.cached_property
    def folded(self) -> nn.Module:
        """The network in float64 with its batch-norms folded into the layers before them; without any, a copy.

        Raises ValueError where they cannot be, or the outputs on the first samples are not the same.
        """
        import torch

        from study.transforms.folding import folded
        from study.transforms.rescaling import function_difference

        other, x = folded(self.model), self.x[:64]
        with torch.no_grad():
            function_difference(self.model(x).double(), other(x.double()))
        return other

    @functools.cached_property
    def folded_initial(self) -> nn.Module:
        """The network at its start, folded as `folded` is: running statistics there are zeros and ones."""
        import copy

        import torch

        from study.transforms.folding import folded, is_batch_norm

        start = copy.deepcopy(self.model)
        with torch.no_grad():
            for name, parameter in start.named_parameters():
                parameter.copy_(self.initial[name])
        for module in start.modules():
            if is_batch_norm(module):
                module.reset_running_stats()  # type: ignore[operator]
        return folded(start)

    def value(self, label: str, take: Callable[[MeasureContext], Value] | None = None) -> Value:
        """A measure by its label, taken once: by `take`, or as the registry has it."""
        if label not in self._values:
            self._values[label] = (take or taking(label))(self)
        return self._values[label]

    def shared(self, make: Callable[[MeasureContext], T], name: object = None) -> T:
        """What a function makes of this context, made once: work that several measures read, by `name` if given.

        A ValueError, by which a search says that it found no value, is raised again for each of them.
        """
        at = name or make
        if at not in self._shared:
            try:
                self._shared[at] = make(self)
            except ValueError as error:
                self._shared[at] = error
        found = self._shared[at]
        if isinstance(found, ValueError):
            raise found
        return cast("T", found)

    def reparameterized(self, transform: str) -> MeasureContext:
        """The same network with other weights and the same outputs (checked); made once and kept."""
        from study.transforms.rescaling import function_difference, last_two_layers, reparameterized

        if transform not in self._reparameterized:
            changed, model = last_two_layers(self.model), reparameterized(self.model, transform, self.key)
            other = replace(self, model=model, before=self, changed=changed)
            other.difference = function_difference(self.logits, other.logits)
            self._reparameterized[transform] = other
        return self._reparameterized[transform]
