"""The last layer alone at every stop, as the papers measured it: as trained, reparameterized, others held fixed.

Measures that are of the whole network, such as the distance from init, stand beside it, to be compared with.
"""

from __future__ import annotations

import pandas as pd

from analysis.selection import last_layer, trained, transforms
from analysis.statistics.association.coefficients import RESAMPLES
from analysis.statistics.association.correlation import correlate
from analysis.statistics.association.partial import partial
from analysis.statistics.resampling.resample import WORDS
from analysis.stopwise import stopwise
from study.names import Label

TITLE = "The last layer alone at every stop, and measures of the network"
METHOD = (
    f"Pearson's r and τ_b of the last layer's measure, or the network's, with the gap, with {WORDS}; after: every "
    "network reparameterized (first draw); given: partial τ_b and Spearman's partial ρ with the training loss, or the "
    "squared weight norm of the layer or network, held fixed (where only that is shared, a partial τ_b is not 0, and ρ "
    "is about 0 near normality only). Loss stops compare networks first seen below one training loss, epoch stops "
    "those that trained equally long."
)
_GIVEN = {"training loss": "given_loss", "squared weight norm": "given_norm"}
_PARTIAL = {"partial_tau": "partial", "partial_spearman": "spearman"}


def build(frame: pd.DataFrame, resamples: int = RESAMPLES) -> pd.DataFrame:
    """Columns: stop, target, measure, n, configurations, pearson, pearson_after, tau_b, tau_b_after,
    partial_given_loss and _norm (tau-b), spearman_given_loss and _norm; each with .low and .high. A row a stop, target
    (loss gap, error gap) and measure: of the last layer, or of the network where it has no layers."""

    def one(kept: pd.DataFrame, target: str) -> pd.DataFrame:
        names = {last_layer(kept, m) or m: m for m in trained(kept)}
        if all(name == m for name, m in names.items()):
            return pd.DataFrame()
        table = correlate(kept, target, list(names), resamples).set_index("measure", drop=False)
        head = [c for c in table.columns if c.split(".")[0] in ("measure", "n", "configurations", "pearson", "tau_b")]
        again = {_after(name, transforms(kept).get(m)): name for name, m in names.items()}
        after = correlate(kept, target, [a for a in again if a], resamples) if any(again) else table.iloc[:0]
        after.index = pd.Index([again[a] for a in after["measure"]])
        held = partial(kept, target, list(names), resamples).set_index("measure")
        parts = [table[head], _renamed(after, "pearson", "pearson_after"), _renamed(after, "tau_b", "tau_b_after")]
        given = {f"{name}_{end}": (of, words) for of, name in _PARTIAL.items() for words, end in _GIVEN.items()}
        for column, (of, words) in given.items():
            parts.append(_renamed(held[held["given"] == words], of, column))
        order = ["measure", "n", "configurations", "pearson", "pearson_after", "tau_b", "tau_b_after", *given]
        joined = pd.concat(parts, axis=1)
        shown = [c for name in order for c in (name, f"{name}.low", f"{name}.high") if c in joined.columns]
        return joined[shown].dropna(axis=1, how="all").reset_index(drop=True)

    method = METHOD.format(resamples=f"{resamples:,}")
    return stopwise(frame, one, TITLE, method, every_target=True, needs="measures of several layers")


def _after(name: str, drawn: list[str] | None) -> str:
    """The label of a last layer or network, reparameterized by the first of the drawn transforms; empty without any."""
    return str(Label.parse(name).at(transform=drawn[0])) if drawn else ""


def _renamed(table: pd.DataFrame, column: str, name: str) -> pd.DataFrame:
    ends = ("", ".low", ".high")
    return table[[column + end for end in ends]].rename(columns={column + end: name + end for end in ends})
