"""The invariance audit: which measure survives which change of the weights that keeps the function, by running it."""

from __future__ import annotations

import pandas as pd

from analysis.statistics.invariance import KINDS, NEEDS, TRANSFORMS, by_network
from analysis.stopwise import lacking
from analysis.vocabulary import ordered

TITLE = "What changes of the weights that keep a network's function do to each measure"
FRAME = "audit"
METHOD = (
    "Layer-wise: a layer's weights divided by a factor, those that read it multiplied; neuron-wise: by a power of it, "
    "drawn for each neuron; norm-layer: the weights before batch-norm, its running statistics and scale moved along; "
    "factors 1e−3 to 1e3. Permutation: the neurons of a layer in another order. Folding: batch-norm into the layers "
    "before it. Same: moved by no more than rounding (1e−6) or, where sampled, by four standard errors, whose largest "
    "share of the value is given. Bounded: by the largest relative change. Arbitrary: it grows with the factor. No "
    "value after: of some change. n/a: no value before. {networks}; outputs moved by at most {difference} of the "
    "largest."
)


def build(frame: pd.DataFrame) -> pd.DataFrame:
    """From the audit frame: measure, and a column a transformation with the words of `verdict`."""
    if len(frame) == 0:
        return lacking(TITLE, NEEDS)
    found = by_network(frame)
    cells = {place: verdict(rows) for place, rows in found.groupby(["measure", "transform"])}
    names = ordered(found["measure"].unique())
    columns = [transform for transform in TRANSFORMS if transform in set(found["transform"])]
    table = pd.DataFrame({"measure": names, **{c: [cells.get((m, c), "n/a") for m in names] for c in columns}})
    table.attrs |= {"title": TITLE, "note": METHOD.format(**_of(frame))}
    return table


def verdict(rows: pd.DataFrame) -> str:
    """What one transformation does, from rows of `by_network`: of several measures the largest change and tolerance.

    Same, same within x (standard errors), bounded x, arbitrary, no value after, n/a; of networks that differ, which.
    """
    kinds = [kind for kind in KINDS if kind in set(rows["kind"])]
    told = {kind: _words(kind, rows[rows["kind"] == kind]) for kind in kinds}
    if len(kinds) == 1:
        return told[kinds[0]]
    where = {kind: ", ".join(dict.fromkeys(rows.loc[rows["kind"] == kind, "network"])) for kind in kinds}
    return "; ".join(f"{told[kind]} ({where[kind]})" for kind in kinds)


def _words(kind: str, rows: pd.DataFrame) -> str:
    if kind == "same" and rows["within"].max() > 0:
        return f"same within {rows['within'].max():.2g}"
    if kind == "bounded":
        return f"bounded {rows['change'].max():.2g}"
    return {"lost": "no value after", "none": "n/a"}.get(kind, kind)


def _of(frame: pd.DataFrame) -> dict[str, str]:
    told = []
    for model, rows in frame.groupby("model", sort=True):
        n, images = rows["key"].nunique(), " or ".join(map(str, sorted(rows["images"].unique())))
        told.append(f"{n} network{'s' * (n != 1)} ({model}) on {images} training images")
    difference = f"{float(frame['output_difference'].max()):.0e}".replace("-", "−")
    return {"networks": ", ".join(told), "difference": difference}
