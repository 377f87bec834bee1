"""Data as batches of inputs and targets, read in pieces of at most so many samples."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sized
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

Inputs = Tensor | tuple[Tensor, ...] | dict[str, Tensor]
Batch = tuple[Inputs, Tensor]
Data = Batch | Iterable[Batch]
Place = Callable[[Tensor], Tensor]  # to a network's device and dtype


@dataclass
class Batches:
    """Data that can be read several times in pieces of at most `n` samples."""

    source: Data
    _first: Batch | None = field(default=None, repr=False)
    # What `head` began to read, with which the next pass goes on: a stream may give its samples once.
    _begun: Iterator[Batch] | None = field(default=None, repr=False)

    @classmethod
    def of(cls, data: Data) -> Batches:
        """From a pair (inputs, targets) or an iterable of such pairs; an iterator, which can be read once, is kept."""
        if isinstance(data, Tensor) or not (hasattr(data, "__iter__") or hasattr(data, "__getitem__")):
            raise _not_data(data)
        if isinstance(data, Iterator) or _is_used_up(data):
            return cls(list(data))  # type: ignore[arg-type]  # a pair is neither
        if isinstance(data, tuple | list) and len(data) == 2 and _is_array(data[1]):
            return cls((_as_inputs(data[0]), _as_tensor(data[1])))
        return cls(data)

    @property
    def is_repeatable(self) -> bool:
        """Whether the samples come in the same order each time: a DataLoader may shuffle."""
        return isinstance(self.source, tuple | list)

    @property
    def n_samples(self) -> int | None:
        """How many samples there are; None where only reading them would tell."""
        if self.is_repeatable:
            return sum(len(targets) for _, targets in self._batches())
        sampler = getattr(self.source, "sampler", None)
        return len(sampler) if isinstance(sampler, Sized) else None

    def read(self, place: Place, n: int) -> Iterator[Batch]:
        """The batches, each tensor placed, cut into pieces of at most n samples."""
        begun, self._begun = self._begun, None
        for inputs, targets in self._batches() if begun is None else itertools.chain([self._head()], begun):
            size = _check_sizes(inputs, targets)
            for start in range(0, size, n):
                piece = slice(start, start + n)
                yield apply(select(inputs, piece), place), place(targets[piece])

    def head(self, place: Place, n: int) -> Batch:
        """The first n samples (fewer if the first batch has fewer); ValueError if there is no data."""
        inputs, targets = self._head()
        _check_sizes(inputs, targets)
        return apply(select(inputs, slice(n)), place), place(targets[:n])

    def first_targets(self) -> Tensor:
        """All targets of the first batch."""
        return self._head()[1]

    def _head(self) -> Batch:
        if self._first is None:
            self._begun = self._batches()
            self._first = next((batch for batch in self._begun if len(batch[1])), None)
        if self._first is None:
            raise ValueError("data holds no sample")
        return self._first

    def _batches(self) -> Iterator[Batch]:
        is_pair = isinstance(self.source, tuple | list) and len(self.source) == 2 and isinstance(self.source[1], Tensor)
        for batch in [self.source] if is_pair else self.source:
            if not (isinstance(batch, tuple | list) and len(batch) == 2 and _is_array(batch[1])):
                raise _not_data(batch)
            targets = _as_tensor(batch[1])
            if not targets.ndim:
                raise ValueError(
                    "data gives single samples, not batches: a Dataset is read through DataLoader(dataset, batch_size)"
                )
            yield _as_inputs(batch[0]), targets


def _is_array(value: object) -> bool:
    """Whether a value is a tensor, or a numpy array or another that gives one."""
    return isinstance(value, Tensor) or hasattr(value, "__array__")


def _as_tensor(value: Any) -> Tensor:
    """A tensor as it is, an array as a tensor of the same memory where it may be written to."""
    if isinstance(value, Tensor):
        return value
    if not _is_array(value):
        raise ValueError(f"data holds a {type(value).__name__} where a tensor or an array is needed")
    array = value.__array__()
    try:
        return torch.as_tensor(array if array.flags.writeable else array.copy(), device="cpu")
    except (TypeError, ValueError) as error:  # objects and text; axes that run backwards
        if array.dtype.kind in "biuf":
            return torch.as_tensor(array.copy(), device="cpu")
        raise ValueError(f"data holds an array of {array.dtype}, not of numbers") from error


def _as_inputs(inputs: Any) -> Inputs:
    if isinstance(inputs, dict):
        return {name: _as_tensor(value) for name, value in inputs.items()}
    return tuple(map(_as_tensor, inputs)) if isinstance(inputs, tuple | list) else _as_tensor(inputs)


def _check_sizes(inputs: Inputs, targets: Tensor) -> int:
    """The number of samples, which all inputs and the targets have."""
    values = inputs.values() if isinstance(inputs, dict) else inputs if isinstance(inputs, tuple) else (inputs,)
    sizes = [len(value) if value.ndim else 0 for value in values]
    if len(set(sizes)) != 1:
        raise ValueError(f"a batch has inputs of {', '.join(map(str, sizes))} samples; each input holds all samples")
    if len(targets) != sizes[0]:
        raise ValueError(f"a batch has {sizes[0]} inputs and {len(targets)} targets")
    return sizes[0]


def _is_used_up(data: Data) -> bool:
    """Whether reading twice gives the same iterator, which the first reading exhausts."""
    return not hasattr(data, "__getitem__") and not hasattr(data, "__len__") and iter(data) is iter(data)


def _not_data(found: object) -> ValueError:
    return ValueError(
        "data must be (inputs, targets), with targets a tensor, or an iterable of such batches, "
        f"not {type(found).__name__}; of other batches target= gives the targets, forward= the outputs"
    )


def apply(inputs: Inputs, function: Callable[[Tensor], Tensor]) -> Inputs:
    """A function of each tensor among some inputs."""
    if isinstance(inputs, dict):
        return {name: function(value) for name, value in inputs.items()}
    return tuple(function(value) for value in inputs) if isinstance(inputs, tuple) else function(inputs)


def select(inputs: Inputs, index: Tensor | slice) -> Inputs:
    """Some samples of some inputs."""
    return apply(inputs, lambda value: value[index])


def cut(inputs: Inputs, n: int) -> Iterator[Inputs]:
    """Some inputs in pieces of at most n samples."""
    for start in range(0, count_samples(inputs), n):
        yield select(inputs, slice(start, start + n))


def count_samples(inputs: Inputs) -> int:
    """How many samples some inputs hold."""
    values = inputs.values() if isinstance(inputs, dict) else inputs if isinstance(inputs, tuple) else (inputs,)
    return len(next(iter(values)))
