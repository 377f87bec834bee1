"""Batches of whatever shape a loader gives, and networks that are called otherwise than on their inputs alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .batches import Data

Forward = Callable[[nn.Module, Any], Tensor]
Target = Callable[[Any], Tensor]
Call = Callable[[nn.Module, tuple[Tensor, ...]], Any]


def adapted(data: Any, forward: Forward | None, target: Target | None) -> tuple[Data, Call | None]:
    """Data as pairs of flat inputs and targets, and how a network is called on such inputs (None: on themselves).

    `target(batch)` gives the targets of a batch, whose inputs are all of it; without it a batch is (inputs, targets).
    `forward(model, inputs)` gives the outputs (n, C); without it the model is called on a tensor, on the parts of a
    tuple or list, or on a dict by keywords. With `target`, a dict, a tuple or a tensor is one batch, and anything else
    an iterable of batches. Values that are neither tensors nor plain numbers, None or text are not handed on.
    """
    if forward is None and target is None:
        return data, None
    for name, function in (("forward", forward), ("target", target)):
        if function is not None and not callable(function):
            raise ValueError(f"{name} is a {type(function).__name__}, not a function")
    if not (hasattr(data, "__iter__") or hasattr(data, "__getitem__")):
        raise ValueError(f"data is a {type(data).__name__}, neither a batch nor an iterable of batches")
    pairs = _Pairs(data, target)
    call = _Call(forward, pairs)
    is_once = not hasattr(data, "__len__") and iter(data) is iter(data)  # a second reading would find nothing
    if isinstance(data, tuple | list | Mapping | Tensor) or is_once:
        return list(pairs), call
    return pairs, call


class _Pairs:
    """The pairs of flat inputs and targets, read anew each time; `tree` is how the inputs hang together."""

    def __init__(self, data: Any, target: Target | None) -> None:
        self.data, self.target = data, target
        self.tree: Any = None

    @property
    def sampler(self) -> Any:
        """That of a DataLoader, which knows how many samples there are."""
        return getattr(self.data, "sampler", None)

    def __iter__(self) -> Iterator[tuple[tuple[Tensor, ...], Tensor]]:
        for batch in self._batches():
            inputs, targets = self._split(batch)
            leaves: list[Tensor] = []
            tree = _tree(inputs, leaves)
            if not leaves:
                raise ValueError(f"a batch is a {type(inputs).__name__} without tensors: allowed: dicts, tuples, lists")
            if self.tree is not None and tree != self.tree:
                raise ValueError(f"batches hang together in two ways: {self.tree} and {tree}")
            self.tree = tree
            yield tuple(leaves), targets

    def _batches(self) -> Iterable[Any]:
        if self.target is not None:
            return [self.data] if isinstance(self.data, tuple | Mapping | Tensor) else self.data
        is_pair = isinstance(self.data, tuple | list) and len(self.data) == 2 and isinstance(self.data[1], Tensor)
        return [self.data] if is_pair else self.data

    def _split(self, batch: Any) -> tuple[Any, Tensor]:
        if self.target is None:
            if not (isinstance(batch, tuple | list) and len(batch) == 2):
                raise ValueError(
                    f"a batch is a {type(batch).__name__}, not (inputs, targets): say `target=` what it is"
                )
            return batch[0], batch[1]
        targets = self.target(batch)
        if not isinstance(targets, Tensor):
            raise ValueError(f"target gives a {type(targets).__name__}; a tensor of targets is needed")
        return batch, targets


@dataclass(frozen=True)
class _Call:
    forward: Forward | None
    pairs: _Pairs

    def __call__(self, model: nn.Module, leaves: tuple[Tensor, ...]) -> Any:
        inputs = _filled(self.pairs.tree, leaves)
        if self.forward is not None:
            return self.forward(model, inputs)
        if isinstance(inputs, dict):
            return model(**inputs)
        return model(*inputs) if isinstance(inputs, tuple | list) else model(inputs)


@dataclass(frozen=True)
class _Leaf:
    """Where a tensor stands in a batch."""

    index: int


def _tree(value: Any, leaves: list[Tensor]) -> Any:
    """A batch with its tensors taken out into `leaves`."""
    if hasattr(value, "__array__") and not isinstance(value, Tensor):
        value = torch.as_tensor(value)
    if isinstance(value, Tensor):
        leaves.append(value)
        return _Leaf(len(leaves) - 1)
    if isinstance(value, Mapping):
        parts = {key: _tree(value[key], leaves) for key in sorted(value, key=str)}
        return {key: part for key, part in parts.items() if part is not None or value[key] is None}
    if isinstance(value, tuple | list):
        made = [_tree(part, leaves) for part in value]
        if made and all(isinstance(part, str) for part in value):  # a text of each sample
            return None
        return type(value)(*made) if hasattr(value, "_fields") else type(value)(made)
    return value if isinstance(value, bool | int | float | str) else None


def _filled(tree: Any, leaves: tuple[Tensor, ...]) -> Any:
    """A batch with tensors in their places."""
    if isinstance(tree, _Leaf):
        return leaves[tree.index]
    if isinstance(tree, dict):
        return {key: _filled(part, leaves) for key, part in tree.items()}
    if isinstance(tree, tuple | list):
        made = [_filled(part, leaves) for part in tree]
        return type(tree)(*made) if hasattr(tree, "_fields") else type(tree)(made)
    return tree
