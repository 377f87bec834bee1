"""How much the exclusions matter: every coefficient under our rules, under each source's, and with nothing left out."""

from __future__ import annotations

import pandas as pd

from analysis.exclude import STANDARD, Variants
from analysis.selection import with_last_layer
from analysis.statistics.association.coefficients import RESAMPLES
from analysis.statistics.association.correlation import correlate
from analysis.statistics.association.partial import partial
from analysis.statistics.resampling.resample import WORDS
from analysis.stopwise import stopwise

TITLE = "The same correlations under other exclusion rules"
USE = "diagnostic"
METHOD = (
    "default: the rules of every other table; all: nothing left out; any other variant is of the study's file and used "
    f"nowhere else. ρ given training loss is Spearman's partial coefficient. In brackets {WORDS}."
)


def build(frame: pd.DataFrame, resamples: int = RESAMPLES, rules: Variants = STANDARD) -> pd.DataFrame:
    """Columns: stop, target, rules, measure, n, configurations, tau_b, pearson and, where there is a training loss,
    spearman_given_loss (partial) with bounds."""

    def one(kept: pd.DataFrame, target: str) -> pd.DataFrame:
        names = with_last_layer(kept)
        table = correlate(kept, target, names, resamples)
        shown = ("measure", "n", "configurations", "tau_b", "pearson")
        table = table[[c for c in table.columns if c.split(".")[0] in shown]]
        held = partial(kept, target, names, resamples)
        held = held[held["given"] == "training loss"].set_index("measure")
        for end in ("", ".low", ".high") if len(held) else ():
            table[f"spearman_given_loss{end}"] = held[f"partial_spearman{end}"].reindex(table["measure"]).to_numpy()
        return table

    tables = {name: stopwise(frame, one, TITLE, "", rules=rules[name]) for name in rules}
    built = {name: table for name, table in tables.items() if not table.attrs.get("lacks")}
    if not built:
        return tables["default"]
    for name, table in built.items():
        table.insert(2, "rules", name)
    order = {stop: place for place, stop in enumerate(dict.fromkeys(s for t in built.values() for s in t["stop"]))}
    together = pd.concat(built.values(), ignore_index=True)
    together = together.sort_values("stop", key=lambda stop: stop.map(order), kind="stable", ignore_index=True)
    counts = " ".join(f"{name}: {table.attrs['note'].strip()}" for name, table in built.items())
    together.attrs = {"title": TITLE, "note": f"{METHOD.format(resamples=f'{resamples:,}')} {counts}"}
    return together
