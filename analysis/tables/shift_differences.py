"""Has a measure a higher tau-b with the gap to shifted test sets than with the plain gap? Paired difference."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.columns import values
from analysis.selection import trained
from analysis.statistics.association.coefficients import RESAMPLES
from analysis.statistics.association.differences import between_targets
from analysis.statistics.resampling.resample import WORDS
from analysis.stopwise import stopwise

TITLE = "τ_b of each measure with the gap to shifted test sets less that with the gap as it is"
METHOD = (
    f"Paired, with {WORDS}; q: Benjamini-Hochberg's, of no difference, over the measures of one stop and target. Than: "
    "the gap to the test set as it is, in the same unit."
)
NEEDS = "shifted test sets, and the gap to the test set as it is"
PLAIN = {f"gap.shift.mean.{unit}": f"gap.{unit}" for unit in ("loss", "error")}


def build(frame: pd.DataFrame, resamples: int = RESAMPLES) -> pd.DataFrame:
    """Columns: stop, target, than, measure, n, configurations, tau_b, tau_b_than, delta_tau_b with bounds, q_bh,
    note."""

    def one(kept: pd.DataFrame, target: str) -> pd.DataFrame:
        than = PLAIN.get(target, "")
        if not np.isfinite(values(kept, than)).any():
            return pd.DataFrame()
        table = between_targets(kept, target, than, trained(kept), resamples)
        table.insert(0, "than", than)
        return table

    method = METHOD.format(resamples=f"{resamples:,}")
    return stopwise(frame, one, TITLE, method, wanted=tuple(PLAIN), every_target=True, needs=NEEDS)
