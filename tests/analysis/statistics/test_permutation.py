"""Permutation p, what is left within blocks and q equal loops and all exchanges written out."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis import correlate, permutation
from analysis.statistics.association.within_groups import interval_within, within_blocks
from analysis.statistics.resampling.design import design, unrelated
from analysis.statistics.resampling.multiple import benjamini_hochberg
from analysis.statistics.resampling.resample import jackknife


def grid(levels: tuple[int, ...], seeds: int, r: np.random.Generator) -> pd.DataFrame:
    """A crossed grid with an effect of every level, cell and seed on gap and measure, of no relation."""
    cells = list(itertools.product(*map(range, levels), range(seeds)))
    frame = pd.DataFrame(cells, columns=[*(f"hp.{name}" for name in "abc"[: len(levels)]), "hp.seed"])
    of_cell = frame.drop(columns="hp.seed").apply(tuple, axis=1).rank(method="dense").astype(int).to_numpy() - 1
    for column in ("gen.gap", "measure.m"):
        frame[column] = 0.3 * r.normal(size=of_cell.max() + 1)[of_cell] + 0.5 * r.normal(size=len(frame))
        for k, n in enumerate(levels):
            frame[column] += r.normal(size=n)[frame.iloc[:, k]]
    return frame


def all_orders(frame: pd.DataFrame, free: list[str], block: str = "") -> float:
    """p by loops over every order of the free axes' levels: correlation of cells' mean ranks, less the block's."""
    names = [c for c in frame if c.startswith("hp.") and c != "hp.seed"]
    ranks = {c: frame[c].rank() for c in ("gen.gap", "measure.m")}
    if block:
        ranks = {c: v - v.groupby(frame[block]).transform("mean") for c, v in ranks.items()}
    x, y = ({tuple(key): v.mean() for key, v in of.groupby([frame[n] for n in names])} for of in ranks.values())
    found = []
    for orders in itertools.product(*(itertools.permutations(sorted(frame[n].unique())) for n in free)):
        moved = {
            n: dict(zip(sorted(frame[n].unique()), order, strict=True)) for n, order in zip(free, orders, strict=True)
        }
        pairs = []
        for cell, value in y.items():
            other = tuple(moved[n][level] if n in moved else level for n, level in zip(names, cell, strict=True))
            if other in x:
                pairs.append((value, x[other]))
        found.append(abs(np.corrcoef(np.array(pairs).T)[0, 1]))
    return float(np.mean(np.array(found) >= found[0] - 1e-9))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("missing", [False, True])
def test_permutation_p_equals_all_orders_of_the_levels_written_out(seed, missing):
    frame = grid((3, 4), 2, np.random.default_rng(seed))
    frame["gen.gap"] += 0.7 * frame["measure.m"]
    if missing:  # a cell, and a run of another
        frame = frame.drop(index=[0, 1, 9]).reset_index(drop=True)
    got = permutation(frame, "gen.gap", blocks=[], permutations=200).iloc[0]
    assert got["p_least"] == pytest.approx(1 / 144) and got["p_permutation"] == pytest.approx(
        all_orders(frame, ["hp.a", "hp.b"])
    )
    within = permutation(frame, "gen.gap", blocks=["hp.a"], permutations=200).iloc[0]
    assert within["p_least"] == pytest.approx(1 / 24)
    assert within["p_permutation"] == pytest.approx(all_orders(frame, ["hp.b"], "hp.a"))
    some = permutation(frame, "gen.gap", blocks=[], permutations=100).iloc[0]  # fewer than there are: drawn
    assert some["p_least"] == pytest.approx(1 / 101)
    assert some["p_permutation"] == pytest.approx(got["p_permutation"], abs=0.15)


def test_four_levels_of_one_axis_allow_no_p_below_one_in_twenty_four():
    frame = pd.DataFrame(
        {"hp.a": np.repeat(range(4), 9), "hp.b": np.repeat(range(4), 9), "hp.seed": list(range(9)) * 4}
    )
    frame["gen.gap"] = frame["measure.m"] = np.arange(36.0)
    row = permutation(frame, "gen.gap", permutations=500).iloc[0]
    assert row["p_least"] == pytest.approx(1 / 24) and row["p_permutation"] == pytest.approx(2 / 24)


