"""Training a shard as a study does, beside plain PyTorch that trains one network after another, in one process.

    python -m tests.benchmarks.training [--device cpu|cuda] [--only "64 mlps; nin"] [--repeats 5] [--threads 1]
                                        [--minutes N] [--out PATH]

Prints a row a case and writes results/bench/training.json after each; study/training/README.md shows the copy of it
beside this file (`python -m tests.benchmarks.document training`). Epochs of both sides follow each other; weights in
the end and numbers of steps are compared. With one thread on a CPU times are of the processor, so that what else runs
there adds little. time_ratio is our time over that of plain PyTorch, the median over rounds; networks_per_minute counts
networks of 100 epochs; flops_share and bytes_share are what was counted over what large arithmetic (the faster of a
product and a convolution) and a large copy reach here (arithmetic.py). Inputs are noise around centres, in the shapes
of the data sets. Both sides run under glibc's settings that run_shard makes (study/device.py). Needs torch,
torchvision, numpy, scipy and PyYAML.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from study.device import check_device
from study.provenance import commit
from study.storage.atomic import write_json
from study.storage.paths import results_root
from tests.benchmarks import arithmetic, race
from tests.benchmarks.curvature import machine
from tests.benchmarks.race import Case
from tests.benchmarks.shards import MLPS, cases, parts

PEER = "plain PyTorch, one after another"
EPOCHS = 100  # of a network, for networks a minute
_CPU_TARGETS = {MLPS: 0.12, "lenet5 batch": 0.85, "nin": 1.0, "resnet20": 1.0}
_CUDA_TARGETS = {MLPS: 0.02, "lenet5 batch": 0.05}
_BEST_LENET5 = 0.7  # at one batch size at least, on a CPU


def measure(case: Case, device: str, threads: int, repeats: int, reached: arithmetic.Device) -> dict[str, Any]:
    """The row of a case."""
    result = race.run(case, device, threads, repeats)
    notes = [f"{case.n_alone} networks alone stand for {case.networks}"] if case.n_alone < case.networks else []
    ours = statistics.median(ours for ours, _ in result.rounds)
    return {
        "case": case.name, "peer": PEER, "networks": case.networks, "steps": result.steps,
        **times(result.rounds, case.networks),
        "flops_share": result.cost.flops / ours / reached.flops,
        "bytes_share": result.cost.bytes / ours / reached.bytes,
        "error": result.error, "tolerance": case.tolerance, "memory_ratio": None,
        "note": "; ".join([*notes, *result.notes]),
    }  # fmt: skip


def times(rounds: Sequence[tuple[float, float]], networks: int) -> dict[str, Any]:
    """What a row says of the seconds of a network's epoch in every round, by us and alone."""
    ours, alone = (statistics.median(side) for side in zip(*rounds, strict=True))
    return {
        "time_ratio": statistics.median(ours / alone for ours, alone in rounds),
        "seconds": networks * ours, "peer_seconds": networks * alone,
        "networks_per_minute": 60 / (EPOCHS * ours), "peer_networks_per_minute": 60 / (EPOCHS * alone),
        "rounds": [list(each) for each in rounds],
    }  # fmt: skip


