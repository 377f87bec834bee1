"""What code does off the CPU, tried on one."""

from __future__ import annotations

import torch


class Elsewhere(torch.Tensor):
    """A tensor of the CPU that says it is on a GPU."""

    @property
    def device(self) -> torch.device:
        return torch.device("cuda")
