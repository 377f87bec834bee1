"""The seam `growth`: the widths of the hidden layers over the epochs, and how new weights start.

An entry is two functions. `widths(hidden, epoch, options)` gives the widths with which the epoch after `epoch` epochs
is trained, out of the config's `hidden`, the widths at the end. Where they change, `extend(old, new, options,
generator)` writes into `new`, a network of the new widths with fresh initial weights, what it keeps of `old`; both are
alone and on a CPU. The optimizer starts anew then. `options` are plain values, `generator` is the run's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from study.choice import Option, Registry, Value

if TYPE_CHECKING:
    import torch
    from torch import nn

Widths = tuple[int, ...]
WidthsAt = Callable[[Widths, int, Mapping[str, Value]], Widths]
Extend = Callable[["nn.Module", "nn.Module", Mapping[str, Value], "torch.Generator"], None]


@dataclass(frozen=True)
class Growth:
    """An entry; one whose widths never change needs no `extend`."""

    widths: WidthsAt
    extend: Extend | None = None


GROWTHS: Registry[Growth] = Registry("growth")


def growth(name: str, extend: Extend | None = None, **options: Option) -> Callable[[WidthsAt], WidthsAt]:
    """Register an entry under its name by its widths, with how it extends a network and its options."""

    def register(widths: WidthsAt) -> WidthsAt:
        GROWTHS.add(name, Growth(widths, extend), options, described_by=widths)
        return widths

    return register


@growth("none")
def none(hidden: Widths, epoch: int, options: Mapping[str, Value]) -> Widths:
    """One size from the first epoch to the last."""
    return hidden
