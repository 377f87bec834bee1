"""Before and after reparameterization: the same networks measured again, their function written otherwise."""

from __future__ import annotations

import pandas as pd

from analysis.selection import transforms
from analysis.statistics.association.coefficients import RESAMPLES
from analysis.statistics.reparameterization import NEEDS, before_and_after
from analysis.statistics.resampling.resample import WORDS
from analysis.stopwise import stopwise

TITLE = "Correlation with the gap before and after reparameterization"
METHOD = (
    "After: every network's weights are rescaled without changing its function, and measured again; all: the sum over "
    "layers. Largest change is the largest relative change of the measure over the networks; "
    f"{WORDS}."
)


def build(frame: pd.DataFrame, resamples: int = RESAMPLES) -> pd.DataFrame:
    """Columns: stop, target, measure, layer ("all": the sum), transform ("none" first), n, configurations, tau_b,
    pearson with bounds, largest_change; against the loss gap and the error gap."""

    def one(kept: pd.DataFrame, target: str) -> pd.DataFrame:
        return before_and_after(kept, target, transforms(kept), resamples)

    method = METHOD.format(resamples=f"{resamples:,}")
    wanted = ("gap.loss", "gap.error", "gen.gap")
    return stopwise(frame, one, TITLE, method + _checked(frame), wanted=wanted, every_target=True, needs=NEEDS)


def _checked(frame: pd.DataFrame) -> str:
    """What the records say of the outputs before and after; nothing where they are older than that column."""
    columns = [c for c in frame.columns if c.startswith("reparameterized.") and c.endswith(".difference")]
    seen = frame[columns].max(axis=1)
    if not seen.notna().any():
        return ""
    runs = f"{frame['key'][seen.notna()].nunique()} of {frame['key'].nunique()} networks"
    largest = f"{float(seen.max()):.1g}".replace("-", "−")
    return f" Outputs moved by at most {largest} of the largest (recorded for {runs})."
