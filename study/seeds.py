"""All randomness comes from here: a seed for each purpose, derived from the run's own seed."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def seed_for(seed: int | str, purpose: str, *index: int | str) -> int:
    """A 63-bit seed for one purpose of one run: the same for the same arguments, unrelated for others.

    `seed_for(config.seed, "order", epoch)` seeds the data order of an epoch, so that a resumed run needs no stored
    generator state.
    """
    text = "/".join(str(part) for part in (seed, purpose, *index))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator_for(seed: int | str, purpose: str, *index: int | str) -> torch.Generator:
    """A CPU generator seeded by `seed_for`; draw on the CPU so that every device sees the same numbers."""
    import torch

    return torch.Generator().manual_seed(seed_for(seed, purpose, *index))
