"""What a text says of the invariance audit is what its rows say."""

from __future__ import annotations

import pandas as pd
import pytest

from analysis.load import InputError
from analysis.manuscript.audits import alike, at_factor, audit_count, audited, largest_changes

S = "invariance"


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return pd.read_csv(f"analysis/records/{S}.audit.csv", low_memory=False)


def test_verdicts_and_changes_are_the_rows(rows: pd.DataFrame) -> None:
    assert audited(S, "same", "rho_max") and not audited(S, "same", ["rho_max", "l2"])
    assert audited(S, "same", "l2", ["permutation", "folding"]) and audited(S, "arbitrary", "l2", "layer-wise", "nin")
    chosen = rows[(rows["measure"] == "kappa_2019") & (rows["transform"] == "folding")]
    found = largest_changes(S, "kappa_2019", "folding")
    assert {at: x.point for at, x in found.items()} == {
        f"kappa_2019 folding {row.model}": abs(row.relative_change) for row in chosen.itertuples()
    }
    some = rows[(rows["measure"] == "l2") & (rows["transform"] == "neuron-wise") & (rows["model"] == "mlp")]
    ours = at_factor(S, "after", "l2", "neuron-wise", ["1e2", "1e3"], "mlp")
    assert sorted(map(float, ours.values())) == sorted(some.loc[some["factor"].isin([100, 1000]), "after"])


def test_measures_that_are_alike_are_one_row(rows: pd.DataFrame) -> None:
    table, (first, *_) = alike(S), alike(S).to_dict("records")
    assert table["n"].sum() == rows["measure"].nunique() == audit_count(S).point
    assert first["n"] == audit_count(S, "all").point and set(first.values()) >= {"same"}
    assert "neuron-wise flatness, max; " in first["measures"] and "kappa" not in first["measures"]
    assert len(table) < 30, "it is short"
    each = rows.groupby(["model", "transform", "place", "factor"], dropna=False).ngroups
    assert audit_count(S, "changes").point == each


def test_what_was_not_audited_is_named() -> None:
    for asked, said in (
        (lambda: audited(S, "equal", "l2"), "what: equal: allowed are same, bounded"),
        (lambda: audited(S, "same", "l3"), "measure: l3: allowed are"),
        (lambda: audited(S, "same", "l2", "folding", "mlp"), "no such change: allowed is one that was tried"),
        (lambda: audited("mnist_mlp_layers", "same", "l2"), "audit: mnist_mlp_layers: has none"),
    ):
        with pytest.raises(InputError, match=said):
            asked()
