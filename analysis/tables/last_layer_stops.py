"""Stop beside stop: what each measure has with each gap, rescaled, with the loss held fixed, within the settings."""

from __future__ import annotations

import pandas as pd

from analysis.statistics.association.coefficients import RESAMPLES
from analysis.statistics.association.permutation import WHOLE
from analysis.statistics.resampling.resample import WORDS
from analysis.tables import last_layer, permutation

TITLE = "The last layer's measures, and the network's, with each gap: stop beside stop"
METHOD = (
    "After rescaling: every network reparameterized (first draw). ρ: Spearman's partial coefficient. Within: Pearson's "
    "r of what is left when the mean of the networks that share the setting is removed; within the configuration it is "
    f"of networks that differ in the seed alone. In brackets {WORDS}. Loss stops "
    "compare networks first seen below one training loss, epoch stops those that trained equally long."
)
_COEFFICIENTS = {
    "pearson": "Pearson r",
    "pearson_after": "r after rescaling",
    "spearman_given_loss": "ρ given training loss",
}
_ENDS = ("", ".low", ".high")


def build(frame: pd.DataFrame, resamples: int = RESAMPLES) -> pd.DataFrame:
    """Columns: target, measure, coefficient, then one a stop with .low and .high; rows from `last_layer` and, within a
    setting, from `permutation`."""
    long, parts = last_layer.build(frame, resamples), permutation.build(frame, 0, resamples)
    if long.attrs.get("lacks"):
        long.attrs["title"] = TITLE
        return long
    rows = [_named(long.assign(coefficient=words), c) for c, words in _COEFFICIENTS.items() if c in long]
    settings = parts[(parts["within"] != WHOLE) & parts["measure"].isin(long["measure"])]
    rows.append(_named(settings.assign(coefficient="r within " + settings["within"]), "pearson"))
    table = _turned(pd.concat(rows, ignore_index=True).dropna(subset="value"), list(dict.fromkeys(long["stop"])))
    counts = long.attrs["note"].removeprefix(last_layer.METHOD.format(resamples=f"{resamples:,}"))
    table.attrs |= {"title": TITLE, "note": METHOD.format(resamples=f"{resamples:,}") + counts}
    return table


def _named(named: pd.DataFrame, column: str) -> pd.DataFrame:
    # Of a few networks there may be a value without bounds.
    part = named.reindex(columns=["stop", "target", "measure", "coefficient", *(column + end for end in _ENDS)])
    return part.rename(columns={column + end: "value" + end for end in _ENDS})


def _turned(rows: pd.DataFrame, stops: list[str]) -> pd.DataFrame:
    """A row a target, measure and coefficient in the order of their first appearance, a column a stop."""
    names = ["target", "measure", "coefficient"]
    order = {name: list(dict.fromkeys(rows[name])) for name in names}
    cells: dict[tuple[str, ...], dict[str, float]] = {}
    for row in rows.to_dict("records"):
        at = cells.setdefault(tuple(row[n] for n in names), {f"{s}{end}": float("nan") for s in stops for end in _ENDS})
        at |= {f"{row['stop']}{end}": row[f"value{end}"] for end in _ENDS}
    keys = sorted(cells, key=lambda key: [order[n].index(k) for n, k in zip(names, key, strict=True)])
    return pd.DataFrame([dict(zip(names, key, strict=True)) | cells[key] for key in keys])
