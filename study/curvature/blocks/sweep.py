"""Columns that are sent back by hand, a few samples at a time: summed up before they leave the caches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from .budget import Plan
from .chain import Chain, Link
from .live import Delta, Live, dense, takes
from .recording import Uses
from .result import Tally


@torch.no_grad()
def sweep(chain: Chain, uses: Uses, columns: Tensor, plan: Plan, tallies: Sequence[Tally], sign: int = 1) -> None:
    """Add what the columns (k, n, C) say of each layer that the chain goes through to its tally."""
    for index, delta, at in sent_back(chain, columns, plan.swept(len(columns))):
        _add(uses, index, uses.of(index)[0].x[at], delta, plan, tallies[index], sign)


def sent_back(chain: Chain, columns: Tensor, n: int) -> Iterator[tuple[int, Delta, slice]]:
    """The gradients of the columns (k, n, C) in each layer's outputs, and of which samples: images of n at once."""

    def walk(links: Sequence[Link], delta: Delta, at: slice) -> Iterator[tuple[int, Delta, slice]]:
        """From some link on, for the samples `at`; vectors of all samples at once."""
        for place, (index, step) in enumerate(links):
            if (isinstance(delta, Live) or delta.ndim > 3) and len(delta) > n:
                for start in range(0, len(delta), n):
                    some = slice(at.start + start, min(at.start + start + n, at.stop))
                    yield from walk(links[place:], delta[start : start + n], some)
                return
            if index is not None:
                yield index, delta, at
            if step is not None:
                delta = step(delta, at)

    yield from walk(chain, columns.transpose(0, 1).contiguous(), slice(0, columns.shape[1]))


def _add(uses: Uses, index: int, x: Tensor, delta: Delta, plan: Plan, tally: Tally, sign: int) -> None:
    layer, module = uses.layers[index], uses.of(index)[0].module
    if isinstance(delta, Live) and takes(module):
        _, k, channels, places = delta.values.shape
        n_patches = plan.contracted // (plan.itemsize * tally.weight.shape[1])
        shape = plan.shapes[index]
        if n_patches >= channels * places and shape and shape.pays_at(places, k):  # else no cache holds a sample's
            tally.add_live(module, x, delta, n_patches, sign)
            return
    delta = dense(delta)
    n = plan.piece(index, delta.shape[1])
    for start in range(0, len(x), n):
        at = slice(start, start + n)
        tally.add(layer.patches(module, x[at]), layer.deltas(module, delta[at]), sign)
