"""Tables of pairs print what is of configurations' means beside what is of single networks, where there are seeds."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.statistics.grid.granulated import granulated
from analysis.statistics.grid.information import information
from analysis.statistics.grid.sign_error import sign_error
from analysis.tables import granulated as granulated_table
from analysis.tables import information as information_table
from analysis.tables import sign_error as sign_error_table
from analysis.tables.granulated import axis_words


def records(n_seeds: int) -> pd.DataFrame:
    """A 3 x 3 grid: the measure goes with the gap, and noise of single networks covers it."""
    rng = np.random.default_rng(0)
    rows = []
    for lr in (0.01, 0.03, 0.1):
        for batch in (8.0, 16.0, 32.0):
            for seed in range(n_seeds):
                truth = np.log(lr) + 0.1 * batch
                gap, measure = truth + rng.normal(), truth + 2 * rng.normal()
                rows.append(
                    {"key": f"{len(rows):012x}", "stop": "loss_0.01", "hp.lr": lr, "hp.batch_size": batch,
                     "hp.seed": seed, "train.status": "finished", "train.converged": True, "train.loss": 0.01,
                     "gap.loss": gap, "gap.error": gap / 100, "n.test": 1000, "measure.m": measure, "measure.k": -gap}
                )  # fmt: skip
    return pd.DataFrame(rows)


def averaged(frame: pd.DataFrame) -> pd.DataFrame:
    """Each configuration's mean as its one network."""
    by = ["hp.lr", "hp.batch_size", "stop", "train.status", "train.converged"]
    return frame.groupby(by, as_index=False).mean(numeric_only=True).assign(key=lambda f: f.index.astype(str))


def test_columns_of_means_are_the_statistic_of_averaged_networks() -> None:
    frame, means = records(4), averaged(records(4)).drop(columns="hp.seed")
    table = granulated_table.build(frame)
    table = table[table["target"] == "gap.loss"]
    by_hand = granulated(means, "gap.loss", ["m", "k"])
    expected = dict(
        zip(zip(by_hand["measure"], map(axis_words, by_hand["axis"]), strict=True), by_hand["psi"], strict=True)
    )
    assert dict(
        zip(zip(table["measure"], table["axis"], strict=True), table["psi_means"], strict=True)
    ) == pytest.approx(expected)
    assert not np.allclose(table["psi_means"], table["psi"])

    of_k = information_table.build(frame)
    of_k = of_k[of_k["target"] == "gap.loss"]
    by_hand = information(means, "gap.loss", ["m", "k"]).set_index("measure")["K"]
    assert of_k.set_index("measure")["K_means"].to_dict() == pytest.approx(by_hand.to_dict())

    errors = sign_error_table.build(frame)
    by_hand = sign_error(means, "gap.error", ["m", "k"], of="means")
    at = ["measure", "axis"]
    by_hand["axis"] = ["all" if axis == "all" else axis_words(axis) for axis in by_hand["axis"]]
    expected = by_hand.set_index(at)["unweighted"].to_dict()
    assert errors.set_index(at)["unweighted_means"].to_dict() == pytest.approx(expected)


def test_with_one_seed_there_is_no_such_column() -> None:
    for table in (granulated_table, information_table, sign_error_table):
        assert not [name for name in table.build(records(1)).columns if name.endswith("_means")]
