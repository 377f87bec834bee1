"""The machine that a shard runs on: settings under which the same config gives the same bits."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor

# Messages of torch's that tell of the machine (memory of GPU and CPU, a broken GPU, its libraries), not of the network.
_OF_THE_MACHINE = re.compile(
    r"out of memory|can't allocate memory|not enough memory|CUDA error|CUBLAS_|CUDNN_|CUSOLVER_"
)
_MEMORY = re.compile(r"out of memory|can't allocate memory|not enough memory|_STATUS_ALLOC_FAILED")


def is_of_the_machine(error: Exception) -> bool:
    """Whether an error tells of the machine: to be tried again elsewhere, not recorded as a missing value."""
    return isinstance(error, RuntimeError) and bool(_OF_THE_MACHINE.search(str(error)))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there was no memory left, on a GPU or here."""
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and bool(_MEMORY.search(str(error))))


def check_device(device: str) -> None:
    """Raises ValueError for what names no device of ours, RuntimeError where it is not there: one line."""
    if device == "cpu":
        return
    if not (named := re.fullmatch(r"cuda(?::(\d+))?", device)):
        raise ValueError(f"device: {device!r}: allowed: cpu, cuda, or one of several GPUs, e.g. cuda:1")
    import torch

    n = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not n:
        raise RuntimeError(f"device: {device!r}: no CUDA device here, allowed: cpu")
    if int(named[1] or 0) >= n:
        raise RuntimeError(f"device: {device!r}: not here, allowed: cpu, {', '.join(f'cuda:{i}' for i in range(n))}")


def free_bytes(device: str) -> int | None:
    """Memory that one process may take: what is free on a GPU, or a core's share of what is free here.

    Shards run side by side, one a core. None where nobody says how much there is.
    """
    if device != "cpu":
        import torch

        torch.cuda.empty_cache()  # what torch keeps for itself is free too
        return torch.cuda.mem_get_info(device)[0]
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        available = 1024 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
        return min([available, *_left_to_job()]) // len(os.sched_getaffinity(0))
    except (OSError, StopIteration, AttributeError):
        return None


def _left_to_job() -> Iterator[int]:
    """What the control groups of this process, as a SLURM job has them, leave it; see cgroups(7)."""
    for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines():
        _, controllers, place = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        files = ("max", "current") if not controllers else ("limit_in_bytes", "usage_in_bytes")
        root = Path("/sys/fs/cgroup") / controllers
        for group in (root / place.lstrip("/"), *(root / place.lstrip("/")).parents):
            if root in (group, *group.parents):
                with contextlib.suppress(OSError, ValueError):  # none, or "max"
                    most, now = (int((group / f"memory.{file}").read_text()) for file in files)
                    yield max(0, most - now)


def upload(tensor: Tensor, device: str | torch.device) -> Tensor:
    """A tensor of the CPU on a device. A GPU takes it when its turn comes, and nobody here waits for that."""
    if str(device) == "cpu":
        return tensor
    return tensor.pin_memory().to(device, non_blocking=True)


@contextlib.contextmanager
def reproducible(device: str) -> Iterator[None]:
    """Deterministic kernels, one CPU thread, full float32; put back as they were afterwards.

    Raises RuntimeError without the device, ValueError for what is none.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    import torch

    check_device(device)
    if device == "cpu":
        keep_memory()
    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    fill = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]  # set by its module
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # nothing here reads it
    try:
        with rounded_products(False), contextlib.nullcontext() if device == "cpu" else torch.cuda.device(device):
            yield
    finally:
        torch.utils.deterministic.fill_uninitialized_memory = fill  # type: ignore[attr-defined]
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(strict)


@contextlib.contextmanager
def rounded_products(allowed: bool) -> Iterator[None]:
    """Whether a GPU may take TF32 for products and convolutions of float32; put back as it was afterwards.

    torch's own default is full float32 for products, and TF32, of 10 bits, for convolutions.
    """
    import torch

    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    before = products.allow_tf32, convolutions.allow_tf32
    products.allow_tf32 = convolutions.allow_tf32 = allowed
    try:
        yield
    finally:
        products.allow_tf32, convolutions.allow_tf32 = before


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


def return_memory() -> None:
    """Free what waits in reference cycles, and have glibc return the freed blocks that it kept, wherever they lie.

    Work that measures share refers to itself; Python collects such cycles by their number, not their size, and those of
    sixteen LeNet5 at three stops stood at 4.8 GB. What is next asked for has other sizes than the blocks.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
