"""Everything that needs a GPU, in one command of at most eight minutes, for wherever one can be had for so long.

    python -m tests.benchmarks.gpu [--device cuda] [--minutes 8] [--only tests,training]

Needs torch, torchvision, numpy, scipy, PyYAML and pytest alone. Parts, each a process with a time limit of its own:
the tests marked gpu, two short studies, training beside plain PyTorch, two kernels of a convolution, the curvature
pass. Writes results/bench/gpu.json after each of them, so that what is done stays where the rest is cut off; a part
that fails is recorded with the end of what it said. With `--device cpu` all of it is done small: a rehearsal.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from study.device import check_device
from study.provenance import commit, device_name
from study.storage.atomic import read_json, write_json
from study.storage.paths import data_folder, results_root

ROOT = Path(__file__).parents[2]
TESTS = ("tests/study/training/test_graph.py", "tests/study/training/test_population.py",
         "tests/study/training/test_training.py", "tests/study/data/test_images.py",
         "tests/study/curvature/test_layer_curvature.py", "tests/benchmarks/test_gpu_benchmark.py")  # fmt: skip
MISSING = "recorded as missing"  # what `study run` says of values, and ends well
TAIL = 4000  # characters of what a part said that are kept
MLPS = """
fixed: {dataset: gaussian_mixture, n_train: 2000, hidden: [64, 64], momentum: 0.9, batch_size: 20, stops: [epoch_%d],
        max_epochs: %d, lr: 0.05}
seeds: %d
measures: [train_loss, relative_flatness]
"""
IMAGES = """
fixed: {dataset: fashion_mnist, model: lenet5, n_train: %d, momentum: 0.9, batch_size: 64, stops: [epoch_%d],
        max_epochs: %d, lr: 0.05}
seeds: %d
measures: [train_loss, relative_flatness]
"""


@dataclass(frozen=True)
class Part:
    """A process: its arguments for python, the most seconds that it may take, the JSON that it leaves, if any, and what
    it says where it failed although it ended well."""

    name: str
    arguments: tuple[str, ...]
    limit: float
    result: Path | None = None
    environment: dict[str, str] = field(default_factory=dict)
    fault: str = ""


def parts(device: str, scratch: Path) -> list[Part]:
    """In the order in which they matter; `scratch` is theirs."""
    small, data = device == "cpu", {"STUDY_DATA": str(_images(scratch))}
    marked = ("-k", "replayed or recorded", TESTS[0]) if small else ("-m", "gpu", *TESTS)
    pytest = ("-m", "pytest", "-q", "-W", "default", "-p", "no:cacheprovider", *marked)
    mlps, lenet5 = (
        (MLPS % (1, 1, 6), IMAGES % (200, 1, 1, 2)) if small else (MLPS % (10, 10, 256), IMAGES % (5000, 4, 4, 144))
    )
    cases = ("--repeats", "1", "--only", "64 mlps, batch 10") if small else ("--repeats", "3", "--minutes", "2.5")
    once = "1" if small else "3"
    found = [
        Part("tests", pytest, 100),
        Part("study of mlps", _study(device, scratch, "mlps", mlps), 60, environment=data, fault=MISSING),
        Part("study of lenet5", _study(device, scratch, "lenet5", lenet5), 60, environment=data, fault=MISSING),
        _bench("training", 200, scratch, "--device", device, *cases),
        _bench("convolution", 40, scratch, "--device", device, "--repeats", once),
        _bench("curvature", 60, scratch, "--device", device, "--repeats", once, "--only", "lenet5"),
    ]
    return [replace(part, limit=3 * part.limit) for part in found] if small else found  # a CPU has others to serve


def _bench(name: str, limit: float, scratch: Path, *arguments: str) -> Part:
    return Part(name, ("-m", f"tests.benchmarks.{name}", *arguments), limit, scratch / "results/bench" / f"{name}.json")


def _study(device: str, scratch: Path, name: str, text: str) -> tuple[str, ...]:
    config = scratch / f"{name}.yaml"
    config.write_text(text, encoding="utf-8")
    folders = ("--runs", str(scratch / "runs"), "--results", str(scratch / "results"))
    return ("-m", "study", "run", str(config), "--device", device, "--wandb", "off", *folders)


def _images(scratch: Path) -> Path:
    """Where Fashion-MNIST is: the real one, or else noise around a centre a class in its files' format."""
    if (data_folder() / "FashionMNIST").is_dir():
        return data_folder().resolve()
    folder, rng = scratch / "data" / "FashionMNIST" / "raw", np.random.default_rng(0)
    folder.mkdir(parents=True)
    centres = rng.integers(0, 160, (10, 28, 28))
    for stem, n in (("train", 60_000), ("t10k", 10_000)):
        labels = rng.integers(0, 10, n).astype(np.uint8)
        images = (centres[labels] + rng.integers(0, 96, (n, 28, 28))).astype(np.uint8)
        for name, values in (("images-idx3", images), ("labels-idx1", labels)):
            head = bytes([0, 0, 8, values.ndim]) + b"".join(size.to_bytes(4, "big") for size in values.shape)
            (folder / f"{stem}-{name}-ubyte").write_bytes(head + values.tobytes())
    return scratch / "data"


