"""The seam `precision`: the numbers in which a training step multiplies.

It reaches a step's forward and backward pass and nothing else: weights, loss, update, evaluation at an epoch's end,
stops and measures are in full float32 (sums in float64) whatever a run's precision. An entry is a `Precision`.
"""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager
from dataclasses import dataclass

from study.choice import Choice, ConfigError, Registry
from study.device import rounded_products

CAPABILITY = (8, 0)  # of a CUDA device: the first that multiplies in either (Ampere)


@dataclass(frozen=True)
class Precision:
    """`tf32`: a GPU's products and convolutions of float32 keep 10 bits; `bf16`: torch.autocast to bfloat16."""

    tf32: bool = False
    bf16: bool = False

    def step(self) -> AbstractContextManager[None]:
        """Around a whole step."""
        return rounded_products(True) if self.tf32 else contextlib.nullcontext()

    def forward(self, device: str) -> AbstractContextManager[object]:
        """Around a forward pass of a step, on a device of this type; the backward pass follows it in its numbers."""
        if not self.bf16:
            return contextlib.nullcontext()
        import torch

        return torch.autocast(device, torch.bfloat16, cache_enabled=False)  # a CUDA graph must find nothing kept


FULL = Precision()
PRECISIONS: Registry[Precision] = Registry("precision")
PRECISIONS.add("float32", FULL, described_by="Full float32.")
PRECISIONS.add(
    "tf32", Precision(tf32=True),
    described_by="TF32 for products and convolutions, on a CUDA device of compute capability 8.0 or more alone.",
)  # fmt: skip
PRECISIONS.add(
    "bf16", Precision(bf16=True),
    described_by="`torch.autocast` to bfloat16. On a CPU too, where it hardly pays. A stack adds biases in float32.",
)  # fmt: skip


def check_precision(choice: Choice, device: str) -> None:
    """Raise ConfigError, one line, for what a device cannot multiply in; of a GPU that is not here nothing is known."""
    if choice.name == "float32":
        return
    if device == "cpu":
        if PRECISIONS[choice.name].tf32:
            some = ", ".join(name for name, one in PRECISIONS.items() if not one.tf32)
            raise ConfigError("precision", choice.name, f"allowed on device cpu: {some}")
        return
    import torch

    if not torch.cuda.is_available():
        return
    found = torch.cuda.get_device_capability(device)
    if found < CAPABILITY:
        is_old = f"device {device} of compute capability {'.'.join(map(str, found))}"
        raise ConfigError("precision", choice.name, f"allowed on {is_old}: float32")
