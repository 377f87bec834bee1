"""What held and what did not, in words made of the tables: where an interval lies above zero, or holds a number.

The paper's sentences are written once, by hand, around these words; no sentence says more than its table.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

Tables = Mapping[str, pd.DataFrame]


def findings(tables: Tables) -> dict[str, str]:
    """Quantity -> words, of one study's tables: lists of stops, and the largest change that the exclusions make.

    `zero.<measure>.<column>.<where>`: stops at which the interval of the last layer's coefficient lies above zero,
    holds it, or lies below (`zero.error.<measure>`: with the error gap). `ahead.<measure>.<other>.<where>`: the same
    for the difference of the first measure's and another's tau-b. `claim.<measure>.<where>`: stops at which the
    published number agrees, or ours is lower, higher, undecided, or otherwise differs. A list is "every stop", "no
    stop", or the stops.
    """
    return (
        _against_zero(tables["last_layer"])
        | _differences(tables["differences"])
        | _claims(tables.get("published"))
        | _exclusions(tables["variants"])
    )


def side_of_zero(low: float, high: float) -> str:
    """Where an interval lies: above, holds or below zero; `without` where there is no interval."""
    if np.isnan(low) or np.isnan(high):
        return "without"
    return "above" if low > 0 else "below" if high < 0 else "holds"


def in_words(chosen: Iterable[str], every: Iterable[str]) -> str:
    """A list of stops as it stands in a sentence."""
    stops, among = list(dict.fromkeys(chosen)), list(dict.fromkeys(every))
    if not stops:
        return "no stop"
    if len(stops) == len(among):
        return "every stop" if len(stops) > 1 else stops[0]
    return " and ".join([*([", ".join(stops[:-1])] if stops[1:] else []), stops[-1]])


def _sides(rows: pd.DataFrame, column: str, name: str, sides: tuple[str, ...] = ("above", "holds", "below")) -> dict:
    bounds = zip(rows["stop"], rows[f"{column}.low"], rows[f"{column}.high"], strict=True)
    at = [(stop, side_of_zero(low, high)) for stop, low, high in bounds]
    return {f"{name}.{side}": in_words([s for s, where in at if where == side], rows["stop"]) for side in sides}


def _against_zero(table: pd.DataFrame) -> dict[str, str]:
    found: dict[str, str] = {}
    if table.attrs.get("lacks"):
        return found
    columns = [c.removesuffix(".low") for c in table.columns if c.endswith(".low")]
    for (target, label), rows in table.groupby(["target", "measure"], sort=False):
        for column in columns:
            found |= _sides(rows, column, f"zero.{'error.' if target == 'gap.error' else ''}{label}.{column}")
    return found


def _differences(table: pd.DataFrame) -> dict[str, str]:
    found: dict[str, str] = {}
    if table.attrs.get("lacks"):
        return found
    for (label, than), rows in table.groupby(["measure", "than"], sort=False):
        found |= _sides(rows, "delta_tau_b", f"ahead.{label}.{than}")
    return found


def _claims(table: pd.DataFrame | None) -> dict[str, str]:
    found: dict[str, str] = {}
    if table is None:
        return found
    for (label, published), rows in table[table["rules"] == "default"].groupby(["measure", "published"], sort=False):
        verdicts = rows["verdict"].astype(str)
        begins = {"agrees": "agrees", "lower": "ours is lower", "higher": "ours is higher", "undecided": "undecided"}
        places = {where: verdicts.str.startswith(words) for where, words in begins.items()}
        places["differs"] = ~np.logical_or.reduce(list(places.values()))
        found[f"claim.{label}.published"] = str(published)
        for where, mask in places.items():
            found[f"claim.{label}.{where}"] = in_words(rows.loc[mask, "stop"], rows["stop"])
    return found


def _exclusions(table: pd.DataFrame) -> dict[str, str]:
    found: dict[str, str] = {}
    if table.attrs.get("lacks"):
        return found
    wide = table.pivot_table(index=["stop", "target", "measure"], columns="rules", values="pearson", sort=False)
    for rules in [r for r in wide.columns if r != "default"]:
        change = (wide[rules] - wide["default"]).abs().groupby("measure", sort=False).max()
        found |= {f"variant.{rules}.{label}.change": f"{value:.2f}" for label, value in change.items()}
    return found
