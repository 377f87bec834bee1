"""Each measure after rescaling by given factors over orders of magnitude: what it is, and what it still says."""

from __future__ import annotations

import pandas as pd

from analysis.columns import main_stop
from analysis.selection import transforms
from analysis.statistics.reparameterization import NEEDS_FACTORS, before_and_after, column_of, median_ratio
from analysis.stopwise import stopwise
from study.transforms.rescaling import given_factor

TITLE = "Sweep of the rescaling factor: each measure over its value before, and its correlation with the gap"
METHOD = "Ratio is the median over networks of after / before; no resamples."


def build(frame: pd.DataFrame) -> pd.DataFrame:
    """Columns: stop, target, measure, layer, factor, n, ratio, largest_change, tau_b, pearson; at the main stop."""

    def one(kept: pd.DataFrame, target: str) -> pd.DataFrame:
        taken = transforms(kept, sweep=True)
        if not taken:
            return pd.DataFrame()
        table = before_and_after(kept, target, taken, resamples=0)
        rows = table[["measure", "layer", "transform"]].itertuples(index=False)
        table["ratio"] = [median_ratio(kept, column_of(m, x, "none"), column_of(m, x, t)) for m, x, t in rows]
        table["factor"] = [1.0 if t == "none" else given_factor(t) for t in table["transform"]]
        order = table.groupby(["measure", "layer"], sort=False).ngroup()
        table = table.assign(order=order).sort_values(["order", "factor"], kind="stable", ignore_index=True)
        return table[["measure", "layer", "factor", "n", "ratio", "largest_change", "tau_b", "pearson"]]

    rows = frame[frame["stop"] == main_stop(frame)] if len(frame) else frame
    return stopwise(rows, one, TITLE, METHOD, needs=NEEDS_FACTORS)
