"""Pooled and coupled tau, over everything and within each data set and each model.

Pooled: all pairs of runs. Coupled: only pairs whose configurations differ in exactly one hyperparameter, as a
practitioner compares networks. A correlation that lives between data sets alone is pooled but not coupled.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from analysis.columns import axes, check_frame, codes, measures, values
from analysis.statistics.association.coefficients import RESAMPLES, coefficients_of_many
from analysis.statistics.grid.matched_pairs import neighbours, signs
from analysis.statistics.resampling.design import design

SCOPES = ("hp.dataset", "hp.model")


def by_scope(
    frame: pd.DataFrame,
    target: str = "gap.loss",
    labels: Sequence[str] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> pd.DataFrame:
    """Pooled and coupled tau of every measure in every scope; a records frame of one stop.

    Columns: measure, scope ("all", "dataset=...", "model=..."), n, configurations, tau_b (pooled, with .low and .high),
    tau_a (pooled), coupled_tau_a, coupled_pairs. A data set or model that is the only one has no rows of its own.
    """
    check_frame(frame, target)
    rows = []
    for scope, part in scopes(frame):
        gap, grid = values(part, target), design(part)
        pairs = [neighbours(part, axis, same_seed=False) for axis in axes(part)]
        i = np.concatenate([p.i for p in pairs]) if pairs else np.zeros(0, dtype=np.int64)
        j = np.concatenate([p.j for p in pairs]) if pairs else np.zeros(0, dtype=np.int64)
        gaps = signs(gap, i, j)
        names = measures(frame) if labels is None else list(labels)
        columns = [values(part, f"measure.{label}") for label in names]
        every = coefficients_of_many([(x, gap) for x in columns], grid, resamples, seed)
        for label, x, c in zip(names, columns, every, strict=True):
            bounds = c.interval("tau_b")
            product = signs(x, i, j) * gaps
            known = product[~np.isnan(product)]
            rows.append(
                {
                    "measure": label, "scope": scope, "n": c.n, "configurations": c.n_configurations,
                    "tau_b": c.point["tau_b"], "tau_b.low": bounds.low, "tau_b.high": bounds.high,
                    "tau_a": c.point["tau_a"], "coupled_tau_a": float(known.mean()) if len(known) else float("nan"),
                    "coupled_pairs": len(known),
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


def scopes(frame: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield ("all", frame), then each data set's and each model's rows where there are several; an empty cell is
    `(empty)`."""
    yield "all", frame
    for column in SCOPES:
        if column in frame.columns and len(frame[column].unique()) > 1:
            level = codes(frame, [column])
            for at in range(int(level.max()) + 1):
                part = frame[level == at].reset_index(drop=True)
                value = part[column].iloc[0]
                yield f"{column.removeprefix('hp.')}={'(empty)' if pd.isna(value) else value}", part
