"""Tables are about the gap that they are asked about, and nothing else of a study is lost by it."""

from __future__ import annotations

import pytest

from analysis.columns import about
from analysis.exclude import DEFAULT, exclude, read_rule
from analysis.statistics.association.correlation import correlate
from analysis.statistics.beside.published import Claim, Published
from analysis.tables import permutation, published, shift_differences, variants


def test_the_gap_under_shift_is_laid_beside_the_plain_one_of_its_unit(make_records):
    records = make_records(stops=("loss_0.01",))
    assert "shifted test sets" in shift_differences.build(records, resamples=0).attrs["lacks"]
    turned = {"gap.shift.mean.loss": -records["gap.loss"], "gap.shift.mean.error": records["gap.error"]}
    table = shift_differences.build(records.assign(**turned), resamples=0)
    assert dict(zip(table["target"], table["than"], strict=True)) == {
        "gap.shift.mean.loss": "gap.loss", "gap.shift.mean.error": "gap.error",
    }  # fmt: skip
    of_loss, of_error = (table[table["target"] == f"gap.shift.mean.{unit}"] for unit in ("loss", "error"))
    assert of_loss["delta_tau_b"].tolist() == pytest.approx((-2 * of_loss["tau_b_than"]).tolist())
    assert of_loss["tau_b_than"].abs().min() > 0 and (of_error["delta_tau_b"] == 0).all()
    asked = shift_differences.build(about(records.assign(**turned), "gap.shift.mean.loss"), resamples=0)
    assert asked["delta_tau_b"].tolist() == of_loss["delta_tau_b"].tolist()


def test_a_table_is_about_any_gap_that_it_is_asked_about(make_records):
    records = make_records(stops=("loss_0.01",))
    records = records.assign(
        **{"gap.shift.mean.loss": -records["gap.loss"], "gap.shift.blur_3.loss": records["gap.loss"]}
    )
    for target in ("gap.shift.mean.loss", "gap.shift.blur_3.loss", "test.error", "gap.loss"):
        table = permutation.build(about(records, target), permutations=0, resamples=0)
        assert set(table["target"]) == {target}


def test_what_a_rule_reads_is_there_whatever_a_table_is_about(make_records):
    """The three smallest loss gaps are left out of a table about errors too."""
    records = make_records(stops=("loss_0.01",))
    rules = {"default": DEFAULT, "mine": (*DEFAULT, read_rule({"smallest_gaps": {"n": 3}}))}
    plain, narrowed = (
        variants.build(frame, rules=rules, resamples=0) for frame in (records, about(records, "gap.error"))
    )
    assert set(plain["target"]) == {"gap.loss"} and set(narrowed["target"]) == {"gap.error"}
    assert plain["n"].tolist() == narrowed["n"].tolist()
    kept = exclude(records, rules["mine"])[0]
    label = narrowed["measure"].iloc[0]
    expected = correlate(kept, "gap.error", [label], 0)["pearson"].iloc[0]
    mine = narrowed[(narrowed["rules"] == "mine") & (narrowed["measure"] == label)]
    assert mine["pearson"].iloc[0] == pytest.approx(expected)


def test_published_numbers_about_another_gap_are_not_said_to_be_unmeasured(make_records):
    records = make_records(stops=("loss_0.01",))
    source_of_one = Published("A", "gap.loss", ("default",), (Claim("x", "train_loss", "tau_b", 0.5),))
    assert "about this target" in published.build(about(records, "gap.error"), [source_of_one]).attrs["lacks"]
    assert len(published.build(about(records, "gap.loss"), [source_of_one], resamples=0)) == 1
