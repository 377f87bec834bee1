"""The invariance audit: which measure survives which change of the weights that keeps the function, by running it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd

from analysis.statistics.invariance import NEEDS, TRANSFORMS, invariance
from analysis.stopwise import lacking
from analysis.vocabulary import ordered

TITLE = "What changes of the weights that keep a network's function do to each measure"
FRAME = "audit"
METHOD = (
    "Layer-wise: a layer's weights divided by a factor, those that read it multiplied; neuron-wise: by a power of it, "
    "drawn for each neuron; norm-layer: the weights before batch-norm, its running statistics and scale moved along; "
    "factors 1e−3 to 1e3, at every pair of layers where it is exact. Permutation: the neurons of a layer in another "
    "order. Folding: batch-norm into the layers before it. Same: moved by no more than rounding (1e−6), or by four "
    "standard errors where sampled. Bounded: by the largest relative change. Arbitrary: it grows with the factor. n/a: "
    "no value. {networks} ({models}); outputs moved by at most {difference} of the largest."
)


def build(frame: pd.DataFrame) -> pd.DataFrame:
    """From the audit frame: measure, and a column a transformation with same, bounded by x, arbitrary or n/a."""
    if len(frame) == 0:
        return lacking(TITLE, NEEDS)
    found = invariance(frame)
    cells = {(row["measure"], row["transform"]): _words(row) for row in found.to_dict("records")}
    names = ordered(found["measure"].unique())
    columns = [transform for transform in TRANSFORMS if transform in set(found["transform"])]
    table = pd.DataFrame({"measure": names, **{c: [cells.get((m, c), "n/a") for m in names] for c in columns}})
    table.attrs |= {"title": TITLE, "note": METHOD.format(**_of(frame))}
    return table


def _words(row: Mapping[Hashable, Any]) -> str:
    if row["kind"] == "missing":
        return "no value after" if row["n"] else "n/a"
    return f"bounded {row['change']:.2g}" if row["kind"] == "bounded" else str(row["kind"])


def _of(frame: pd.DataFrame) -> dict[str, object]:
    n = frame["key"].nunique()
    return {
        "networks": f"{n} network{'s' * (n != 1)}",
        "models": ", ".join(sorted(frame["model"].unique())),
        "difference": f"{float(frame['output_difference'].max()):.0e}".replace("-", "−"),
    }
