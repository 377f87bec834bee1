"""The exact curvature pass beside its peers, in one process, interleaved, as ratios of medians.

    python -m tests.benchmarks.curvature [--repeats 5] [--threads 2] [--device cpu] [--only lenet5,mlp]

Prints a table and writes results/bench/curvature.json, after each case; study/curvature/README.md shows the copy of it
beside this file (`python -m tests.benchmarks.document`). With one thread on a CPU times are of the processor, so that
what else runs there adds little. Peers that are not installed are named and left out, see requirements.txt. time_ratio
and memory_ratio are the peer's figure over ours in the same case, error the largest relative error of a layer's trace
against our float64 value, which the tests hold to autograd's Hessian.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from study.device import check_device
from study.storage.paths import results_root
from tests.benchmarks import networks, peers, stacked
from tests.benchmarks.case import Case

_TARGETS = {
    ("lenet5", "forward + backward"): ("ours at most 6 of its time", 1 / 6),
    ("lenet5", "BackPACK DiagGGNExact"): ("ours at most 0.55 of its time", 1 / 0.55),
    ("lenet5", "PyHessian, 1% standard error"): ("at least 50 times faster", 50.0),
    ("last layer, N = 50000", "Hessian by a loop"): ("at least 1000 times faster", 1000.0),
    ("100 classes, tolerance 1e-3", "ours, all columns"): ("at most 0.2 of its time", 5.0),
}


def network_case(name: str, model: nn.Module, data: tuple[Tensor, Tensor], is_small: bool) -> Case:
    """Ours, a forward and backward pass, and the peers that are installed and can go there."""
    x, y = data
    truth = peers.ours(model, x, y, dtype=torch.float64, normalized=False)()
    calls: dict[str, Callable] = {
        "ours, all layers": peers.ours(model, x, y),
        "forward + backward": peers.forward_backward(model, x, y),
    }
    if is_small:
        calls["ours, without the normalized form"] = peers.ours(model, x, y, normalized=False)
        if _is_there("curvlinops"):
            calls["curvlinops"] = peers.curvlinops(model, x, y)
        if _is_there("pyhessian"):
            calls["PyHessian"] = peers.pyhessian(model, x, y)
    if isinstance(model, nn.Sequential) and _is_there("backpack"):
        calls["BackPACK DiagGGNExact"] = peers.backpack(model, x, y)
    return Case(name, calls, truth, most_repeats=None if is_small else 1)


def _is_there(package: str) -> bool:
    """Whether a peer is installed and can go here: PyHessian as published sends data to a GPU wherever there is one."""
    return importlib.util.find_spec(package) is not None and not (package == "pyhessian" and torch.cuda.is_available())


def last_layer(device: str) -> Case:
    """The layer and the number of samples of the published measure: 840 second backward calls."""
    layer, n_rows = nn.Linear(84, 10).to(device), 12
    x, y = torch.randn(50000, 84, device=device).relu(), torch.randint(10, (50000,), device=device)
    loop = peers.hessian_loop(layer, x, y, n_rows)
    loop.factor = layer.weight.numel() / n_rows  # type: ignore[attr-defined]
    truth = peers.ours(layer, x, y, dtype=torch.float64)()
    calls = {
        "ours": peers.ours(layer, x, y, normalized=False),
        "ours, with the normalized form": peers.ours(layer, x, y),
        "Hessian by a loop": loop,
    }
    return Case("last layer, N = 50000", calls, truth)


def many_classes(device: str) -> Case:
    """A trained network with 100 classes: a tolerance beside all columns."""
    model, x, y = networks.digit_pairs()
    model, x, y = model.to(device), x.to(device), y.to(device)
    truth = peers.ours(model, x, y, dtype=torch.float64)()
    calls = {
        "ours, tolerance 1e-3": peers.ours(model, x, y, columns=1e-3),
        "ours, all columns": peers.ours(model, x, y),
        "ours, 4 random columns": peers.ours(model, x, y, columns=4),
        "forward + backward": peers.forward_backward(model, x, y),
    }
    return Case("100 classes, tolerance 1e-3", calls, truth)


def build(device: str) -> dict[str, Callable[[], Case]]:
    """The cases by name, built when their turn comes."""

    def on(data: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return data[0].to(device), data[1].to(device)

    return {
        "lenet5": lambda: network_case("lenet5", networks.lenet5().to(device), on(networks.images(2000)), True),
        "mlp": lambda: network_case(
            "mlp 784-50-50-50-30-10",
            networks.mlp(784, 50, 50, 50, 30, 10).to(device),
            on((torch.randn(10000, 784), torch.randint(10, (10000,)))),
            True,
        ),
        "population": lambda: stacked.case(device),
        "last": lambda: last_layer(device),
        "classes": lambda: many_classes(device),
        "vgg": lambda: network_case("vgg without norm", networks.vgg().to(device), on(networks.images(100)), False),
        "resnet18": lambda: network_case(
            "resnet18, 32 x 32", networks.resnet18().to(device), on(networks.images(1000)), False
        ),
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--only", default="", help="comma-separated cases")
    options = parser.parse_args()
    try:
        check_device(options.device)
    except (ValueError, RuntimeError) as error:
        raise SystemExit(f"error: {error}") from None
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    missing = [package for package in ("backpack", "curvlinops", "pyhessian") if not _is_there(package)]
    if missing:
        print(f"not installed, left out: {', '.join(missing)} (requirements.txt has them)")
    warnings.simplefilter("ignore")  # the peers' own
    cases = build(options.device)
    one = options.threads == 1 and options.device == "cpu"
    target = results_root() / "bench" / "curvature.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, object]] = []
    for name in options.only.split(",") if options.only else cases:
        for row in cases[name]().measure(options.repeats, time.process_time if one else time.perf_counter):
            rows.append(row)
            print(line(row), flush=True)
        measured = {"command": " ".join(sys.argv[1:]), "machine": machine(options), "rows": rows}
        target.write_text(json.dumps(measured, indent=1) + "\n")
    print(f"wrote {target}")


def machine(options: argparse.Namespace) -> str:
    """What it ran on, in words."""
    if options.device != "cpu":
        return f"{torch.cuda.get_device_name(options.device)}, torch {torch.__version__}"
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.machine(),
    )
    return f"{options.threads} of {os.cpu_count()} cores of {model}, torch {torch.__version__}"


def table(rows: list[dict]) -> str:
    """The rows as Markdown: times and memory as multiples of ours."""
    lines = ["| case | | seconds | time | memory | error |", "|---|---|---:|---:|---:|---:|"]
    for row in rows:
        error = "" if row["error"] is None or row["error"] != row["error"] else f"{row['error']:.0e}"
        peer = f"{row['peer']} (extrapolated)" if row["note"] else row["peer"]
        lines.append(
            f"| {row['case']} | {peer} | {_digits(row['seconds'])} | {_digits(row['time_ratio'])} x "
            f"| {row['peak_bytes'] / 2**20:.0f} MB | {error} |"
        )
    return "\n".join(lines) + "\n"


def _digits(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def line(row: dict) -> str:
    """A row of the table."""
    goal = _TARGETS.get((row["case"], row["peer"]))
    verdict = "" if goal is None else f"  target: {goal[0]}: {'met' if row['time_ratio'] >= goal[1] else 'NOT MET'}"
    error = "" if row["error"] is None else f"{row['error']:.1e}"
    return (
        f"{row['case']:28} {row['peer']:36} {row['seconds']:9.3f} s {row['time_ratio']:9.2f} x time "
        f"{row['peak_bytes'] / 2**20:8.0f} MB {row['memory_ratio']:6.2f} x  {error:8} {row['note']}{verdict}"
    )


if __name__ == "__main__":
    main()
