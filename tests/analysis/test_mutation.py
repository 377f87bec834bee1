"""A change of the records changes, in every table, what it should, and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import pytest

from analysis.items import parts
from tests.support.synthetic import synthetic_records

# Names of rows, and counts of networks, which a change of a number does not move.
NAMES = (
    "stop",
    "target",
    "measure",
    "layer",
    "transform",
    "than",
    "axis",
    "setting",
    "scope",
    "given",
    "rules",
    "factor",
    "unit",
)
COUNTS = ("n", "configurations", "runs", "reason", "rule", "cells", "nan_cells", "coupled_pairs", "environments")
Tables = dict[str, pd.DataFrame]


def build(frame: pd.DataFrame) -> Tables:
    made = {p.name: p.build(frame) for p in parts("table") if p.frame == "records"}
    return {name: table for name, table in made.items() if not table.attrs.get("lacks")}


@pytest.fixture(scope="module")
def records() -> pd.DataFrame:
    return synthetic_records(transforms=("layerwise_1", "factor_20"))


@pytest.fixture(scope="module")
def before(records: pd.DataFrame) -> Tables:
    return build(records)


def changed(before: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    """Which cells differ; both tables have the same rows in the same order."""
    names = [c for c in NAMES if c in before.columns]
    assert before[names].equals(after[names])
    return before.ne(after) & ~(before.isna() & after.isna())


def apart(before: Tables, after: Tables) -> dict[str, tuple[pd.DataFrame, pd.DataFrame]]:
    assert before.keys() == after.keys()
    return {name: (table, changed(table, after[name])) for name, table in before.items()}


def about(table: pd.DataFrame, test: Callable[[str], bool]) -> pd.Series:
    """The rows whose measure, or the one that it is compared with, is meant."""
    columns = [c for c in ("measure", "than") if c in table.columns]
    return table[columns].map(test).any(axis=1) if columns else pd.Series(False, index=table.index)


def test_swapping_two_gaps_moves_the_coefficients_of_that_gap_alone(records, before):
    mutant = records.copy()
    kept = mutant.index[mutant["train.converged"]]
    order = mutant.loc[kept, "gap.loss"].sort_values().index[[5, -5]]
    mutant.loc[order, "gap.loss"] = mutant.loc[order[::-1], "gap.loss"].to_numpy()
    for name, (table, cells) in apart(before, build(mutant)).items():
        assert not cells[[c for c in COUNTS if c in cells]].to_numpy().any(), name
        if name == "headline":
            assert cells["tau_b"].any()
            continue
        if "target" not in table.columns or name == "sign_error":  # that one is about the error gap
            assert not cells.to_numpy().any(), name
            continue
        of_gap = table["target"] == "gap.loss"
        assert not cells[~of_gap].to_numpy().any(), name
        assert cells[of_gap].to_numpy().any(), name


def test_flipping_a_measure_flips_its_coefficients_and_no_other_row(records, before):
    mutant = records.copy()
    columns = [
        c for c in mutant if c == "measure.kappa_2019" or c.startswith(("measure.kappa_2019.", "measure.kappa_2019@"))
    ]
    mutant[columns] *= -1
    after = build(mutant)
    for name, (table, cells) in apart(before, after).items():
        mine = about(table, lambda label: label.startswith("kappa_2019"))
        others = cells[~mine].drop(columns=["q_bh", "q_bh_after"], errors="ignore")
        assert not others.to_numpy().any(), name
        assert not cells[[c for c in COUNTS if c in cells]].to_numpy().any(), name
        for column in ("tau_b", "tau_a", "pearson", "spearman", "psi", "psi_b", "coupled_tau_a", "partial_tau"):
            if column in table.columns:
                pair = table.loc[mine, column], -after[name].loc[mine, column]
                pd.testing.assert_series_equal(*pair, check_exact=False, rtol=1e-9, atol=1e-12)
        if name in ("permutation", "exclusions"):  # p is two-sided
            rest = [c for c in cells if c.split(".")[0] not in ("pearson", "spearman")]
            assert not cells[rest].to_numpy().any(), name
    k = (t["information"].set_index("measure")["K"] for t in (before, after))
    pd.testing.assert_series_equal(*k, rtol=1e-9)


def test_dropping_a_seed_changes_the_number_of_networks_and_not_that_of_configurations(records, before):
    after = build(records[records["hp.seed"] != 2].reset_index(drop=True))
    for name, table in before.items():
        names = [c for c in NAMES if c in table.columns]
        assert table[names].equals(after[name][names]), name
        if "configurations" in table.columns:
            assert (table["configurations"] == after[name]["configurations"]).all(), name
        if "n" in table.columns:
            assert (after[name]["n"] < table["n"]).all(), name
    runs = (t["exclusions"].set_index("rule")["runs"] for t in (before, after))
    assert [r["kept"] for r in runs] == [78, 52]
