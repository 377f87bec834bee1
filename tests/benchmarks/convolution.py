"""A convolution of stacked networks, as vmap makes it and as unfold and bmm: seconds of forward and backward.

    python -m tests.benchmarks.convolution [--device cuda] [--repeats 5]

Writes results/bench/convolution.json: rows of {case, peer, seconds, time_ratio, memory_ratio, error}, the grouped
convolution first. Training uses what vmap makes; bits depend on it, so that another kernel is a decision, not a guess.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from torch.func import vmap
from torch.nn import functional

from study.device import check_device, reproducible
from study.provenance import device_name
from study.storage.atomic import write_json
from study.storage.paths import results_root

LAYERS = {"lenet5 conv1": (1, 6, 28, 2), "lenet5 conv2": (6, 16, 14, 0)}  # channels in and out, side, padding; 5 x 5
Kernel = Callable[[Tensor, Tensor, Tensor, int], Tensor]


def grouped(x: Tensor, weight: Tensor, bias: Tensor, padding: int) -> Tensor:
    """Outputs (networks, n, out, ...) of inputs (networks, n, in, height, width), one grouped convolution by vmap."""
    return vmap(lambda x, w, b: functional.conv2d(x, w, b, padding=padding))(x, weight, bias)


def unfolded(x: Tensor, weight: Tensor, bias: Tensor, padding: int) -> Tensor:
    """The same as one product of matrices a network, of the patches of its images."""
    (k, n, _, height, width), (_, n_out, _, side, _) = x.shape, weight.shape
    rows, columns = height + 2 * padding - side + 1, width + 2 * padding - side + 1
    patches = functional.unfold(x.flatten(0, 1), side, padding=padding)  # (k n, in side side, rows columns)
    patches = patches.view(k, n, -1, rows * columns).transpose(1, 2).flatten(2)
    made = torch.baddbmm(bias.unsqueeze(-1), weight.flatten(2), patches)
    return made.view(k, n_out, n, rows, columns).transpose(1, 2)


def timed(kernel: Kernel, tensors: Sequence[Tensor], padding: int, repeats: int) -> list[float]:
    """Seconds of one forward and backward pass each time, after one that warms up."""
    seconds = []
    for _ in range(repeats + 1):
        _wait(tensors[0])
        begin = time.perf_counter()
        torch.autograd.grad(kernel(tensors[0], tensors[1], tensors[2], padding).square().sum(), tensors)
        _wait(tensors[0])
        seconds.append(time.perf_counter() - begin)
    return seconds[1:]


def _wait(tensor: Tensor) -> None:
    if tensor.device.type == "cuda":
        torch.cuda.synchronize(tensor.device)


def rows(device: str, sizes: Sequence[tuple[int, int]], repeats: int) -> Iterator[dict[str, object]]:
    """Both kernels for every layer, number of networks and batch, in turn."""
    for name, (n_in, n_out, side, padding) in LAYERS.items():
        for k, n in sizes:
            shapes = ((k, n, n_in, side, side), (k, n_out, n_in, 5, 5), (k, n_out))
            tensors = [torch.randn(shape, device=device).requires_grad_() for shape in shapes]
            with torch.no_grad():
                a, b = grouped(*tensors, padding), unfolded(*tensors, padding)
            error = ((a - b).norm() / a.norm()).item()
            base = statistics.median(timed(grouped, tensors, padding, repeats))
            other = statistics.median(timed(unfolded, tensors, padding, repeats))
            for peer, seconds in (("grouped convolution", base), ("unfold and bmm", other)):
                yield {"case": f"{name}, {k} networks, batch {n}", "peer": peer, "seconds": seconds,
                       "time_ratio": seconds / base, "memory_ratio": None, "error": error}  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args(arguments)
    try:
        check_device(options.device)
    except (ValueError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    sizes = [(4, 4)] if options.device == "cpu" else [(16, 4), (144, 4), (144, 64), (144, 512)]
    target, found = results_root() / "bench" / "convolution.json", []
    with reproducible(options.device):
        for row in rows(options.device, sizes, options.repeats):
            found.append(row)
            print(f"{row['case']:40} {row['peer']:20} {row['seconds']:.2e} s {row['time_ratio']:.2f} x", flush=True)
            write_json(target, {"machine": device_name(options.device), "torch": torch.__version__, "rows": found})
    print(f"wrote {target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
