"""Does a measure that ranks the gap in one study rank it in another? Tau-b of each measure in both, and their order.

Of each measure that both studies have: Kendall's tau-b with the target, at one stop each, with its interval for new
levels of that study's axes. A measure that fewer than half of a study's networks have, or that has one value, says
nothing and is left out. Forms of one family that have the same tau-b in both studies count once.

Order: Kendall's tau-b between the two columns over the measures, with an interval over families of them (see order).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from analysis.columns import half_have, measures, values
from analysis.statistics.association.coefficients import RESAMPLES
from analysis.statistics.association.correlation import correlate
from analysis.statistics.beside.order import LEAST, families, order
from study.measures import is_of_test
from study.names import Label

BOUNDS = ("tau_b", "tau_b.low", "tau_b.high")


@dataclass(frozen=True)
class Other:
    """A study to be laid beside: name, title, its main stop, and the rows that the rules leave, stop by stop."""

    name: str
    title: str
    main: str
    kept: Mapping[str, pd.DataFrame]

    def like(self, stop: str) -> str:
        """The stop that one of another study is laid beside: the same one, or else the main one."""
        return stop if stop in self.kept else self.main


def replication(here: pd.DataFrame, there: pd.DataFrame, target: str, resamples: int = RESAMPLES) -> pd.DataFrame:
    """Tau-b with the target in two frames, of one stop each, of every measure that both have a value of.

    Columns: measure; n, tau_b, tau_b.low, tau_b.high; the same with `there_` in front. Empty where the other frame has
    no such target. Cost: as correlate of both.
    """
    if not np.isfinite(values(there, target)).any():
        return pd.DataFrame()
    own = [name for name in measures(here) if not (Label.parse(name).transform or is_of_test(name))]
    labels = [name for name in own if _says(here, name, target) and _says(there, name, target)]
    if not labels:
        return pd.DataFrame()
    wanted = ["measure", "n", *BOUNDS]
    one, two = (correlate(frame, target, labels, resamples)[wanted] for frame in (here, there))
    two = two.rename(columns={name: f"there_{name}" for name in wanted[1:]})
    both = one.merge(two, on="measure")
    return both[both[["tau_b", "there_tau_b"]].notna().all(axis=1)].reset_index(drop=True)


def order_in_both(both: pd.DataFrame) -> dict[str, float]:
    """How alike two studies order measures, of a frame that `replication` gave; empty below LEAST measures.

    measures (forms of one family with the same tau-b in both count once), order with .low and .high, spearman (rho of
    the same), same_sign (how many), above_zero, there_above_zero and both_above_zero (how many have an interval above
    zero), first_there (the other study's tau-b of the measure that is first here) and rank_there, 1 the first.
    """
    if both.empty:
        return {}
    kin = both.assign(family=families(both["measure"].tolist()))
    one = kin.drop_duplicates(["family", "tau_b", "there_tau_b"])
    if len(one) < LEAST:
        return {}
    x, y = values(one, "tau_b"), values(one, "there_tau_b")
    found = order(one["measure"].tolist(), x, y)
    above, there = values(one, "tau_b.low") > 0, values(one, "there_tau_b.low") > 0
    first = int(np.argmax(x))
    return {
        "measures": len(one), "order": found.tau_b, "order.low": found.interval.low, "order.high": found.interval.high,
        "spearman": float(spearmanr(x, y).statistic), "same_sign": int((np.sign(x) == np.sign(y)).sum()),
        "above_zero": int(above.sum()), "there_above_zero": int(there.sum()),
        "both_above_zero": int((above & there).sum()),
        "first_there": float(y[first]), "rank_there": int((y > y[first]).sum()) + 1,
    }  # fmt: skip


def _says(frame: pd.DataFrame, label: str, target: str) -> bool:
    x, gap = values(frame, f"measure.{label}"), values(frame, target)
    return half_have(~np.isnan(x), ~np.isnan(gap)) and len(np.unique(x[~np.isnan(x)])) > 1
