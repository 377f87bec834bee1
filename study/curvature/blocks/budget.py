"""A look at the network on two samples: how much fits into the budget?"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

from ..networks.batches import Inputs
from .contraction import Shape
from .verification import Verification

# On a CPU larger pieces fall out of the caches, smaller ones pay for more calls. Measured on LeNet5, one core: of an
# AMD EPYC 1.3 times slower with 2^28 than with 2^26, 1.15 with 2^24; of an Intel Xeon that shows 480 MB of last-level
# cache, 1.2 times slower with 2^26 than with 2^28.
_SWIFT_CPU, _MOST_SWIFT = 2**26, 2**28
CACHE = 2**22  # on the EPYC 1.1 times slower with 2^20; the same within 5% with 2^21 to 2^23 on the Xeon
_FEWEST = 12  # samples to send back by hand at once: fewer would read large weights too often
_SWEPT = 4  # bytes that autograd would hold, over those that are sent back by hand at once
_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
# Backward holds the gradients of a few activations beside those that it was asked for: ReLU's, pooling's, a residual's.
_IN_FLIGHT = 4


@dataclass(frozen=True)
class Plan:
    """How many samples and columns to take at once so that a pass stays within a budget of bytes."""

    budget: int
    itemsize: int
    saved: int  # bytes that one sample's forward pass keeps
    n_outputs: int
    outputs: tuple[int, ...]  # numbers in each layer's output
    shapes: tuple[Shape | None, ...]  # None for a layer that the outputs do not depend on
    needs_gradient: bool
    swift: int  # bytes to take through a pass at once; more would be slower
    contracted: int  # bytes to contract at once
    swept_bytes: int  # of what autograd would hold, to send back by hand at once: by hand it is a fraction

    def working(self, k: int) -> int:
        """Bytes for one sample and k columns in the forward and backward pass."""
        deltas = k * (sum(self.outputs) + _IN_FLIGHT * max(self.outputs))
        return self.saved + 3 * 8 * k * self.n_outputs + self.itemsize * deltas

    def swept(self, k: int) -> int:
        """How many samples to send back by hand at once."""
        return max(_FEWEST, self.swept_bytes // self.working(k))

    def piece(self, index: int, k: int) -> int:
        """How many samples to contract at once for one layer."""
        return max(1, self.contracted // self._contraction(index, k))

    def _contraction(self, index: int, k: int) -> int:
        shape = self.shapes[index]
        return self.itemsize * shape.elements(k, self.needs_gradient) if shape else 1

    def fixed(self) -> int:
        """Bytes for the sums of all layers: T, its normalized form and one product in flight."""
        sizes = [shape.n_out**2 for shape in self.shapes if shape]
        return 8 * (2 * sum(sizes) + 2 * max(sizes, default=0))

    def chunk(self, k: int) -> tuple[int, int]:
        """(samples, columns) to take at once when each sample has k columns; ValueError if not even (1, 1) fits."""
        columns = max(k, 1)
        while columns > 1 and self._left(columns) < self.working(columns):
            columns = -(-columns // 2)
        left = self._left(columns)
        if left < self.working(columns):
            needed = 4 * (self.budget - left + self.working(columns)) // 3 + 1
            raise ValueError(
                f"memory_budget {self.budget} bytes is too small: one sample and one column need {needed}, "
                f"{self.fixed()} of them the sums of all layers; raise it or measure fewer layers at a time"
            )
        # Many samples share the work that is done once for each chunk: reading weights, adding up T.
        swift = max(self.swift, 4 * self.fixed())
        return max(1, min(left, swift) // self.working(columns)), columns

    def fits(self) -> bool:
        """Whether the budget holds at least one sample and one column."""
        return self._left(1) >= self.working(1)

    def _left(self, k: int) -> int:
        """Bytes for the passes: a quarter of the budget may hold recorded ones, and contractions need their own."""
        each = max(self._contraction(index, k) for index in range(len(self.shapes)))
        return 3 * self.budget // 4 - self.fixed() - max(self.contracted, each)


@functools.cache
def swift_cpu(caches: Path = _CACHES) -> int:
    """Bytes to take through a pass at once on this CPU: as its last-level cache holds, from 2^26 to 2^28.

    `caches` is where Linux says what caches a core has; where it does not, 2^26.
    """
    sizes = [file.read_text().strip() for file in sorted(caches.glob("index*/size"))]
    largest = max((int(size[:-1]) * 2**10 for size in sizes if size.endswith("K") and size[:-1].isdigit()), default=0)
    return min(max(_SWIFT_CPU, 2 ** (largest.bit_length() - 1) if largest else 0), _MOST_SWIFT)


def look(verification: Verification, inputs: Inputs, budget: int, needs_gradient: bool) -> Plan:
    """Run a few samples, verify what the exact pass supposes, and plan; ValueError as of `Verification`."""
    uses, outputs = verification.recorded(inputs)
    verification.verify(inputs, uses, outputs)
    n_layers = len(verification.layers)
    saved = verification.network.saved_bytes(lambda: verification.network(inputs)) // len(outputs)
    is_cpu = outputs.device.type == "cpu"
    return Plan(
        budget=budget,
        itemsize=max(4, outputs.element_size()),  # what is of 16 bits is contracted in float32
        saved=saved,
        n_outputs=outputs.shape[1],
        outputs=tuple(sum(use.n_numbers for use in uses.of(at)) // len(outputs) for at in range(n_layers)),
        shapes=tuple(verification.shapes),
        needs_gradient=needs_gradient,
        swift=swift_cpu() if is_cpu else budget,
        contracted=min(CACHE if is_cpu else budget // 4, budget // 8),
        swept_bytes=swift_cpu() // _SWEPT,
    )
