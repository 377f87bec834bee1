"""Does the output for a sample depend on the samples beside it, or on chance? A few of each chunk are run again."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .batches import Inputs, apply, count_samples, select
from .network import Network
from .passes import noise

_AGAIN = 3  # samples of a chunk
# The first chunks are all checked, then one whenever so many samples have passed: of small ones not each.
_ALWAYS = 8
_EVERY = 64


@dataclass(frozen=True)
class Again:
    """Some samples of a chunk (`rows` there, `at` here), in another order and among others of the data."""

    inputs: Inputs
    rows: Tensor
    at: Tensor


class Companions:
    """Picks samples to run again, in batches of another size; refuses a network that gives other outputs for them."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.generator = torch.Generator().manual_seed(0)
        self._anchor: Inputs | None = None  # the first sample, which every batch holds
        self._n_checked = self._n_since = 0

    def of(self, inputs: Inputs) -> Again | None:
        """Some of a chunk's samples; None if it is not their turn."""
        n = count_samples(inputs)
        self._n_since += n
        if self._n_checked >= _ALWAYS and self._n_since < _EVERY:
            return None
        self._n_checked, self._n_since = self._n_checked + 1, 0
        rows = torch.randperm(n, generator=self.generator)[:_AGAIN].to(self.network.device)
        chosen, anchor = select(inputs, rows), self._anchor_for(inputs)
        # Never as many as in the chunk: what has the same shape in both has no axis of samples.
        parts = [chosen, *[anchor] * (2 if len(rows) + 1 == n else 1)]
        joined = _joined(parts)
        order = torch.randperm(count_samples(joined), generator=self.generator).to(self.network.device)
        if order.argsort()[: len(rows)].equal(rows):  # as in the chunk
            order = order.roll(1)
        return Again(select(joined, order), rows, order.argsort()[: len(rows)])

    def _anchor_for(self, inputs: Inputs) -> Inputs:
        if self._anchor is None or _shapes(self._anchor) != _shapes(inputs):  # padded to another length, it is renewed
            self._anchor = apply(select(inputs, slice(1)), torch.clone)
        return self._anchor

    def check(self, again: Again, repeated: Tensor, outputs: Tensor) -> None:
        """Raise ValueError where the outputs of samples that were run again are not those in their chunk."""
        if agree(repeated[again.at], outputs[again.rows], outputs):
            return
        with torch.no_grad():
            is_steady = agree(self.network(again.inputs), repeated, repeated)
        raise ValueError(MIXED if is_steady else _CHANCE)

    def check_draws(self, inputs: Inputs, outputs: Tensor) -> None:
        """Raise ValueError if the call that has just been made drew random numbers which change its outputs.

        Costs a forward pass where any were drawn, else nothing.
        """
        if self.network.has_drawn:
            with torch.no_grad():
                if not agree(self.network(inputs), outputs, outputs):
                    raise ValueError(_CHANCE)


_SUM = "the curvature of such a network has no sum over samples"
MIXED = (
    "the output for a sample depends on the other samples of its batch "
    f"(a batch-norm without running statistics? a mean over the batch?): {_SUM}"
)
_CHANCE = f"the output for a sample depends on chance, or on how often the model was called (dropout?): {_SUM}"


def agree(left: Tensor, right: Tensor, scale: Tensor) -> bool:
    """Whether two tensors are the same but for rounding, `scale` holding numbers of their size; NaN agrees with all."""
    far = noise(scale) * scale.detach().abs().amax() if scale.numel() else 0.0
    return not bool(((left - right).detach().abs() > far).any())


def _shapes(inputs: Inputs) -> list[torch.Size]:
    found: list[torch.Size] = []
    apply(inputs, lambda value: found.append(value.shape[1:]) or value)  # type: ignore[func-returns-value]
    return found


def _joined(parts: list[Inputs]) -> Inputs:
    first = parts[0]
    if isinstance(first, dict):
        return {name: torch.cat([part[name] for part in parts]) for name in first}  # type: ignore[index,call-overload]
    if isinstance(first, tuple):
        return tuple(torch.cat(values) for values in zip(*parts, strict=True))
    return torch.cat(parts)  # type: ignore[arg-type]
