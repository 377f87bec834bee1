"""Behind each headline: every layer and the total, each measure less the trace, paired, as trained and rescaled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd

from analysis.columns import layers
from analysis.selection import trained, transforms
from analysis.statistics.association.coefficients import RESAMPLES
from analysis.statistics.association.differences import difference, p_of_no_difference, paired
from analysis.statistics.resampling.multiple import benjamini_hochberg
from analysis.statistics.resampling.resample import WORDS
from analysis.stopwise import stopwise
from analysis.vocabulary import measure_words
from study.names import Label

TITLE = "Every layer and the total: each measure less the Hessian trace"
NEEDS = "hessian_trace and another measure with a column a layer"
THAN = "hessian_trace"
METHOD = (
    f"Pearson's r and τ_b of the measure less those of the Hessian trace of the same layer, paired, with {WORDS}; all: "
    "the sum over layers. After: the same once every network is reparameterized (first draw; the layers that it "
    "rescales). q: Benjamini-Hochberg's, of no difference of r, over all rows of one stop and target, as trained and "
    "after, measures and layers alike. The findings' stars are of all stops of one measure read together: another "
    "family, and other stars."
)


def build(frame: pd.DataFrame, resamples: int = RESAMPLES, measures: Sequence[str] = ()) -> pd.DataFrame:
    """Columns: stop, target, measure, layer, n, configurations, r_less_trace and tau_b_less_trace with bounds, q_bh,
    r_less_trace_after with bounds, q_bh_after."""

    def one(kept: pd.DataFrame, target: str) -> pd.DataFrame:
        names = [m for m in trained(kept) if m != THAN and layers(kept, m) == layers(kept, THAN) and layers(kept, m)]
        if THAN not in trained(kept):
            return pd.DataFrame()
        rows = [row for m in names if not measures or m in measures for row in _rows(kept, target, m, resamples)]
        table = pd.DataFrame(rows)
        q = [c for c in ("q_bh", "q_bh_after") if c in table]
        if q:
            adjusted = benjamini_hochberg(pd.concat([table[c] for c in q]).to_numpy(dtype=float))
            for at, column in enumerate(q):
                table[column] = adjusted[at * len(table) : (at + 1) * len(table)]
        return table

    method = METHOD.format(resamples=f"{resamples:,}")
    table = stopwise(frame, one, TITLE, method, every_target=True, needs=NEEDS)
    table.attrs["less"] = measure_words(THAN)
    return table


def _rows(kept: pd.DataFrame, target: str, measure: str, resamples: int) -> Iterator[dict[str, object]]:
    """A row a layer, the total last."""
    drawn = next(iter(transforms(kept).get(measure, [])), "")
    rescaled = set(layers(kept, str(Label.parse(measure).at(transform=drawn)))) | {""} if drawn else set()
    for layer in (*layers(kept, measure), ""):
        label, than = (str(Label.parse(m).at(layer=layer)) for m in (measure, THAN))
        a, b = paired(kept, target, label, than, resamples)
        row: dict[str, object] = {"measure": measure, "layer": layer or "all", "n": a.n}
        row["configurations"] = a.n_configurations
        for name, column in (("pearson", "r_less_trace"), ("tau_b", "tau_b_less_trace")):
            bounds = difference(a, b, name)
            row |= {column: a.point[name] - b.point[name], f"{column}.low": bounds.low, f"{column}.high": bounds.high}
        row["q_bh"] = p_of_no_difference(a, b, "pearson")
        if layer in rescaled:
            first, second = (str(Label.parse(m).at(transform=drawn)) for m in (label, than))
            c, d = paired(kept, target, first, second, resamples)
            bounds, column = difference(c, d, "pearson"), "r_less_trace_after"
            row[column] = c.point["pearson"] - d.point["pearson"]
            row |= {f"{column}.low": bounds.low, f"{column}.high": bounds.high}
            row["q_bh_after"] = p_of_no_difference(c, d, "pearson")
        yield row
