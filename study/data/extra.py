"""The seam `extra`: what stands in the training set beside the data set's own images.

An entry is `(data, more, options) -> Tensors`: the data with more behind the images of its training set, the same for
all runs of a shard.
`more(k)` gives inputs (k, *shape) and labels (k,) of the k training images that follow the run's `n_train`; `options`
are numbers and words, none a vector. All that trains, stops, evaluates and measures sees the whole set, but the
stops `error_<number>`, which ask for the error on the data set's own images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from study.choice import Option, Registry, Value
from study.data.dataset import Tensors

if TYPE_CHECKING:
    from torch import Tensor

More = Callable[[int], "tuple[Tensor, Tensor]"]
Extra = Callable[[Tensors, More, Mapping[str, Value]], Tensors]
EXTRAS: Registry[Extra] = Registry("extra", vectors=False)


def extra(name: str, **options: Option) -> Callable[[Extra], Extra]:
    """Register an entry under its name, with its options."""

    def register(function: Extra) -> Extra:
        EXTRAS.add(name, function, options, described_by=function)
        return function

    return register


@extra("none")
def none(data: Tensors, more: More, options: Mapping[str, Value]) -> Tensors:
    """The data set's own images."""
    return data
