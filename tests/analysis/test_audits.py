"""The published audits of four kinds of networks agree with what each measure's docstring says leaves it as it is."""

from __future__ import annotations

import pandas as pd
import pytest

from analysis.columns import measures
from analysis.load import load_study
from analysis.statistics.invariance import invariance
from study.measures import MEASURES, is_of_history, members
from study.names import Label
from study.reference.definition import definition
from study.transforms.places import AT_PLACES

ROUNDING = 1e-6  # the tolerance of a measure that is not sampled
LIBRARIES = ("library_fashion", "library_cifar10", "digits_library", "jiang_small")  # audited by options, too
# What an option takes away from the docstring's promise; it says so in its formula.
BROKEN_BY = {"c=ones": {"layer-wise", "neuron-wise", "norm-layer"}, "form=global": {"layer-wise", "norm-layer"}}


@pytest.fixture(scope="module")
def audits() -> dict[str, pd.DataFrame]:
    """The audit's rows by kind of network; beside them the two networks of the digits study."""
    kinds = load_study("invariance", committed=True).audit.groupby("model")
    others = {name: load_study(name, committed=True).audit for name in LIBRARIES}
    return {str(m): rows for m, rows in kinds} | {"digits": load_study("digits_mlp", committed=True).audit} | others


def test_four_kinds_are_published_with_every_measure_and_outputs_that_did_not_move(
    audits: dict[str, pd.DataFrame],
) -> None:
    assert sorted(audits) == sorted(["digits", "lenet5", "mlp", "nin", "resnet", *LIBRARIES])
    for name, rows in audits.items():
        named = measures(load_study(name, committed=True).records) if name in LIBRARIES else []
        of_weights = {label for label in (*members("set:all"), *named) if not is_of_history(label)}
        assert set(rows["measure"]) == of_weights and rows["output_difference"].max() < 1e-12
        assert not rows["prov.commit"].str.contains("dirty|unknown").any()
    assert set(audits["nin"]["transform"]) == {*AT_PLACES, "folding"} == set(audits["resnet"]["transform"])


def promised(label: str) -> set[str]:
    """The changes that leave a measure with these options."""
    parsed = Label.parse(label)
    said = set(definition(MEASURES[parsed.measure])["Invariant"].rstrip(".").split(", "))
    return said.difference(*(moved for option, moved in BROKEN_BY.items() if option in parsed.options.split(",")))


@pytest.mark.parametrize("model", ["digits", "mlp", "lenet5", "resnet", "nin", *LIBRARIES])
def test_a_verdict_is_the_docstrings_promise(audits: dict[str, pd.DataFrame], model: str) -> None:
    rows = audits[model]
    sampled = set(rows.loc[rows["tolerance"] > ROUNDING, "measure"])
    found = invariance(rows)
    there = found[~found["kind"].isin(["lost", "none"]) & found["transform"].isin(AT_PLACES)]
    broken = [
        f"{measure}: {transform}: {kind}, by {change:.2g}"
        for measure, transform, kind, change in there[["measure", "transform", "kind", "change"]].itertuples(
            index=False
        )
        if (transform in promised(measure)) != (kind == "same") and not (measure in sampled and kind == "same")
    ]
    assert len(there) > 100 and broken == []