def test_a_nested_axis_moves_within_its_parent():
    frame = grid((2, 3), 2, np.random.default_rng(0))
    frame["hp.b"] += 10 * frame["hp.a"]  # three rates of each of two optimizers
    row = permutation(frame, "gen.gap", blocks=[], permutations=100).iloc[0]
    assert row["p_least"] == pytest.approx(1 / 36)


def test_of_a_grid_with_few_of_its_cells_there_is_no_p_and_it_says_so():
    frame = grid((4, 4), 1, np.random.default_rng(0))
    frame = frame[(frame["hp.a"] == frame["hp.b"]) | (frame["hp.a"] == 0)].reset_index(drop=True)
    row = permutation(frame, "gen.gap", blocks=[], permutations=100).iloc[0]
    assert np.isnan(row["p_permutation"]) and row["note"].startswith("7 of the grid's 16 cells are there")


def rejected(levels: tuple[int, ...], seeds: int, blocks: list[str], studies: int = 300) -> float:
    """How often p < .05 under no relation, where axes, cells and seeds each have effects."""
    r = np.random.default_rng(0)
    found = [
        permutation(grid(levels, seeds, r), "gen.gap", blocks=blocks, permutations=200, resamples=0, seed=k)
        for k in range(studies)
    ]
    return float(np.mean([table["p_permutation"][0] < 0.05 for table in found]))


@pytest.mark.parametrize(("levels", "blocks"), [((4, 4), []), ((4, 4), ["hp.a"]), ((3, 3, 3), []), ((4, 3), ["hp.b"])])
def test_under_no_relation_p_is_below_a_twentieth_in_about_one_study_of_twenty(levels, blocks):
    assert 0.01 <= rejected(levels, 3, blocks) <= 0.08


def test_permutation_p_is_small_for_signal():
    r = np.random.default_rng(1)
    frame = pd.DataFrame({"hp.a": np.repeat(range(20), 3), "hp.seed": list(range(3)) * 20})
    level = np.repeat(r.normal(size=20), 3)
    frame["gen.gap"], frame["measure.signal"] = level + 0.1 * r.normal(size=60), level
    assert permutation(frame, "gen.gap", permutations=400)["p_permutation"][0] == pytest.approx(1 / 401)


def test_what_is_left_within_blocks_is_that_of_deviations_from_their_means(records):
    table = permutation(records, blocks=["hp.lr"], permutations=10).set_index("measure")
    block = records["hp.lr"]
    for name in ("relative_flatness", "hessian_trace"):
        x, y = records[f"measure.{name}"], records["gap.loss"]
        ours = table.loc[name, ["pearson", "spearman"]].astype(float)
        left = [[v - v.groupby(block).transform("mean") for v in pair] for pair in ((x, y), (x.rank(), y.rank()))]
        assert ours.to_list() == pytest.approx([np.corrcoef(*pair)[0, 1] for pair in left])
    whole = permutation(records, permutations=10).set_index("measure")
    assert whole["pearson"].to_dict() == pytest.approx(
        correlate(records, resamples=0).set_index("measure")["pearson"].to_dict(), nan_ok=True
    )


@pytest.mark.parametrize("block", ["hp.lr", "hp.batch_size"])
def test_the_interval_within_a_setting_is_of_weighted_deviations_from_weighted_means(records, block, monkeypatch):
    monkeypatch.setattr("analysis.statistics.resampling.design.MOST", 0)  # levels are drawn at random
    records.loc[4, "measure.hessian_trace"] = np.nan
    row = permutation(records, labels=["hessian_trace"], blocks=[block], permutations=0, resamples=40).iloc[0]
    there = records["measure.hessian_trace"].notna()
    kept = records[there].reset_index(drop=True)
    drawn = design(kept).resampling
    replicates = []
    for weights in np.concatenate(list(drawn.chunks(40, 0)), axis=1).T:
        rows = kept.loc[np.repeat(kept.index, weights[drawn.unit].astype(int))]
        left = [rows[c] - rows.groupby(block)[c].transform("mean") for c in ("measure.hessian_trace", "gap.loss")]
        replicates.append(np.corrcoef(*left)[0, 1])
    bounds = np.quantile(replicates, [0.025, 0.975])
    assert [row["pearson.low"], row["pearson.high"]] == pytest.approx(bounds)
    assert row["n"] == len(records) - 1