def done(part: Part, seconds: float, scratch: Path) -> dict[str, Any]:
    """Do a part within so many seconds: what it was, how it ended, and what it left."""
    begin = time.monotonic()
    environment = {"STUDY_RESULTS": str(scratch / "results"), "PYTHONUNBUFFERED": "1", **part.environment}
    with (scratch / "log").open("w+b") as log:
        process = subprocess.Popen(
            [sys.executable, *part.arguments], cwd=ROOT, env={**os.environ, **environment}, stdout=log,
            stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        try:
            status = process.wait(min(part.limit, seconds))
        except subprocess.TimeoutExpired:
            status = None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)  # its own session, and what it has started
                process.wait()
        log.seek(0)
        said = log.read().decode(errors="replace")
    if status == 0 and part.fault and part.fault in said:
        status = 1
    found = read_json(part.result) if part.result and part.result.exists() else None
    return {"part": part.name, "command": " ".join(part.arguments), "status": status, "limit": min(part.limit, seconds),
            "seconds": time.monotonic() - begin, "said": said[-TAIL:], "result": found}  # fmt: skip


def machine(device: str) -> dict[str, Any]:
    """What it ran on."""
    found: dict[str, Any] = {"device": device_name(device), "torch": torch.__version__, "commit": commit()}
    if device != "cpu":
        about = torch.cuda.get_device_properties(device)
        found |= {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version(), "bytes": about.total_memory}
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Do the parts, one after another; 1 where one failed or had no time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N, or cpu for a rehearsal (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=8.0, help="of all parts together (default: %(default)s)")
    parser.add_argument("--only", default="", help="parts, by how their names begin, with commas between them")
    parser.add_argument("--out", type=Path, default=results_root() / "bench" / "gpu.json")
    options = parser.parse_args(arguments)
    end = time.monotonic() + 60 * options.minutes
    with tempfile.TemporaryDirectory(prefix="gpu-bench-") as folder:
        try:
            if not 0 < options.minutes < float("inf"):
                raise ValueError(f"--minutes: {options.minutes}: allowed: a number > 0")
            check_device(options.device)
            todo = parts(options.device, Path(folder))
            wanted = tuple(name.strip() for name in options.only.split(","))
            for name in wanted:
                if not any(part.name.startswith(name) for part in todo):
                    raise ValueError(f"--only: {name!r}: allowed: {', '.join(part.name for part in todo)}")
        except (ValueError, RuntimeError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        return _all([part for part in todo if part.name.startswith(wanted)], options, end, Path(folder))


def _all(todo: Sequence[Part], options: argparse.Namespace, end: float, scratch: Path) -> int:
    head, rows = machine(options.device), []
    print(f"{head['device']}, torch {head['torch']}", flush=True)
    for part in todo:
        rows.append(done(part, max(1.0, end - time.monotonic()), scratch))
        row = rows[-1]
        how = {None: "CUT OFF", 0: "done"}.get(row["status"], f"FAILED ({row['status']})")
        print(f"{part.name:16} {how} in {row['seconds']:.0f} s", flush=True)
        if row["status"] != 0:
            print(row["said"][-1500:], flush=True)
        write_json(options.out, {**head, "parts": rows})
    print(f"wrote {options.out}")
    return int(any(row["status"] != 0 for row in rows))


if __name__ == "__main__":
    sys.exit(main())
