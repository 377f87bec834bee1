"""What is left of a measure's rank correlation when training loss or the squared weight norm is held fixed."""

from __future__ import annotations

import pandas as pd

from analysis.selection import with_last_layer
from analysis.statistics.association.coefficients import RESAMPLES
from analysis.statistics.association.partial import controls, partial
from analysis.statistics.resampling.resample import WORDS
from analysis.stopwise import stopwise

TITLE = "Partial rank correlation given training loss and given the squared weight norm"
METHOD = (
    f"Kendall's partial τ_b and Spearman's partial ρ, with {WORDS}; "
    "τ_b beside them is of the same networks with nothing held fixed. Where a measure and the gap "
    "share what is held fixed and nothing else, τ_b is not 0, and ρ is about 0 near normality only. Relative flatness "
    "factors into a norm and a confidence term, so norm and loss are held fixed, apart and together; for one layer "
    "alone, the norm is that layer's. Constancy of labels: what the bound of 2021 assumes of "
    "points close in features; held fixed is the share of a test image's neighbours with another label."
)


def build(frame: pd.DataFrame, resamples: int = RESAMPLES) -> pd.DataFrame:
    """Columns: stop, target, measure, given, n, configurations, tau_b, partial_tau and partial_spearman with bounds,
    note."""

    def one(kept: pd.DataFrame, target: str) -> pd.DataFrame:
        return partial(kept, target, with_last_layer(kept), resamples) if controls(kept) else pd.DataFrame()

    needs = "train.loss or measure.weight_norm_squared (in a ledger: complexity.cross_entropy, complexity.l2)"
    return stopwise(frame, one, TITLE, METHOD.format(resamples=f"{resamples:,}"), every_target=True, needs=needs)
