"""How much the exclusions matter: every coefficient under our rules, under each source's, and with nothing left out."""

from __future__ import annotations

import pandas as pd

from analysis.exclude import VARIANTS
from analysis.selection import with_last_layer
from analysis.statistics.coefficients import RESAMPLES
from analysis.statistics.correlation import correlate
from analysis.statistics.partial import partial
from analysis.statistics.resample import WORDS
from analysis.stopwise import stopwise

TITLE = "The same correlations under other exclusion rules"
METHOD = (
    "default: this study's rules; authors_2021 and mnist_2019: those of the source papers' code and protocol, never "
    "used elsewhere; all: nothing left out. ρ given training loss is Spearman's partial coefficient. In "
    f"brackets {WORDS}."
)
NEEDS = "two networks with a gap at one stop"


def build(frame: pd.DataFrame, resamples: int = RESAMPLES) -> pd.DataFrame:
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

    tables = {rules: stopwise(frame, one, TITLE, "", needs=NEEDS, rules=rules) for rules in VARIANTS}
    built = {rules: table for rules, table in tables.items() if not table.attrs.get("lacks")}
    if not built:
        return tables["default"]
    for rules, table in built.items():
        table.insert(2, "rules", rules)
    together = pd.concat([table.assign(place=range(len(table))) for table in built.values()], ignore_index=True)
    stops = {stop: place for place, stop in enumerate(dict.fromkeys(together["stop"]))}
    place = together["rules"].map(list(VARIANTS).index)
    together = together.assign(stop_place=together["stop"].map(stops), rules_place=place)
    together = together.sort_values(["stop_place", "rules_place", "place"], ignore_index=True)
    together = together.drop(columns=["stop_place", "rules_place", "place"])
    counts = " ".join(f"{rules}: {table.attrs['note'].strip()}" for rules, table in built.items())
    together.attrs |= {"title": TITLE, "note": f"{METHOD.format(resamples=f'{resamples:,}')} {counts}"}
    return together
