"""Seconds of each measure of one network at one stop, as a study takes them; beside an older commit's, in one run.

    python -m tests.benchmarks.measuring [--study lenet5_cifar10] [--images N] [--repeats 3] [--against PATH]

Trains the first network of the study for a few epochs of plain SGD and takes all the study's measures of it, those of
reparameterized copies too, on all training images or the first N. With `--against`, a checkout of another commit, that
one's code takes them of the same weights in a second process: the two run in turn, one waiting for the other. One
thread, time of the processor, and a shard's settings of the process (study/device.py).
Prints a table and writes results/bench/measuring.json: a row a case (a measure's label without its transform, all
transforms of it together; "all measures", the stop; "all but searches"; "`--stops` stops") and peer, time_ratio being
the peer's seconds over ours, `passes` seconds over those of one forward and backward pass over the images in the same
process, `difference` the largest relative difference of a value from ours. What several measures share (the exact
curvature pass) is counted with the first of them, as it is in records.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from study.device import reproducible
from study.grid import load_study
from study.provenance import commit, device_name
from study.storage.paths import CONFIGS, results_root

_ROOT = Path(__file__).resolve().parents[2]
PASS = "one pass"  # among the labels of a round: seconds of one forward and backward pass
Round = dict[str, tuple[float, float | None]]  # by label, seconds and value


def train(study: str, n_epochs: int, target: Path) -> None:
    """Write the weights of the study's first network, at the start and after some epochs, with its data."""
    from study.training.start import build_model, training_data, training_labels

    config = load_study(CONFIGS / f"{study}.yaml").runs[0]
    data = training_data(config)
    labels = training_labels(config, data.train_y)
    model = build_model(config)
    start = {name: value.detach().clone() for name, value in model.named_parameters()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.5)
    generator = torch.Generator().manual_seed(0)
    for _ in range(n_epochs):
        for batch in torch.randperm(len(labels), generator=generator).split(64):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(data.train_x[batch]), labels[batch]).backward()
            optimizer.step()
    held_out = {"test_x": data.test_x, "test_y": data.test_y}
    torch.save({"start": start, "end": model.state_dict(), "x": data.train_x, "labels": labels, **held_out}, target)


