"""Each layer alone: tau-b and Pearson of every layerwise measure, layer by layer, beside the sum over layers."""

from __future__ import annotations

import pandas as pd

from analysis.correlation import RESAMPLES, correlate
from analysis.exclude import exclude
from analysis.load import at_stop, layers, measures
from analysis.render import lacking
from analysis.style import ordered, target_words
from analysis.tables.correlation import METHOD, targets

TITLE = "Correlation with the gap, layer by layer"


def build(frame: pd.DataFrame, resamples: int = RESAMPLES) -> pd.DataFrame:
    """Columns: measure, layer ("all": the sum), n, configurations, tau_b, pearson with bounds; at the main stop."""
    kept, exclusions = exclude(at_stop(frame))
    found = [(m, layer) for m in ordered(measures(kept)) for layer in ("", *layers(kept, m)) if layers(kept, m)]
    available = targets(kept)
    if not found or not available or len(kept) < 2:
        return lacking(TITLE, "a measure with a column a layer (measure.<label>.<layer>) and two networks with a gap")
    table = correlate(kept, available[0], [f"{m}.{layer}" if layer else m for m, layer in found], resamples)
    table = table[[c for c in table.columns if c.split(".")[0] in ("n", "configurations", "tau_b", "pearson", "note")]]
    table.insert(0, "measure", [m for m, _ in found])
    table.insert(1, "layer", [layer or "all" for _, layer in found])
    against = f"At {kept['stop'].iloc[0]}, against the {target_words(available[0])}."
    note = f"{against} {METHOD.format(resamples=f'{resamples:,}')} {exclusions.note}"
    table.attrs |= {"title": TITLE, "note": note}
    return table