@pytest.mark.parametrize("spoil", ["offset", "one"])
@pytest.mark.parametrize("crossed", [False, True])
def test_what_is_left_within_blocks_has_its_digits_where_values_are_large_or_one_is(spoil, crossed):
    """By the jackknife over eight unrelated units, in one block each or in both."""
    r = np.random.default_rng(0)
    unit, block = np.repeat(range(8), 3), np.repeat(range(2), 12)
    if crossed:
        unit = np.arange(24) % 8
    x, y = r.normal(size=(2, 24))
    x += y
    if spoil == "offset":
        x = 1 + 1e-7 * x
    else:
        x[4] = 1e7

    def left(rows: np.ndarray) -> float:
        pair = (pd.Series(v[rows]) - pd.Series(v[rows]).groupby(block[rows]).transform("mean") for v in (x, y))
        return float(np.corrcoef(*pair)[0, 1])

    value = left(np.full(24, True))
    assert within_blocks(x, y, block) == pytest.approx(value, rel=1e-6)
    expected = jackknife(value, np.array([left(unit != u) for u in range(8)]))
    bounds = interval_within(x, y, block, unrelated(unit), 50, 0)
    assert (bounds.low, bounds.high) == pytest.approx((expected.low, expected.high), rel=1e-4)


def test_within_a_configuration_seeds_are_exchanged():
    r = np.random.default_rng(3)
    level = np.repeat(r.normal(size=3), 3)
    frame = pd.DataFrame({"hp.a": np.repeat(range(3), 3), "hp.seed": list(range(3)) * 3})
    frame["gen.gap"], frame["measure.m"] = level + r.normal(size=9), -level + r.normal(size=9)
    got = permutation(frame, "gen.gap", blocks=["hp.a"], permutations=20_000)["p_permutation"][0]
    x, y = stats.rankdata(frame["measure.m"]), stats.rankdata(frame["gen.gap"])
    x -= pd.Series(x).groupby(frame["hp.a"]).transform("mean").to_numpy()
    three = list(itertools.permutations(range(3)))
    orders = [[*a, *(3 + i for i in b), *(6 + i for i in c)] for a in three for b in three for c in three]
    every = np.array([abs(x @ y[order]) for order in orders])
    assert got == pytest.approx(np.mean(every >= abs(x @ y) - 1e-9), abs=0.01)


def test_nothing_is_left_of_what_is_constant_in_each_block(records):
    records["measure.own"] = records["hp.lr"] * 1e9 + 1 / 3
    records["gap.loss"] += 1e-3 * records["hp.lr"]
    row = permutation(records, labels=["own"], blocks=["hp.lr"], permutations=10).iloc[0]
    assert row[["pearson", "spearman", "p_permutation"]].isna().all() and row["note"] == "constant within blocks"


def test_that_a_measure_is_constant_is_said_of_that_one_alone(records):
    records["measure.constant"] = 1.0
    table = permutation(records, labels=["constant", "hessian_trace"], permutations=10).set_index("measure")
    assert table["note"].to_dict() == {"constant": "constant within blocks", "hessian_trace": ""}
    assert np.isfinite(table.loc["hessian_trace", "p_permutation"])


def test_nothing_to_exchange_is_said(records):
    one = records.iloc[:3].copy()
    table = permutation(one, permutations=10)
    assert table["p_permutation"].isna().all() and table["note"].str.contains("no axis has two levels").any()


def test_benjamini_hochberg_equals_scipy():
    p = np.array([0.01, 0.04, 0.03, np.nan, 0.5, 0.001])
    known = ~np.isnan(p)
    q = benjamini_hochberg(p)
    assert np.isnan(q[3]) and q[known] == pytest.approx(stats.false_discovery_control(p[known]))
