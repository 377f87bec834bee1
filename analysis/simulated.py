"""What was simulated of our intervals and tests: the committed table of `make bench-coverage`, for paper and README."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

COVERAGE = Path(__file__).parents[1] / "tests" / "benchmarks" / "coverage.json"
_SHOWN = ("design", "r", "tau_b", "pearson", "difference", "within_axis", "partial_spearman", "this_grid", "bca")
_TESTS = {"p_whole": "p < .05", "least_whole": "least p", "p_axis": "p < .05, axis", "least_axis": "least p, axis"}


def measured() -> dict[str, Any]:
    """The committed file: command, machine, commit, studies, resamples, and a row a design and correlation."""
    found: dict[str, Any] = json.loads(COVERAGE.read_text(encoding="utf-8"))
    return found


def coverage(found: dict[str, Any] | None = None) -> pd.DataFrame:
    """The committed table as it is printed, or that of another such file: shares of studies, and the least p."""
    of = measured() if found is None else found
    table = pd.DataFrame(of["rows"])[[*_SHOWN, *_TESTS]]
    for column in ("least_whole", "least_axis"):
        table[column] = [f"1/{1 / least:.0f}" for least in table[column]]
    table["r"] = [f"{r:g}" for r in table["r"]]
    table = table.rename(columns=_TESTS | {"bca": "BCa"})
    title = "Coverage of 95% intervals and rejection of permutation tests, simulated"
    table.attrs |= {"title": title, "note": _note(of["studies"], of["resamples"])}
    return table


def _note(studies: int, resamples: int) -> str:
    error = (0.95 * 0.05 / studies) ** 0.5
    return (
        f"Shares of {studies:,} studies a row, {resamples:,} resamples each; standard error {error:.3f} at .95. "
        "Intervals for new levels hold the true τ_b, Pearson's r, difference (none) in τ_b of two measures, r within "
        "the first axis' settings, and partial ρ given the training loss; that for this grid holds the τ_b of its "
        "cells with 200 seeds each; BCa takes configurations for unrelated. p by orders of levels, within the data set "
        "and within the first axis (of a single one: of seeds): where r is 0, .05 of studies should have p < .05; "
        "where it is .7, this is the test's power. No p lies below the least."
    )
