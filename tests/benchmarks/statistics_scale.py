"""Every statistic of a large ledger, each with its time, and the tau bootstrap beside a loop over scipy's.

    python -m tests.benchmarks.statistics_scale [--rows 10000] [--measures 40] [--resamples 2000]

Prints a table and writes results/bench/statistics.json. The peer draws one resample of configurations at a time and
calls scipy.stats.kendalltau on its rows; it is timed on a few resamples and scaled to all. `error` is the largest
difference of a replicate; peak memory is that of the process.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # as `python -m analysis` does

import numpy as np
import pandas as pd
from scipy.stats import kendalltau

from analysis import by_scope, correlate, differences, granulated, information, partial, permutation, sign_error
from analysis.columns import configurations, values
from analysis.exclude import exclude
from analysis.load import read_ledger
from analysis.statistics.association.coefficients import coefficients
from analysis.statistics.resampling.resample import multiplicities
from study.storage.paths import results_root
from tests.support.synthetic import synthetic_ledger

_FEW = 5  # resamples that the peer is timed on


def ledger(rows: int, measures: int) -> pd.DataFrame:
    """The records frame of a synthetic ledger, with the two controls that partial coefficients hold fixed."""
    frame = synthetic_ledger(n_rows=rows, n_measures=measures - 2)
    frame["complexity.cross_entropy"], frame["complexity.l2"] = np.random.default_rng(0).random((2, len(frame)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.csv"
        frame.to_csv(path, index=False)
        return exclude(read_ledger(path))[0]


def statistics(frame: pd.DataFrame, resamples: int) -> dict[str, Callable[[], Any]]:
    """Each statistic by name; later ones reuse the coefficients of earlier ones, as a study's tables do."""
    target = "gen.gap"
    return {
        "tau-b, tau-a, Pearson with intervals, weighted tau, Spearman": lambda: correlate(
            frame, target, resamples=resamples
        ),
        "paired differences and power": lambda: differences(frame, target, resamples=resamples),
        "partial tau given loss, norm, both": lambda: partial(frame, target, resamples=resamples),
        "pooled and coupled, by data set": lambda: by_scope(frame, target, resamples=resamples),
        "granulated psi, tau-a": lambda: granulated(frame, target),
        "granulated psi, tau-b": lambda: granulated(frame, target, variant="b"),
        "K and the PGDL score": lambda: information(frame, target),
        "sign error over environments": lambda: sign_error(frame, target),
        "permutation p and BH": lambda: permutation(frame, target, permutations=resamples),
    }


def peer(frame: pd.DataFrame, resamples: int) -> dict[str, Any]:
    """One measure's replicates of tau-b by scipy, a resample at a time, beside ours."""
    x, y, group = values(frame, "measure.m03"), values(frame, "gen.gap"), configurations(frame)
    begun = time.perf_counter()
    ours = coefficients(x, y, group, resamples, seed=1)  # a seed of its own, so that nothing is at hand
    seconds = time.perf_counter() - begun
    few = min(_FEW, resamples)
    counts = multiplicities(int(group.max()) + 1, resamples, 1)[:, :few].astype(int)
    begun = time.perf_counter()
    theirs = [float(kendalltau(*(np.repeat(v, counts[group, b]) for v in (x, y))).statistic) for b in range(few)]
    scaled = (time.perf_counter() - begun) / few * resamples
    error = float(np.abs(ours.replicates["tau_b"][:few] - theirs).max())
    return row("tau-b bootstrap of one measure", "scipy.kendalltau in a loop", scaled, scaled / seconds, error)


def row(case: str, name: str, seconds: float, ratio: float, error: float | None = None) -> dict[str, Any]:
    """A row of the benchmark's file."""
    return {
        "case": case, "peer": name, "seconds": seconds, "time_ratio": ratio, "memory_ratio": None, "error": error,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }  # fmt: skip


def main(arguments: list[str] | None = None) -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--measures", type=int, default=40)
    parser.add_argument("--resamples", type=int, default=2000)
    options = parser.parse_args(arguments)
    frame = ledger(options.rows, options.measures)
    rows = []
    whole, cpu = time.perf_counter(), time.process_time()
    for name, call in statistics(frame, options.resamples).items():
        begun = time.perf_counter()
        call()
        rows.append(row(name, "ours", time.perf_counter() - begun, 1.0))
    rows.append(row("all statistics", "ours", time.perf_counter() - whole, 1.0))
    cpu = time.process_time() - cpu
    rows.append(peer(frame, options.resamples))
    for r in rows:
        error = "" if r["error"] is None else f"  largest difference {r['error']:.0e}"
        print(f"{r['case']:56} {r['peer']:28} {r['seconds']:9.2f} s {r['time_ratio']:8.1f} x time{error}")
    peak = rows[-1]["peak_bytes"] / 1e9
    print(f"{len(frame)} rows, {options.measures} measures: {cpu:.1f} s of processor time, {peak:.2f} GB at most")
    target = results_root() / "bench" / "statistics.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(rows, indent=1) + "\n")
    print(f"wrote {target}")


if __name__ == "__main__":
    main()
