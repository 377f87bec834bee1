"""What seeds have in common is that of loops over pairs of seeds with scipy's tau-b."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.statistics.grid.between_seeds import between_seeds, tau_b_of_rows
from analysis.tables import seeds as table

AXES = ["hp.lr", "hp.batch_size"]


def grid(n_seeds: int, missing: int = 0) -> pd.DataFrame:
    """A 4 x 3 grid with ties; the first measure is the configuration's, the second the seed's luck."""
    r = np.random.default_rng(n_seeds)
    rows = []
    for lr, batch, seed in itertools.product((0.01, 0.03, 0.1, 0.3), (8.0, 16.0, 32.0), range(n_seeds)):
        truth, luck = np.log(lr) + 0.1 * batch, r.normal()
        rows.append(
            {"key": f"{len(rows):012x}", "stop": "loss_0.01", "hp.lr": lr, "hp.batch_size": batch, "hp.seed": seed,
             "train.status": "finished", "train.converged": True, "gap.loss": round(truth + luck, 1),
             "measure.configuration": truth, "measure.luck": round(luck, 1), "measure.none": 1.0}
        )  # fmt: skip
    frame = pd.DataFrame(rows)
    frame.loc[r.choice(len(frame), missing, replace=False), "measure.luck"] = np.nan
    return frame


def by_loops(frame: pd.DataFrame, label: str) -> dict[str, float]:
    some = frame.dropna(subset=[f"measure.{label}", "gap.loss"])
    some = some[some.groupby(AXES)["key"].transform("size") > 1]
    of = {seed: part.set_index(AXES) for seed, part in some.groupby("hp.seed")}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ("between", "target_between")}
    for a, b in itertools.combinations(of.values(), 2):
        for name, column in (("between", f"measure.{label}"), ("target_between", "gap.loss")):
            both = pd.concat([a[column], b[column]], axis=1, join="inner")
            found[name].append((stats.kendalltau(*both.T.to_numpy())[0], len(both)))
    found |= {"within": [], "target_others": []}
    for seed, own in of.items():
        found["within"].append((stats.kendalltau(own[f"measure.{label}"], own["gap.loss"])[0], len(own)))
        others = some[some["hp.seed"] != seed].groupby(AXES)["gap.loss"].mean().loc[own.index].round(12)
        found["target_others"].append((stats.kendalltau(own["gap.loss"], others)[0], len(own)))
    means = {}
    for name, each in found.items():
        kept = [(tau, n * (n - 1) / 2) for tau, n in each if n > 2 and not np.isnan(tau)]
        means[name] = np.average([tau for tau, _ in kept], weights=[w for _, w in kept]) if kept else np.nan
    return means


@pytest.mark.parametrize(("n_seeds", "missing"), [(2, 0), (3, 5), (4, 20), (2, 9)])
def test_means_over_seeds_are_those_of_loops(n_seeds: int, missing: int) -> None:
    frame = grid(n_seeds, missing).sample(frac=1, random_state=1).reset_index(drop=True)
    found = between_seeds(frame).set_index("measure")
    for label in ("configuration", "luck"):
        expected = by_loops(frame, label)
        assert found.loc[label, list(expected)].astype(float).to_dict() == pytest.approx(expected)
    some = frame.dropna(subset=["measure.luck"]).groupby(AXES).size()
    assert found.loc["luck", "configurations"] == len(some) and found.loc["luck", "seeds"] == n_seeds


def test_a_measure_of_the_configuration_repeats_and_one_of_the_seed_does_not() -> None:
    found = between_seeds(grid(4)).set_index("measure")
    assert found.loc["configuration", "between"] == pytest.approx(1)
    assert abs(found.loc["luck", "between"]) < 0.3
    assert np.isnan(found.loc["none", "between"]) and np.isnan(found.loc["none", "within"])
    gap = found.loc["configuration"]
    assert gap["target_between"] < gap["target_others"] < 1
    assert gap["within"] > gap["target_between"], "what knows the configuration goes with more than another seed does"


def test_tau_b_of_rows_is_scipys_with_ties_infinities_and_gaps() -> None:
    rows = np.random.default_rng(0).integers(0, 5, (4, 11)).astype(float)
    rows[0, :2], rows[1, 2], rows[2] = np.nan, np.inf, 7.0
    rows[3, [1, 4]] = np.inf
    tau, n_pairs = tau_b_of_rows(rows)
    for i, j in itertools.product(range(4), repeat=2):
        known = ~np.isnan(rows[[i, j]]).any(0)
        with np.errstate(invalid="ignore"):
            expected = stats.kendalltau(rows[i, known], rows[j, known])[0]
        assert tau[i, j] == pytest.approx(expected, nan_ok=True)
        assert n_pairs[i, j] == known.sum() * (known.sum() - 1) / 2


def test_without_two_seeds_or_with_one_twice_nothing_is_said() -> None:
    one, two = grid(1), grid(2)
    assert between_seeds(one).empty and between_seeds(two.drop(columns="hp.seed")).empty
    assert between_seeds(pd.concat([two, two[:1]], ignore_index=True)).empty
    assert between_seeds(two[:4]).empty, "two configurations"
    assert not between_seeds(two[:6]).empty
    assert "two seeds" in table.build(one).attrs["lacks"]
    built = table.build(two)
    assert (
        built["measure"].tolist() == ["configuration", "luck", "none"]
        and "by other seeds" in built.attrs["note"].lower()
    )
