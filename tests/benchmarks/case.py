"""Calls that are compared on one network: times in turn, the memory of each, and its error, as multiples of ours."""

from __future__ import annotations

import ctypes
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

from tests.benchmarks import peers


class Case:
    """One network and the calls that are compared on it; the first is the one that the ratios refer to."""

    def __init__(
        self, name: str, calls: dict[str, Callable], truth: dict[str, float], most_repeats: int | None = None
    ) -> None:
        self.name, self.calls, self.truth, self.most_repeats = name, calls, truth, most_repeats
        self.times: dict[str, float] = {}

    def measure(self, repeats: int, clock: Callable[[], float] = time.perf_counter) -> list[dict[str, object]]:
        """Run all calls in turn, repeats times; the first round, which warms up, gives memory and errors."""
        seconds: dict[str, list[float]] = {peer: [] for peer in self.calls}
        memory, results = {}, {}
        for peer, call in self.calls.items():
            results[peer], memory[peer] = peak_bytes(call)
        for _ in range(min(repeats, self.most_repeats or repeats)):
            for peer, call in self.calls.items():
                start = clock()
                call()
                synchronize()
                seconds[peer].append(clock() - start)
        ours = next(iter(self.calls))
        rows = []
        for peer, call in self.calls.items():
            factor = getattr(call, "factor", 1.0)
            label = peer
            if isinstance(call, peers.Probes):
                factor = call.needed() / call.n
                label = f"{peer}, 1% standard error"
            times = [value * factor for value in seconds[peer]]
            self.times[label] = statistics.median(times)
            rows.append(
                {
                    "case": self.name,
                    "peer": label,
                    "seconds": self.times[label],
                    "time_ratio": self.times[label] / self.times[ours],
                    "memory_ratio": memory[peer] / max(memory[ours], 1),
                    "peak_bytes": memory[peer],
                    "error": self.error(results[peer]),
                    "note": f"extrapolated by {factor:.3g}" if factor != 1 else "",
                }
            )
        return rows

    def error(self, result: object) -> float | None:
        """The largest relative error of a trace against the float64 ones."""
        if not isinstance(result, dict) or result.keys() != self.truth.keys():
            return None
        return max(abs(result[name] - self.truth[name]) / abs(self.truth[name]) for name in self.truth)


def synchronize() -> None:
    """Wait for the accelerator, if there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def peak_bytes(call: Callable) -> tuple[object, int]:
    """A call's result, and the most memory it held beyond what was held before."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        result = call()
        return result, torch.cuda.max_memory_allocated() - before
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark, see proc(5)
    before = _status("VmRSS")
    result = call()
    return result, _status("VmHWM") - before


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))
