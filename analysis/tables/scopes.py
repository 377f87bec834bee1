"""Pooled and coupled tau, over everything and within each data set and model."""

from __future__ import annotations

import pandas as pd

from analysis.selection import trained
from analysis.statistics.association.coefficients import RESAMPLES
from analysis.statistics.grid.scopes import by_scope
from analysis.statistics.resampling.resample import WORDS
from analysis.stopwise import stopwise

TITLE = "Pooled and coupled rank correlation, over all and within each data set and model"
METHOD = (
    f"Pooled: all pairs of networks, τ_b with {WORDS}, and τ_a. "
    "Coupled: τ_a over pairs whose configurations differ in exactly one hyperparameter."
)


def build(frame: pd.DataFrame, resamples: int = RESAMPLES) -> pd.DataFrame:
    """Columns: stop, target, measure, scope, n, configurations, tau_b, tau_a, coupled_tau_a, coupled_pairs."""

    def one(kept: pd.DataFrame, target: str) -> pd.DataFrame:
        return by_scope(kept, target, trained(kept), resamples)

    return stopwise(frame, one, TITLE, METHOD.format(resamples=f"{resamples:,}"))