def together(name: str, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The row of cases of as many networks each: their mean, round by round."""
    each = [[sum(side) / len(rows) for side in zip(*sides, strict=True)]
            for sides in zip(*(row["rounds"] for row in rows), strict=True)]  # fmt: skip
    seconds = sum(row["seconds"] for row in rows)
    shares = {of: sum(r[of] * r["seconds"] for r in rows) / seconds for of in ("flops_share", "bytes_share")}
    return {
        **rows[0], "case": name, "steps": sum(row["steps"] for row in rows),
        **times(each, rows[0]["networks"]), **shares,
        "error": max(row["error"] for row in rows), "note": "the mean of " + "; ".join(row["case"] for row in rows),
    }  # fmt: skip


def verdict(row: dict, device: str) -> str:
    """Whether a row agrees with its peer and meets its target, in words; empty where it has none."""
    targets = _CUDA_TARGETS if device.startswith("cuda") else _CPU_TARGETS
    words = []
    if not row["error"] <= row["tolerance"]:
        words.append(f"RESULTS DIFFER: allowed: {row['tolerance']:g}")
    name = next((t for t in targets if row["case"] == t or (t.endswith("batch") and row["case"].startswith(t))), None)
    if name is not None:
        words.append(f"at most {targets[name]:g}: {'met' if row['time_ratio'] <= targets[name] else 'NOT MET'}")
    return "; ".join(words)


def best_lenet5(rows: Sequence[dict]) -> str:
    """Whether one batch size of LeNet5 meets the lower target of a CPU."""
    ratios = [row["time_ratio"] for row in rows if row["case"].startswith("lenet5 batch")]
    return f"lenet5, the best batch size at most {_BEST_LENET5}: {'met' if min(ratios) <= _BEST_LENET5 else 'NOT MET'}"


HEADER = (
    "| case | networks | ours, s an epoch | plain PyTorch | time | networks a minute | arithmetic | bandwidth | error |"
)


def table(rows: Sequence[dict]) -> str:
    """The rows as Markdown."""
    return "\n".join([HEADER, "|---|---:|---:|---:|---:|---:|---:|---:|---:|", *map(line, rows)]) + "\n"


def line(row: dict) -> str:
    """A row of the table."""
    seconds = f"{row['seconds']:.3g} | {row['peer_seconds']:.3g} | {row['time_ratio']:.2f} x"
    shares = f"{row['flops_share']:.0%} | {row['bytes_share']:.0%} | {row['error']:.0e}"
    return f"| {row['case']} | {row['networks']} | {seconds} | {row['networks_per_minute']:.3g} | {shares} |"


def chosen(options: argparse.Namespace) -> list[Case]:
    """The cases that were asked for. Raises ValueError for one that is not there."""
    found = cases(options.device)
    names = [name.strip() for name in options.only.split(";")] if options.only else [""]
    for name in names:
        if not any(case.name.startswith(name) for case in found):
            raise ValueError(f"--only: {name!r}: allowed: {'; '.join(case.name for case in found)}")
    return [case for case in found if case.name.startswith(tuple(names))]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write; 1 where a case failed or its results differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--only", default="", help='how names of cases begin: "lenet5 batch; nin"')
    parser.add_argument("--repeats", type=int, default=5, help="rounds that are timed")
    parser.add_argument("--threads", type=int, default=1, help="of a CPU; a study runs with 1")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="after so many no case is started")
    parser.add_argument("--out", type=Path, default=results_root() / "bench" / "training.json")
    options = parser.parse_args(arguments)
    try:
        if options.repeats < 1:
            raise ValueError(f"--repeats: {options.repeats}: allowed: 1 or more")
        check_device(options.device)
        todo = chosen(options)
    except (ValueError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return _measure_all(todo, options, list(sys.argv[1:] if arguments is None else arguments))


def _measure_all(todo: Sequence[Case], options: argparse.Namespace, command: list[str]) -> int:
    begin = time.monotonic()
    torch.set_num_threads(options.threads)
    reached = arithmetic.measured_device(options.device, race.clock_of(options.device, options.threads))
    rows: list[dict[str, Any]] = []
    failed: list[str] = []
    head = {"command": " ".join(command), "machine": machine(options), "commit": commit(),
            "flops_per_second": reached.flops, "bytes_per_second": reached.bytes}  # fmt: skip
    print(f"{head['machine']}: {reached.flops / 1e9:.0f} GFLOP/s, {reached.bytes / 1e9:.0f} GB/s\n{HEADER}", flush=True)
    for case in todo:
        if time.monotonic() - begin > 60 * options.minutes:
            print(f"{options.minutes:g} minutes are over: {case.name} and what follows is left out")
            break
        try:
            new = [measure(case, options.device, options.threads, options.repeats, reached)]
        except (RuntimeError, ValueError) as error:
            failed.append(f"{case.name}: {str(error).partition(chr(10))[0]}")
            print(f"FAILED: {failed[-1]}", flush=True)
        else:
            of_mlps = [row for row in (*rows, *new) if row["case"] in parts()]
            if case.name in parts() and len(of_mlps) == len(parts()):
                new.append(together(MLPS, of_mlps))
            for row in new:
                print(line(row), verdict(row, options.device), row["note"], flush=True)
            rows += new
        write_json(options.out, {**head, "rows": rows, "failed": failed})
    if options.device == "cpu" and any(row["case"].startswith("lenet5 batch") for row in rows):
        print(best_lenet5(rows))
    print(f"wrote {options.out}")
    return int(bool(failed) or any(not row["error"] <= row["tolerance"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
