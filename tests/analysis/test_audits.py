"""The published audits of four kinds of networks agree with what each measure's docstring says leaves it as it is."""

from __future__ import annotations

import pandas as pd
import pytest

from analysis.load import load_study
from analysis.statistics.invariance import invariance
from study.measures import MEASURES
from study.reference.definition import definition
from study.transforms.places import AT_PLACES

ROUNDING = 1e-6  # the tolerance of a measure that is not sampled


@pytest.fixture(scope="module")
def audits() -> dict[str, pd.DataFrame]:
    """The audit's rows by kind of network; beside them the two networks of the digits study."""
    kinds = load_study("invariance", committed=True).audit.groupby("model")
    return {str(model): rows for model, rows in kinds} | {"digits": load_study("digits_mlp", committed=True).audit}


def test_four_kinds_are_published_with_every_measure_and_outputs_that_did_not_move(
    audits: dict[str, pd.DataFrame],
) -> None:
    assert sorted(audits) == ["digits", "lenet5", "mlp", "nin", "resnet"]
    for rows in audits.values():
        of_weights = {label for label, known in MEASURES.items() if not known.of_history}
        assert set(rows["measure"]) == of_weights and rows["output_difference"].max() < 1e-12
        assert not rows["prov.commit"].str.contains("dirty|unknown").any()
    assert set(audits["nin"]["transform"]) == {*AT_PLACES, "folding"} == set(audits["resnet"]["transform"])


@pytest.mark.parametrize("model", ["digits", "mlp", "lenet5", "resnet", "nin"])
def test_a_verdict_is_the_docstrings_promise(audits: dict[str, pd.DataFrame], model: str) -> None:
    rows = audits[model]
    sampled = set(rows.loc[rows["tolerance"] > ROUNDING, "measure"])
    said = {label: definition(MEASURES[label])["Invariant"].rstrip(".").split(", ") for label in MEASURES}
    found = invariance(rows)
    there = found[~found["kind"].isin(["lost", "none"]) & found["transform"].isin(AT_PLACES)]
    broken = [
        f"{measure}: {transform}: {kind}, by {change:.2g}"
        for measure, transform, kind, change in there[["measure", "transform", "kind", "change"]].itertuples(
            index=False
        )
        if (transform in said[measure]) != (kind == "same") and not (measure in sampled and kind == "same")
    ]
    assert len(there) > 100 and broken == []
