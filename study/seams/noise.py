"""Random numbers for a stack: each network's from a generator of its own, new every epoch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from study.device import upload
from study.seeds import generator_for

Draw = Callable[[torch.Generator], Tensor]


class Noise:
    """Draws for a stack of networks that are the same for each whatever stack it is in, and on every device.

    Made anew at the start of every epoch, seeded by run, purpose and epoch: a resumed run needs no stored state.
    """

    def __init__(self, seeds: Sequence[int], epochs: Sequence[int], device: str | torch.device) -> None:
        self._networks, self._device = list(zip(seeds, epochs, strict=True)), device
        self._generators: dict[str, list[torch.Generator]] = {}

    def uniform(self, purpose: str, shape: Sequence[int]) -> Tensor:
        """Uniform on [0, 1), (networks, *shape); a purpose has a stream of its own in each network."""
        return self.drawn(purpose, lambda generator: torch.rand(*shape, generator=generator))

    def normal(self, purpose: str, shape: Sequence[int]) -> Tensor:
        """Standard normal, (networks, *shape); a purpose has a stream of its own in each network."""
        return self.drawn(purpose, lambda generator: torch.randn(*shape, generator=generator))

    def drawn(self, purpose: str, draw: Draw) -> Tensor:
        """What `draw` makes of each network's generator of a purpose, as a stack on the device."""
        if purpose not in self._generators:
            self._generators[purpose] = [generator_for(s, f"noise.{purpose}", e) for s, e in self._networks]
        return upload(torch.stack([draw(generator) for generator in self._generators[purpose]]), self._device)
