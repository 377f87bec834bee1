"""Each layer alone: tau-b and Pearson of every layerwise measure, layer by layer, beside the sum over layers."""

from __future__ import annotations

import pandas as pd

from analysis.columns import layers
from analysis.selection import trained
from analysis.statistics.association.coefficients import RESAMPLES
from analysis.statistics.association.correlation import correlate
from analysis.stopwise import stopwise
from analysis.tables.correlation import METHOD
from study.names import Label

TITLE = "Correlation with the gap, layer by layer"
NEEDS = "a measure with a column a layer (measure.<label>.<layer>) and two networks with a gap"


def build(frame: pd.DataFrame, resamples: int = RESAMPLES) -> pd.DataFrame:
    """Columns: stop, target, measure, layer ("all": the sum), n, configurations, tau_b, pearson with bounds."""

    def one(kept: pd.DataFrame, target: str) -> pd.DataFrame:
        found = [(m, layer) for m in trained(kept) for layer in ("", *layers(kept, m)) if layers(kept, m)]
        if not found:
            return pd.DataFrame()
        table = correlate(kept, target, [str(Label.parse(m).at(layer=layer)) for m, layer in found], resamples)
        shown = ("n", "configurations", "tau_b", "pearson", "note")
        table = table[[c for c in table.columns if c.split(".")[0] in shown]]
        table.insert(0, "measure", [m for m, _ in found])
        table.insert(1, "layer", [layer or "all" for _, layer in found])
        return table

    return stopwise(frame, one, TITLE, METHOD.format(resamples=f"{resamples:,}"), needs=NEEDS)
