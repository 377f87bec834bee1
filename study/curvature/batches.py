"""Data as batches of inputs and targets, read in pieces of at most so many samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sized
from dataclasses import dataclass

from torch import Tensor

Inputs = Tensor | tuple[Tensor, ...] | dict[str, Tensor]
Batch = tuple[Inputs, Tensor]
Data = Batch | Iterable[Batch]
Place = Callable[[Tensor], Tensor]  # to a network's device and dtype


@dataclass(frozen=True)
class Batches:
    """Data that can be read several times in pieces of at most `n` samples."""

    source: Data

    @classmethod
    def of(cls, data: Data) -> Batches:
        """From a pair (inputs, targets) or an iterable of such pairs; an iterator, which can be read once, is kept."""
        if isinstance(data, Tensor) or not (hasattr(data, "__iter__") or hasattr(data, "__getitem__")):
            raise _not_data(data)
        if isinstance(data, Iterator) or _is_used_up(data):
            return cls(list(data))  # type: ignore[arg-type]  # a pair is neither
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
        for inputs, targets in self._batches():
            size = count_samples(inputs)
            if len(targets) != size:
                raise ValueError(f"a batch has {size} inputs and {len(targets)} targets")
            for start in range(0, size, n):
                piece = slice(start, start + n)
                yield apply(select(inputs, piece), place), place(targets[piece])

    def head(self, place: Place, n: int) -> Batch:
        """The first n samples (fewer if the first batch has fewer); ValueError if there is no data."""
        for batch in self.read(place, n):
            return batch
        raise ValueError("data holds no sample")

    def first_targets(self) -> Tensor:
        """All targets of the first batch."""
        return next(targets for _, targets in self._batches())

    def _batches(self) -> Iterator[Batch]:
        is_pair = isinstance(self.source, tuple | list) and len(self.source) == 2 and isinstance(self.source[1], Tensor)
        for batch in [self.source] if is_pair else self.source:
            if not (isinstance(batch, tuple | list) and len(batch) == 2 and isinstance(batch[1], Tensor)):
                raise _not_data(batch)
            if not batch[1].ndim:
                raise ValueError(
                    "data gives single samples, not batches: a Dataset is read through DataLoader(dataset, batch_size)"
                )
            inputs = tuple(batch[0]) if isinstance(batch[0], list) else batch[0]
            yield inputs, batch[1]


def _is_used_up(data: Data) -> bool:
    """Whether reading twice gives the same iterator, which the first reading exhausts."""
    return not hasattr(data, "__getitem__") and not hasattr(data, "__len__") and iter(data) is iter(data)


def _not_data(found: object) -> ValueError:
    return ValueError(
        "data must be (inputs, targets), with targets a tensor, or an iterable of such batches, "
        f"not {type(found).__name__}"
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
