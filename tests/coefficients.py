"""Coefficients of a study by pandas and numpy alone, as README prints them: a twin of what analysis makes."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

LOSSES, EPOCHS = ["loss_0.1", "loss_0.01"], ["epoch_10", "epoch_20", "epoch_40", "epoch_60"]
EVERY = LOSSES + EPOCHS
LOSS, ERROR, PAIR, INIT = "gap.loss", "gap.error", "hp.batch_size", "hp.init"
KAPPA, TRACE, NORM = "kappa_2019.fc3", "hessian_trace.fc3", "weight_norm_squared.fc3"
RAW, NORMALIZED = "relative_flatness.fc3", "relative_flatness_normalized.fc3"
DISTANCE, LOSS_ITSELF = "distance_from_init", "train_loss"
DRAWS, NEURONS = ("layerwise_1", "layerwise_2", "layerwise_3"), "neuronwise_1"

Rows = pd.DataFrame
Coefficient = Callable[[Rows, str, str], float]


def committed(study: str) -> Rows:
    """Rows of the networks that reached their stop."""
    rows = pd.read_csv(f"analysis/records/{study}.csv", low_memory=False)
    return rows[rows["train.converged"]]


def after(measure: str, transform: str) -> str:
    name, _, layer = measure.partition(".")
    return f"{name}@{transform}.{layer}"


def pearson(rows: Rows, measure: str, target: str) -> float:
    return float(np.corrcoef(rows[f"measure.{measure}"], rows[target])[0, 1])


def spearman(rows: Rows, measure: str, target: str) -> float:
    return pearson(rows.assign(**rows[[f"measure.{measure}", target]].rank()), measure, target)


def within(*axes: str) -> Coefficient:
    """Pearson's r of what is left when the mean of the networks that share a setting is removed."""

    def coefficient(rows: Rows, measure: str, target: str) -> float:
        both = rows[[f"measure.{measure}", target]]
        left = both - both.groupby([rows[axis] for axis in axes]).transform("mean")
        return float(np.corrcoef(left.T)[0, 1])

    return coefficient


def given(held: str) -> Coefficient:
    """Spearman's partial coefficient: residuals of ranks on the ranks of what is held fixed."""

    def coefficient(rows: Rows, measure: str, target: str) -> float:
        ranks = rows[[f"measure.{measure}", target, held]].rank().to_numpy()
        fixed = np.column_stack([np.ones(len(ranks)), ranks[:, 2]])
        left = ranks[:, :2] - fixed @ np.linalg.lstsq(fixed, ranks[:, :2], rcond=None)[0]
        return float(np.corrcoef(left.T)[0, 1])

    return coefficient


class Said(list[float]):
    """Coefficients, printed as README prints them."""

    def __str__(self) -> str:
        return " ".join(map(short, self))


def short(value: float) -> str:
    return re.sub(r"^(−?)0\.", r"\1.", f"{value:.2f}".replace("-", "−")).replace("−.00", ".00")


def between(values: Sequence[float], to: str = " and ") -> str:
    return f"{short(min(values))}{to}{short(max(values))}"


class Study:
    """Coefficients of a study's networks at its stops."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows

    def at(self, stops: Sequence[str], measure: str, target: str = LOSS, of: Coefficient = pearson) -> Said:
        return Said(of(self.rows[self.rows["stop"] == stop], measure, target) for stop in stops)

    def losses(self, measure: str, target: str = LOSS, of: Coefficient = pearson) -> Said:
        return self.at(LOSSES, measure, target, of)

    def epochs(self, measure: str, target: str = LOSS, of: Coefficient = pearson) -> Said:
        return self.at(EPOCHS, measure, target, of)

    def drawn(self, stops: Sequence[str], measure: str, to: str = " and ") -> str:
        """Between what, with the loss gap, after the three draws of the factor."""
        return between([r for draw in DRAWS for r in self.at(stops, after(measure, draw))], to)

    def change(self, transforms: Sequence[str], *measures: str) -> float:
        """Largest change of the measures, of themselves, when every network is reparameterized."""
        ratios = [self.rows[f"measure.{after(m, t)}"] / self.rows[f"measure.{m}"] for m in measures for t in transforms]
        return max((ratio - 1).abs().max() for ratio in ratios)
