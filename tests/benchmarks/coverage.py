"""How often each 95% interval holds the truth, and each permutation test says p < .05, on the designs of the studies.

    python -m tests.benchmarks.coverage [--studies 400] [--resamples 400]

Prints a table and writes results/bench/coverage.json; the paper's appendix and analysis/README.md show the copy of it
beside this file. What is simulated: tests/support/crossed.py. Two minutes of one core.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # as `python -m analysis` does

import numpy as np

from analysis import simulated
from analysis.drawing import terminal
from study.provenance import device_name
from study.storage.paths import results_root
from tests.support.crossed import DESIGNS, RELATIONS, simulate

_CODE = (":/analysis/*.py", ":/tests/support", ":/tests/benchmarks/coverage.py")


def main(arguments: list[str] | None = None) -> None:
    """Simulate, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=400)
    parser.add_argument("--resamples", type=int, default=400)
    options = parser.parse_args(arguments)
    made_by, begun = commit(), time.process_time()
    rows: list[dict[str, object]] = []
    for name in DESIGNS:
        for relation in RELATIONS:
            said = simulate(name, relation, options.studies, options.resamples).mean()
            shares = {column: None if np.isnan(share) else float(share) for column, share in said.items()}
            rows.append({"design": name, "r": relation, **shares})
            print(f"{name}, r {relation}: {time.process_time() - begun:.0f} s", file=sys.stderr, flush=True)
    measured = {
        "command": f"--studies {options.studies} --resamples {options.resamples}",
        "machine": f"1 of {os.cpu_count()} cores of {device_name('cpu').removeprefix('cpu ')}, numpy {np.__version__}",
        "commit": made_by,
        "seconds": round(time.process_time() - begun, 1),
        "studies": options.studies,
        "resamples": options.resamples,
        "rows": rows,
    }
    print(terminal.to_text(simulated.coverage(measured), width=200))
    target = results_root() / "bench" / "coverage.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(measured, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{measured['seconds']} s of processor time; wrote {target}")


def commit() -> str:
    """The commit of what is simulated, with `-dirty` where statistics or simulator differ from it."""

    def git(*arguments: str) -> str:
        here = Path(__file__).parent
        return subprocess.run(["git", *arguments], cwd=here, capture_output=True, text=True, check=True).stdout.strip()

    changed = git("--no-optional-locks", "status", "--porcelain", "--", *_CODE)
    return git("rev-parse", "--short=12", "HEAD") + ("-dirty" if changed else "")


if __name__ == "__main__":
    main()
