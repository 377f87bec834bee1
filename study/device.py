"""The machine that a shard runs on: settings under which the same config gives the same bits."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
from collections.abc import Iterator

# Messages of torch's that tell of the machine (memory of GPU and CPU, a broken GPU, its libraries), not of the network.
_OF_THE_MACHINE = re.compile(
    r"out of memory|can't allocate memory|not enough memory|CUDA error|CUBLAS_|CUDNN_|CUSOLVER_"
)


def is_of_the_machine(error: Exception) -> bool:
    """Whether an error tells of the machine: to be tried again elsewhere, not recorded as a missing value."""
    return isinstance(error, RuntimeError) and bool(_OF_THE_MACHINE.search(str(error)))


@contextlib.contextmanager
def reproducible(device: str) -> Iterator[None]:
    """Deterministic kernels, one CPU thread, full float32; put back as they were afterwards.

    Raises RuntimeError without the device.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    import torch

    if device.startswith("cuda") and not torch.cuda.is_available():
        raise RuntimeError(f"device: {device!r}: no CUDA device here, allowed: cpu")
    if device == "cpu":
        keep_memory()
    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    fill = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]  # set by its module
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # nothing here reads it
    try:
        yield
    finally:
        torch.utils.deterministic.fill_uninitialized_memory = fill  # type: ignore[attr-defined]
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(strict)


def keep_memory() -> None:
    """Have glibc reuse freed blocks instead of returning them: each step's batches were mapped and zeroed anew.

    Measured 1.6 times faster for MNIST at batch 8,000. Where a shard runs on a thread of its own, call it before any
    other thread has allocated: one that has stays with a heap of its own, which cannot hold large blocks (the curvature
    of LeNet5 took 2.3 times longer there). Nothing happens where the C library is another one.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        m_trim_threshold, m_mmap_max, m_arena_max = -1, -4, -8
        mallopt(m_arena_max, 1)
        mallopt(m_mmap_max, 0)
        mallopt(m_trim_threshold, 2**31 - 1)
