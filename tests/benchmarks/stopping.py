"""What it costs to stop drawing where the standard error is small, and what standard errors of sampled measures hold.

    python -m tests.benchmarks.stopping --runs FOLDER [--study library_cifar10] [--networks 4] [--draws 600] [--sets 24]

Of some finished networks of a study, at its first and its last stop. `sharpness_mean`: so many draws are taken, and
the rule that ends a measurement (study/measures/perturbation/noise.py) is applied to 3,000 resamples of them, whose
mean is the truth. The level of noise of PAC-Bayes: the whole search is done with so many other sets of noise, whose
mean is taken for the truth. Prints a table and writes results/bench/stopping.json: a row a label, `bias` and `error`
(root of the mean square) relative to the truth, `held` the share of values whose truth lies within two standard
errors. Five minutes a network on one core.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from study.config import run_key
from study.grid import load_study
from study.measures.context import MeasureContext
from study.measures.families.pac_bayes import DRAWS, MOST_DRAWS, level_of
from study.measures.families.sharpness import DRAWS as RISES
from study.measures.families.sharpness import rises
from study.measures.perturbation.noise import stopped_mean
from study.measures.perturbation.perturbation import shared_samples
from study.measures.registry import Sampled
from study.measuring import context_at
from study.provenance import commit, device_name
from study.state import finished
from study.storage.atomic import write_json
from study.storage.paths import CONFIGS, RunPaths, results_root
from study.training.start import training_data

_RESAMPLES = 3000
_MEANS = {
    "sharpness_mean": (0.1, "weights", "raw"),
    "sharpness_mean(c=ones,rho=0.01)": (0.01, "ones", "raw"),
    "sharpness_mean(logits=normalized)": (0.1, "weights", "normalized"),
}
_LEVELS = {
    "pac_bayes_flatness": (DRAWS, False),
    "pac_bayes_flatness(noise=common)": (MOST_DRAWS, False),
    "pac_bayes_mag_flatness": (MOST_DRAWS, True),
}


def stopped(values: Tensor, generator: torch.Generator) -> list[Sampled]:
    """The rule applied to resamples of draws (n,), as many of each as a measurement may take."""
    most = RISES[1]
    drawn = torch.randint(len(values), (_RESAMPLES, most), generator=generator)
    return [stopped_mean(row.tolist(), RISES[0]) for row in values[drawn]]


def row_of(label: str, found: Sequence[Sampled], truth: float) -> dict[str, Any]:
    """Bias, error and coverage of estimates of one truth."""
    off = torch.tensor([(one.value - truth) / abs(truth) for one in found], dtype=torch.float64)
    held = [abs(one.value - truth) <= 2 * one.standard_error for one in found]
    said = torch.tensor([one.standard_error / abs(one.value) for one in found], dtype=torch.float64)
    return {
        "label": label, "truth": truth, "estimates": len(found), "bias": float(off.mean()),
        "error": float(off.square().mean().sqrt()), "standard_error": float(said.mean()),
        "held": sum(held) / len(held),
    }  # fmt: skip


def rows(context: MeasureContext, draws: int, sets: int) -> Iterator[dict[str, Any]]:
    """Of one network at one stop, a row a label."""
    network, generator = shared_samples(context, "false"), torch.Generator().manual_seed(0)

    def noise(n: int) -> list[Tensor]:
        return [torch.randn(network.weights.shape, generator=generator) for _ in range(n)]

    for label, (rho, c, logits) in _MEANS.items():
        vectors = (torch.randn(network.weights.shape, generator=generator) for _ in range(draws))
        values = torch.tensor(list(rises(network, rho, c, logits, vectors)), dtype=torch.float64)
        yield row_of(label, stopped(values, generator), float(values.mean()))
    for label, (n, relative) in _LEVELS.items() if sets > 1 else ():
        levels = [level_of(network, noise(n), relative=relative) for _ in range(sets)]
        values = [4.0**-level.log2_sigma for level in levels]
        found = [Sampled(v, 2 * math.log(2) * v * at.standard_error) for v, at in zip(values, levels, strict=True)]
        yield row_of(label, found, sum(values) / len(values))


def main(arguments: list[str] | None = None) -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, required=True, help="folder of the study's runs")
    parser.add_argument("--study", default="library_cifar10")
    parser.add_argument("--networks", type=int, default=4)
    parser.add_argument("--draws", type=int, default=600)
    parser.add_argument("--sets", type=int, default=24)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    study = load_study(CONFIGS / f"{options.study}.yaml")
    there = finished(study.runs, options.runs, study.name)
    chosen = there[:: max(1, len(there) // options.networks)][: options.networks]
    cores = f"1 of {os.cpu_count()} cores of {device_name('cpu').removeprefix('cpu ')}"
    command = f"--study {options.study} --networks {options.networks} --draws {options.draws} --sets {options.sets}"
    made_by = {"command": command, "machine": f"{cores}, torch {torch.__version__}", "commit": commit()}
    measured: list[dict[str, Any]] = []
    target = results_root() / "bench" / "stopping.json"
    for config, stop in itertools.product(chosen, (study.runs[0].stops[0], study.runs[0].stops[-1])):
        paths = RunPaths(options.runs, run_key(config))
        for row in rows(context_at(config, paths, stop, training_data(config)), options.draws, options.sets):
            measured.append({"key": paths.key, "stop": stop, **row})
            said = f"bias {row['bias']:+.4f}, error {row['error']:.4f}, held {row['held']:.3f}"
            print(f"{paths.key} {stop} {row['label']}: {said}", flush=True)
            write_json(target, {**made_by, "rows": measured})
    print(f"wrote {target}")


if __name__ == "__main__":
    main()
