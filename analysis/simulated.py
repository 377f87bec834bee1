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


def sentence() -> str:
    """The committed table in words, for a page: from where to where the shares of its rows go."""
    of = measured()
    rows = pd.DataFrame(of["rows"])
    share = _ranges(rows)
    held = {"tau_b": "τ_b", "pearson": "Pearson's r", "difference": "a paired difference in τ_b"}
    held |= {"within_axis": "r within an axis' settings", "partial_spearman": "partial ρ given the training loss"}
    new_levels = ", ".join(f"{share[column]} ({words})" for column, words in held.items())
    below = _ranges(rows[rows["r"] == 0])
    return (
        f"Simulated on the designs of the published studies (`make bench-coverage`; {of['studies']:,} studies each "
        f"with r 0 and .7), 95% intervals for new levels hold the truth in {new_levels} of studies; the interval for "
        f"this grid holds that of its own cells in {share['this_grid']}; BCa over configurations, taken for unrelated, "
        f"holds τ_b in {share['bca']}. Where r is 0, p lies below .05 in {below['p_whole']} of studies by all orders "
        f"of levels, in {below['p_axis']} within an axis; four levels of one axis allow no p below 1/24.\n"
    )


def _ranges(rows: pd.DataFrame) -> dict[str, str]:
    columns = [str(c) for c in rows.columns if c not in ("design", "r")]
    return {column: f"{rows[column].min():.2f} to {rows[column].max():.2f}" for column in columns}


def _note(studies: int, resamples: int) -> str:
    error = (0.95 * 0.05 / studies) ** 0.5
    return (
        f"Shares of {studies:,} studies a row, all ways to draw levels or {resamples:,} resamples each; standard error "
        f"{error:.3f} at .95. "
        "Intervals for new levels hold the true τ_b, Pearson's r, difference (none) in τ_b of two measures, r within "
        "the first axis' settings, and partial ρ given the training loss; that for this grid holds the τ_b of its "
        "cells with 200 seeds each; BCa takes configurations for unrelated. p by orders of levels, within the data set "
        "and within the first axis (of a single one: of seeds): where r is 0, .05 of studies should have p < .05; "
        "where it is .7, this is the test's power. No p lies below the least."
    )
