"""The committed table of simulated coverage is what is simulated today, and what texts say of it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from analysis import simulated
from analysis.load import InputError
from analysis.manuscript.number import printed
from analysis.manuscript.vocabulary import WORDS
from tests.support.crossed import DESIGNS, RELATIONS, simulate

EVERY = list(itertools.product(DESIGNS, RELATIONS))
COUNTED = ("tau_b", "pearson", "difference", "within_axis", "partial_spearman", "this_grid", "bca", "p_whole", "p_axis")


@pytest.mark.parametrize(("name", "relation"), EVERY)
def test_the_committed_table_is_what_is_simulated_today(name, relation):
    """Where this fails: `make bench-coverage`, and copy results/bench/coverage.json to tests/benchmarks."""
    measured = simulated.measured()
    (row,) = (r for r in measured["rows"] if (r["design"], r["r"]) == (name, relation))
    few = simulate(name, relation, 25, measured["resamples"])
    assert list(row) == ["design", "r", *few.columns]
    assert few.iloc[0][["least_whole", "least_axis"]].tolist() == pytest.approx([row["least_whole"], row["least_axis"]])
    for column in COUNTED:
        # The 25 are among all: their share's error. At least that of one study in them.
        error = np.sqrt(row[column] * (1 - row[column]) * (1 / 25 - 1 / measured["studies"]))
        assert few[column].mean() == pytest.approx(row[column], abs=max(4 * error, 1 / 25)), column


def test_the_committed_table_is_of_every_design_and_of_code_that_was_committed():
    measured = simulated.measured()
    assert [(r["design"], r["r"]) for r in measured["rows"]] == EVERY
    assert measured["studies"] >= 400 and len(measured["commit"]) == 12 and measured["machine"]
    assert measured["command"] == f"--studies {measured['studies']} --resamples {measured['resamples']}"


def test_a_text_may_name_its_shares():
    shares = WORDS["covered"]("bca")
    assert [float(x) for x in shares.values()] == [r["bca"] for r in simulated.measured()["rows"]]
    assert shares["4 levels, 20 seeds, r 0.7"].point == simulated.measured()["rows"][-1]["bca"]
    assert (
        f"BCa over configurations, taken for unrelated, holds τ_b in {printed(shares.range)}." in simulated.sentence()
    )
    with pytest.raises(InputError, match=r"column: nothing: allowed are .*tau_b"):
        WORDS["covered"]("nothing")
    assert WORDS["coverage"]().equals(simulated.coverage())
