"""How sure is a coefficient? Its interval for this grid, were it trained with other seeds, and for new levels."""

from __future__ import annotations

import pandas as pd

from analysis.selection import with_last_layer
from analysis.statistics.association.coefficients import RESAMPLES
from analysis.statistics.association.intervals import intervals
from analysis.statistics.grid.settings import LIMIT
from analysis.stopwise import stopwise

TITLE = "Intervals for this grid and for new levels of its axes"
USE = "diagnostic"
METHOD = (
    "Behind τ_b and Pearson's r the 95% interval for this grid, from {resamples} resamples of the networks of each "
    "configuration (percentiles): about other seeds of the same settings, and of few seeds narrow. New levels: the "
    "same coefficient with the interval for other levels of the axes, on which every claim rests, as in all other "
    "tables. Of each axis with three or more, levels are drawn independently, in all ways where these are at most "
    "4,096, and a network counts the product of its levels' counts (percentiles; pigeonhole bootstrap, Owen 2007); "
    "hyperparameters changed together are one axis; "
    "of one such axis alone the interval is BCa, below ten levels Student's t of the jackknife. 0 inside: of this "
    "grid's / the new levels' interval. q: Benjamini-Hochberg's, of zero for new levels, over the measures of one stop "
    "and target."
)


def build(frame: pd.DataFrame, resamples: int = RESAMPLES) -> pd.DataFrame:
    """Columns: stop, target, measure, n, configurations, drawn, tau_b, tau_b_levels, tau_b_holds_0, tau_b_q,
    pearson, pearson_levels, pearson_holds_0, pearson_q, note. Nothing of a stop with more than LIMIT networks."""

    def one(kept: pd.DataFrame, target: str) -> pd.DataFrame:
        if len(kept) > LIMIT:
            return pd.DataFrame()
        table = intervals(kept, target, with_last_layer(kept), resamples)
        return table.assign(drawn=table["drawn"].map(_words))

    needs = f"two networks with a gap at one stop, and at most {LIMIT:,}"
    return stopwise(frame, one, TITLE, METHOD.format(resamples=f"{resamples:,}"), every_target=True, needs=needs)


def _words(drawn: str) -> str:
    count = drawn.count(" x ") + 1 if drawn else 0
    return f"{count} {'axis' if count == 1 else 'axes'}" if count else "none"
