"""What is left of a measure's rank correlation when training loss or the squared weight norm is held fixed."""

from __future__ import annotations

import pandas as pd

from analysis.correlation import RESAMPLES
from analysis.load import measures
from analysis.partial_rank import controls, partial
from analysis.stopwise import stopwise
from analysis.style import ordered

TITLE = "Partial rank correlation given training loss and given the squared weight norm"
METHOD = (
    "Kendall's partial τ_b, with 95% BCa intervals from {resamples} resamples of configurations; τ_b beside it is of "
    "the same networks with nothing held fixed. Relative flatness factors into a norm and a confidence term, so both "
    "are held fixed, apart and together."
)


def build(frame: pd.DataFrame, resamples: int = RESAMPLES) -> pd.DataFrame:
    """Columns: stop, target, measure, given, n, configurations, tau_b, partial_tau with bounds, note."""

    def one(kept: pd.DataFrame, target: str) -> pd.DataFrame:
        return partial(kept, target, ordered(measures(kept)), resamples) if controls(kept) else pd.DataFrame()

    needs = "train.loss or measure.weight_norm_squared (in a ledger: complexity.cross_entropy, complexity.l2)"
    return stopwise(frame, one, TITLE, METHOD.format(resamples=f"{resamples:,}"), needs=needs)
