"""Does a measure put the networks into the same order on other images with other noise? What correlations rest on."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.columns import AGAIN, values
from analysis.selection import trained
from analysis.statistics.association.coefficients import RESAMPLES, tau
from analysis.statistics.association.correlation import correlate
from analysis.statistics.resampling.resample import WORDS
from analysis.stopwise import stopwise

TITLE = "The same networks measured again, on other training images and with other noise"
USE = "diagnostic"
METHOD = (
    "Again: on as many other training images where a measure is of some, with other draws where it draws. Change: the "
    "median over networks of the size of the relative change. τ_b of both: between the two, over the networks that "
    "have both; 1 is the same order, also of what reads no images. No correlation can rest on an order that a "
    "measure does not repeat. τ_b with the target by either: in brackets {words}."
)
NEEDS = "measures taken twice (python -m study repeats)"
TARGETS = ("gen.gap", "gap.loss", "gap.error", "gap.shift.mean.loss")
_OF_EACH = ("tau_b", "tau_b.low", "tau_b.high")


def build(frame: pd.DataFrame, resamples: int = RESAMPLES) -> pd.DataFrame:
    """Columns: stop, target, measure, n, configurations, change, repeat_tau_b, tau_b, again_tau_b (.low, .high).

    Of networks that have both values; a measure that no two of them have is left out.
    """

    def one(kept: pd.DataFrame, target: str) -> pd.DataFrame:
        labels = [label for label in trained(kept) if f"{AGAIN}{label}" in kept.columns]
        pairs = {label: (values(kept, f"measure.{label}"), values(kept, f"{AGAIN}{label}")) for label in labels}
        there = {label: ~np.isnan(np.stack(pair)).any(axis=0) for label, pair in pairs.items()}
        labels = [label for label in labels if there[label].sum() > 1]
        if not labels:
            return pd.DataFrame()
        taken = [{m: np.where(there[m], pairs[m][which], np.nan) for m in labels} for which in (0, 1)]
        first, second = (correlate(_with(kept, columns), target, labels, resamples) for columns in taken)
        both = [(pairs[label][0][there[label]], pairs[label][1][there[label]]) for label in labels]
        table = first[["measure", "n", "configurations"]].copy()
        table["change"] = [_change(*pair) for pair in both]
        table["repeat_tau_b"] = [tau(*pair) for pair in both]
        again = second[list(_OF_EACH)].add_prefix("again_")
        return pd.concat([table, first[list(_OF_EACH)], again], axis=1)

    return stopwise(
        frame, one, TITLE, METHOD.format(words=WORDS.format(resamples=f"{resamples:,}")), wanted=TARGETS,
        every_target=True, needs=NEEDS,
    )  # fmt: skip


def _with(frame: pd.DataFrame, columns: dict[str, np.ndarray]) -> pd.DataFrame:
    return frame.assign(**{f"measure.{label}": values for label, values in columns.items()})


def _change(first: np.ndarray, again: np.ndarray) -> float:
    """NaN where every first value is 0."""
    known = first != 0
    return float(np.median(np.abs(again[known] - first[known]) / np.abs(first[known]))) if known.any() else np.nan