class Code:
    """A checkout whose code takes the measures, in a process of its own: one round at each call."""

    def __init__(self, root: Path, study: str, network: Path, images: int = 0) -> None:
        if not (root / "study" / "measures").is_dir():
            raise ValueError(f"--against {root}: holds no study/measures; allowed: a checkout of this repository")
        self._process = subprocess.Popen(
            [sys.executable, "-P", __file__, study, network, str(images)],
            env=os.environ | {"PYTHONPATH": str(root)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(self) -> Round:
        """All measures, once."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError("the process that measures has ended, see above")
        found: Round = json.loads(answer)
        return found

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def measure(study: str, file: Path, images: int) -> Round:
    """Each of the study's labels of the network in a file, on its first images, by the code that is imported here.

    Under PASS the seconds of one pass. Commits from before measures read test images are asked for less.
    """
    from study.measures import MeasureContext, compute
    from study.training.start import build_model

    found, config = load_study(CONFIGS / f"{study}.yaml"), load_study(CONFIGS / f"{study}.yaml").runs[0]
    kept = torch.load(file)
    model = build_model(config).eval()
    model.load_state_dict(kept["end"])
    x, labels = (kept[name][: images or None] for name in ("x", "labels"))
    known = {field.name for field in dataclasses.fields(MeasureContext)}
    more = {"trained_on": len(kept["x"]), "held_out": (kept["test_x"], kept["test_y"])}
    more = {name: value for name, value in more.items() if name in known}
    context = MeasureContext(model, kept["start"], x, labels, config.loss, "benchmark", **more)
    taken: Round = {PASS: (_pass_seconds(model, x, labels), None)}
    for label in found.measures:
        begin = time.process_time()
        try:
            value = compute(label, context)["value"]
        except ValueError as error:  # recorded as missing in a study
            print(f"{label}: {error}", file=sys.stderr)
            value = None
        taken[label] = time.process_time() - begin, value
    return taken


def _pass_seconds(model: torch.nn.Module, x: torch.Tensor, labels: torch.Tensor) -> float:
    """Of one forward and backward pass over all images, a thousand at a time: the median of four."""

    def seconds() -> float:
        begin = time.process_time()
        for images, classes in zip(x.split(1000), labels.split(1000), strict=True):
            loss = torch.nn.functional.cross_entropy(model(images), classes)
            torch.autograd.grad(loss, [parameter for parameter in model.parameters() if parameter.requires_grad])
        return time.process_time() - begin

    return statistics.median(seconds() for _ in range(4))


def rows(rounds: dict[str, list[Round]], n_stops: int) -> list[dict[str, Any]]:
    """Each case by peer, ours first: medians over the rounds, and of the ratios of two that ran after one another."""
    from study.measures import is_search

    (ours, first), *_ = rounds.items()
    every = [label for label in first[0] if label != PASS and all(label in all_[0] for all_ in rounds.values())]
    names = list(dict.fromkeys(label.partition("@")[0] for label in every))
    cases = {name: [label for label in every if label.partition("@")[0] == name] for name in names}
    cases |= {"all measures": every, "all but searches": [label for label in every if not is_search(label)]}
    made = []
    for case, labels in [*cases.items(), (f"{n_stops} stops", cases["all measures"])]:
        times = {
            peer: [sum(taken[label][0] for label in labels) * (n_stops if case not in cases else 1) for taken in all_]
            for peer, all_ in rounds.items()
        }
        for peer, seconds in times.items():
            ratios = [theirs / own for theirs, own in zip(seconds, times[ours], strict=True) if own > 0]
            row = {
                "case": case,
                "peer": peer,
                "seconds": statistics.median(seconds),
                "time_ratio": statistics.median(ratios) if ratios else math.nan,
                "passes": statistics.median(s / taken[PASS][0] for s, taken in zip(seconds, rounds[peer], strict=True)),
                "labels": len(labels),
                "missing": sum(rounds[peer][0][label][1] is None for label in labels),
                "difference": max(_difference(first[0][label][1], rounds[peer][0][label][1]) for label in labels),
            }
            made.append(row)
    return made


def _difference(ours: float | None, theirs: float | None) -> float:
    if ours is None or theirs is None:
        return 0.0 if ours is theirs else math.inf
    return abs(ours - theirs) / (abs(theirs) or 1)


def table(made: list[dict[str, Any]]) -> str:
    """The rows, for a terminal."""
    lines = [f"{'case':32} {'peer':12} {'labels':>6} {'seconds':>9} {'passes':>8} {'ratio':>7} {'difference':>11}"]
    for row in made:
        ratio, far = f"{row['time_ratio']:.2f}", f"{row['difference']:.1e}"
        cost = f"{row['seconds']:9.3f} {row['passes']:8.1f}"
        lines.append(f"{row['case']:32} {row['peer']:12} {row['labels']:6} {cost} {ratio:>7} {far:>11}")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", default="lenet5_cifar10", help="a study of configs/")
    parser.add_argument("--images", type=int, default=0, help="training images to measure on, the first (default: all)")
    parser.add_argument("--epochs", type=int, default=4, help="how long the network trains before")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--stops", type=int, default=6, help="of a network of the study")
    parser.add_argument("--against", type=Path, help="a checkout of another commit, to be measured in turn")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        network = Path(folder) / "network.pt"
        try:
            train(options.study, options.epochs, network)
        except ValueError as error:  # an unknown study, data that are not there
            raise SystemExit(str(error)) from None
        roots = {"ours": _ROOT} | ({"against": options.against.resolve()} if options.against else {})
        codes = {peer: Code(root, options.study, network, options.images) for peer, root in roots.items()}
        try:
            rounds: dict[str, list[Round]] = {peer: [] for peer in codes}
            for _ in range(options.repeats):
                for peer, code in codes.items():
                    rounds[peer].append(code())
        finally:
            for code in codes.values():
                code.close()
    made = rows(rounds, options.stops)
    print(table(made))
    target = results_root() / "bench" / "measuring.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    machine = f"1 of {os.cpu_count()} cores of {device_name('cpu').removeprefix('cpu ')}, torch {torch.__version__}"
    written = {"command": " ".join(arguments or sys.argv[1:]), "machine": machine, "commit": commit()}
    target.write_text(json.dumps({**written, "study": options.study, "rows": made}, indent=1) + "\n")
    print(f"wrote {target}")


if __name__ == "__main__":
    if len(sys.argv) == 4 and not sys.argv[1].startswith("-"):  # of `Code`
        with reproducible("cpu"):  # as a shard's process is
            for _ in sys.stdin:
                print(json.dumps(measure(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))), flush=True)
    else:
        main()
