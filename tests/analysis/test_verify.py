"""Published numbers are compared with committed records; what is not committed is said, not guessed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from analysis.__main__ import main
from analysis.exclude import STANDARD
from analysis.statistics.association.correlation import correlate
from analysis.statistics.beside.published import Claim, Published, rounded_from, verdict
from analysis.studies.reader import read_shown
from analysis.tables import published
from analysis.verify import summary, verify
from tests.support.synthetic import synthetic_lenet


def compare(frame, claims, resamples=2000):
    source = Published("a source", "gap.loss", ("default",), tuple(claims))
    return published.compared(frame, source, STANDARD, resamples)


def test_a_number_in_the_interval_agrees_and_one_outside_does_not(records):
    records["measure.close"] = records["gap.loss"] * (1 + 0.05 * np.random.default_rng(0).normal(size=len(records)))
    ours = correlate(records[records["train.converged"]]).set_index("measure").loc["close"]
    numbers = (ours["pearson"], ours["pearson.high"] + 0.01, ours["pearson.low"] - 0.01)
    claims = [Claim("x", "close", "pearson", float(p)) for p in numbers]
    rows = compare(records, claims)
    assert [r["verdict"] for r in rows] == ["agrees", "ours is lower", "ours is higher"]
    assert rows[0]["n"] == 78 and rows[0]["ours"] == pytest.approx(ours["pearson"])


def test_an_interval_that_holds_zero_or_is_wide_is_uninformative_unless_the_number_lies_outside():
    claim = Claim("x", "m", "pearson", "0.50")
    judged = {
        (0.4, 0.2, 0.7): "agrees",
        (0.4, 0.0, 0.7): "uninformative: holds zero",
        (0.4, -0.2, 0.9): "uninformative: holds zero",
        (0.6, 0.2, 0.9): "uninformative: wider than 0.6",
        (0.1, -0.4, 0.45): "ours is lower",
        (0.8, 0.51, 0.9): "ours is higher",
    }
    assert {at: verdict(claim, *at) for at in judged} == judged
    assert verdict(claim, 0.5, np.nan, np.nan) == "no interval"


def test_a_number_stands_for_all_that_round_to_it():
    """.72 for .715 to .725: it lies in an interval, or outside, where all of these do."""
    claim, edge = Claim("x", "m", "pearson", 0.72), "uninformative: rounded, it may lie outside"
    judged = {
        (0.6, 0.4, 0.726): "agrees",
        (0.6, 0.4, 0.722): edge,
        (0.6, 0.4, 0.718): edge,
        (0.6, 0.4, 0.714): "ours is lower",
        (0.8, 0.714, 0.9): "agrees",
        (0.8, 0.722, 0.9): edge,
        (0.8, 0.726, 0.9): "ours is higher",
    }
    assert {at: verdict(claim, *at) for at in judged} == judged
    printed = {0.72: (0.715, 0.725), "0.70": (0.695, 0.705), 0.7: (0.65, 0.75), -0.3: (-0.35, -0.25), 1: (0.5, 1.5)}
    assert {number: rounded_from(number) for number in printed} == printed
    assert verdict(replace(claim, published="0.70"), 0.6, 0.4, 0.71) == "agrees"


def test_a_phrase_is_judged_by_the_whole_interval():
    weak = Claim("x", "m", "pearson", "very weak", at_most=0.3)
    assert verdict(weak, 0.1, -0.2, 0.3) == "agrees"
    assert verdict(weak, 0.5, 0.31, 0.7) == verdict(weak, -0.5, -0.7, -0.31) == "differs: above 0.3 in size"
    assert verdict(weak, 0.1, -0.2, 0.4) == verdict(weak, 0.1, -0.4, 0.1) == "uninformative: lies on both sides of 0.3"


def test_being_above_others_is_read_from_paired_differences(records):
    """Of the runs that both measures have; the rival that is named is one that made the verdict."""
    r, gap = np.random.default_rng(0), records["gap.loss"]
    for name, weight in (("ours", 1.0), ("same", 1.0), ("better", 0.1), ("few", 0.01)):
        records[f"measure.{name}"] = gap + weight * gap.std() * r.normal(size=len(records))
    records["measure.worse"] = -gap
    records.loc[~records.index.isin([0, 30, 60]), "measure.few"] = np.nan  # the highest, and nothing clear about it
    records.loc[:2, "measure.better"] = np.nan
    asked = {
        "agrees (of those measured; without absent)": ("worse", "absent"),
        "uninformative: same": ("worse", "same"),
        "differs: better": ("same", "better", "few"),
        "not measured: absent": ("absent",),
    }
    claims = [Claim("x", "ours", "pearson", "highest", above=above) for above in asked.values()]
    for row, begin in zip(compare(records, claims, 200), asked, strict=True):
        assert row["verdict"].startswith(begin), row["verdict"]
    assert (
        compare(records, [Claim("absent", "sharpness", "pearson", 0.5)], 50)[0]["verdict"] == "not measured: sharpness"
    )


def test_swapping_two_gaps_changes_the_verdicts_number(records):
    claims = [Claim("x", "relative_flatness", "pearson", 0.9)]
    before = compare(records, claims, 50)[0]["ours"]
    order = records["gap.loss"].sort_values().index[[10, -10]]
    records.loc[order, "gap.loss"] = records.loc[order[::-1], "gap.loss"].to_numpy()
    assert compare(records, claims, 50)[0]["ours"] < before


def test_a_study_without_committed_records_says_so(tmp_path):
    table = verify(records=tmp_path)
    assert (table["verdict"] == "records not committed yet").all() and table["ours"].isna().all()


def test_each_stop_is_a_row_of_its_own(make_records, tmp_path):
    make_records(stops=("loss_0.1", "loss_0.01")).to_csv(tmp_path / "mnist_mlp_layers.csv", index=False)
    table = verify(records=tmp_path, resamples=50)
    table = table[table["study"] == "mnist_mlp_layers"]
    assert table["stop"].tolist() == ["loss_0.1"] * 8 + ["loss_0.01"] * 8
    assert table["rules"].tolist() == (["default"] * 4 + ["mnist_2019"] * 4) * 2
    assert table["verdict"].iloc[3] == "not measured: kappa_2019.fc4" and np.isfinite(table["ours"].iloc[0])


def test_the_authors_exclusions_are_a_variant_beside_ours(tmp_path):
    synthetic_lenet(n_seeds=2).to_csv(tmp_path / "lenet5_cifar10.csv", index=False)
    table = verify(records=tmp_path, resamples=50)
    table = table[table["study"] == "lenet5_cifar10"].set_index(["stop", "rules", "item"])
    kappa = table.xs("Pearson of gap and kappa", level="item")["n"].unstack()
    assert (kappa["default"] - kappa["authors_2021"] == 3).all() and len(kappa) == 6
    trace = table.loc[("loss_0.01", "default", "Pearson of gap and Hessian trace, reparameterized")]
    phrase = Claim("", "m", "pearson", "very weak", at_most=0.3)
    assert trace["verdict"] == verdict(phrase, trace["ours"], trace["ours.low"], trace["ours.high"])
    assert not table["verdict"].str.contains("not measured").any()


def test_what_is_published_has_a_source_and_claims():
    sources = [source for study in ("lenet5_cifar10", "mnist_mlp_layers") for source in read_shown(study).published]
    assert len(sources) == 3
    assert all("arXiv" in source.source and source.claims for source in sources)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (("a", "m", "r", 1.0), "coefficient: r: allowed are pearson"),
        (("a", "m", "pearson", "weak"), "published: weak: a number is allowed, or words with at_most or above"),
    ],
)
def test_a_claim_that_cannot_be_judged_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Claim(*fields)


def test_verify_prints_a_summary_and_with_all_every_stop(capsys):
    assert main(["verify"]) == 0
    short = capsys.readouterr().out
    assert "0.73" in short and "0.91" in short and "uninformative" in short and "verify --all" in short
    assert main(["verify", "--all"]) == 0
    long = capsys.readouterr().out
    assert "verdict" in long and "epoch_200" in long and len(long) > 2 * len(short)


def test_the_summary_counts_every_row_once():
    table = verify(resamples=50)
    counted = summary(table)
    kinds = ["agrees", "lower", "higher", "differs", "uninformative", "none"]
    assert counted["stops"].sum() == len(table) and (counted[kinds].sum(axis=1) == counted["stops"]).all()
    assert counted["agrees"].sum() == table["verdict"].str.startswith("agrees").sum()
