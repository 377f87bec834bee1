"""Sentences follow the numbers: which stops a list names changes with the intervals."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.manuscript.wording import findings, in_words, side_of_zero

STOPS = ["loss_0.1", "loss_0.01", "epoch_20"]


def tables(pearson: list[tuple[float, float]], verdicts: list[str]) -> dict[str, pd.DataFrame]:
    low, high = zip(*pearson, strict=True)
    last = pd.DataFrame({"stop": STOPS, "measure": "kappa_2019.fc3", "pearson.low": low, "pearson.high": high})
    error = last.assign(target="gap.error", **{"pearson.low": -0.1, "pearson.high": 0.1})
    last = pd.concat([last.assign(target="gap.loss"), error], ignore_index=True)
    ahead = pd.DataFrame({"stop": STOPS, "measure": "a", "than": "b", "delta_tau_b.low": low, "delta_tau_b.high": high})
    claims = pd.DataFrame(
        {"stop": STOPS, "measure": "kappa_2019.fc3", "published": "0.91", "rules": "default", "verdict": verdicts}
    )
    rules = pd.DataFrame(
        [(s, "gap.loss", "a", r, 0.5 + d) for s, d in zip(STOPS, (0, 0.1, 0.25), strict=True)
         for r, d in (("default", 0), ("authors_2021", -d))],
        columns=["stop", "target", "measure", "rules", "pearson"],
    )  # fmt: skip
    return {"last_layer": last, "differences": ahead, "published": claims, "variants": rules}


def test_the_stops_that_are_named_are_those_of_the_intervals():
    intervals = [(0.2, 0.5), (-0.1, 0.3), (-0.4, -0.1)]
    found = findings(tables(intervals, ["agrees", "ours is lower", "agrees"]))
    assert [found[f"zero.kappa_2019.fc3.pearson.{side}"] for side in ("above", "holds", "below")] == STOPS
    assert found["zero.error.kappa_2019.fc3.pearson.holds"] == "every stop"
    assert found["ahead.a.b.above"] == "loss_0.1"
    assert found["claim.kappa_2019.fc3.agrees"] == "loss_0.1 and epoch_20"
    assert found["claim.kappa_2019.fc3.lower"] == "loss_0.01" and found["claim.kappa_2019.fc3.higher"] == "no stop"
    assert found["claim.kappa_2019.fc3.published"] == "0.91"
    assert found["variant.authors_2021.a.change"] == "0.25"
    other = findings(tables([(0.1, 0.2)] * 3, ["ours is higher"] * 3))
    assert other["zero.kappa_2019.fc3.pearson.above"] == "every stop"
    assert other["claim.kappa_2019.fc3.agrees"] == "no stop" and other["claim.kappa_2019.fc3.higher"] == "every stop"


@pytest.mark.parametrize(
    ("interval", "side"),
    [((0.1, 0.2), "above"), ((0.0, 0.2), "holds"), ((-0.2, -0.1), "below"), ((np.nan, np.nan), "without")],
)
def test_an_interval_that_touches_zero_holds_it(interval, side):
    assert side_of_zero(*interval) == side


def test_lists_of_stops_are_sentences():
    assert in_words(STOPS[:2], STOPS) == "loss_0.1 and loss_0.01"
    assert in_words(["a", "b", "c"], [*"abcd"]) == "a, b and c" and in_words(["a"], ["a"]) == "a"
