"""Published beside ours: whether a number lies in our interval, a phrase fits it, a measure is above others.

One rule, of the 95% interval for new levels. A printed number stands for all that round to it: .72 for .715 to .725.
All of them outside the interval: ours is lower, or higher. All inside: it agrees, unless the interval holds zero or is
wider than WIDEST, when it would agree with nearly any: uninformative, as it is where some lie inside and some outside.
A phrase (at most so large in size) agrees where the whole interval lies in its range, differs where none of it does.
That one measure is above others agrees where every difference's interval lies above zero, differs where one lies below
(Benjamini-Hochberg's q over the rivals below .05, too). What else there is, is uninformative.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

import numpy as np
import pandas as pd

from analysis.statistics.association.coefficients import RESAMPLES, Coefficients
from analysis.statistics.association.correlation import correlate_each
from analysis.statistics.association.differences import difference, p_of_no_difference, paired
from analysis.statistics.association.weighted import WITH_INTERVAL
from analysis.statistics.resampling.multiple import benjamini_hochberg

WIDEST = 0.6  # an interval that holds both a weak (.3) and a nearly perfect (.9) correlation tells nothing; ours
UNINFORMATIVE = "uninformative"


@dataclass(frozen=True)
class Claim:
    """One published statement: a number, a largest absolute value that a phrase is read as, or being above others.

    A number has the digits that it is printed with; as text where the last is a zero, "0.70".
    """

    item: str
    measure: str
    coefficient: str
    published: float | str
    at_most: float | None = None
    above: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.coefficient not in WITH_INTERVAL:
            raise ValueError(f"coefficient: {self.coefficient}: allowed are {', '.join(sorted(WITH_INTERVAL))}")
        phrase = self.at_most is not None or bool(self.above)
        if not phrase and not _is_number(self.published):
            raise ValueError(f"published: {self.published}: a number is allowed, or words with at_most or above")


@dataclass(frozen=True)
class Published:
    """What one source publishes about a study, and under which exclusion rules (variants' names) ours is compared."""

    source: str
    target: str
    rules: tuple[str, ...]
    claims: tuple[Claim, ...]


def compare(
    frame: pd.DataFrame | None, target: str, claims: Sequence[Claim], resamples: int = RESAMPLES
) -> list[dict[str, Any]]:
    """A row a claim: ours (with .low and .high), n, configurations, verdict; a records frame of one stop.

    `frame` is None where no records are committed: nothing is compared with a number that nobody can check.
    """
    every: dict[str, Coefficients] = {}
    if frame is not None and len(frame) and target in frame.columns:
        labels = sorted({c.measure for c in claims if f"measure.{c.measure}" in frame.columns})
        every = correlate_each(frame, target, labels, resamples)
    rows = []
    for claim in claims:
        row = _judged(claim, every, frame is not None)
        if frame is not None and claim.above and not np.isnan(row["ours"]):
            row["verdict"] = _above(claim, frame, target, resamples)
        rows.append(row)
    return rows


def verdict(claim: Claim, ours: float, low: float, high: float) -> str:
    """What the coefficient and its interval say of a published number or phrase; of being above others see compare."""
    if np.isnan(ours) or claim.above:
        return "undefined"
    if np.isnan(low):
        return "no interval"
    if claim.at_most is not None:
        outside = low > claim.at_most or high < -claim.at_most
        inside = -claim.at_most <= low and high <= claim.at_most
        unknown = f"{UNINFORMATIVE}: lies on both sides of {claim.at_most}"
        return "agrees" if inside else f"differs: above {claim.at_most} in size" if outside else unknown
    least, most = rounded_from(claim.published)
    if high < least or most < low:
        return "ours is lower" if high < least else "ours is higher"
    if not (low <= least and most <= high):
        return f"{UNINFORMATIVE}: rounded, it may lie outside"
    if low <= 0 <= high:
        return f"{UNINFORMATIVE}: holds zero"
    return "agrees" if high - low <= WIDEST else f"{UNINFORMATIVE}: wider than {WIDEST}"


def rounded_from(published: float | str) -> tuple[float, float]:
    """The least and the most that a printed number may have been rounded from: half a unit of its last digit off."""
    number = Decimal(str(published))
    half = Decimal(5).scaleb(int(number.as_tuple().exponent) - 1)
    return float(number - half), float(number + half)


def _is_number(published: float | str) -> bool:
    try:
        return Decimal(str(published)).is_finite()
    except InvalidOperation:
        return False


def _judged(claim: Claim, every: dict[str, Coefficients], committed: bool) -> dict[str, Any]:
    missing = {"ours": np.nan, "ours.low": np.nan, "ours.high": np.nan, "n": 0, "configurations": 0}
    if not committed:
        return missing | {"verdict": "records not committed yet"}
    if claim.measure not in every:
        return missing | {"verdict": f"not measured: {claim.measure}"}
    c = every[claim.measure]
    bounds = c.interval(claim.coefficient)
    ours = c.point[claim.coefficient]
    row = {
        "ours": ours,
        "ours.low": bounds.low,
        "ours.high": bounds.high,
        "n": c.n,
        "configurations": c.n_configurations,
    }
    return row | {"verdict": verdict(claim, ours, bounds.low, bounds.high)}


def _above(claim: Claim, kept: pd.DataFrame, target: str, resamples: int) -> str:
    """Whether one measure's coefficient is above that of each rival: their paired differences against zero."""
    name = claim.coefficient
    pairs = {m: paired(kept, target, claim.measure, m, resamples) for m in claim.above if f"measure.{m}" in kept}
    known = {m: two for m, two in pairs.items() if not np.isnan(two[1].point[name])}
    if not known:
        return "not measured: " + ", ".join(claim.above)
    missing = [m for m in claim.above if m not in known]
    partly = f" (of those measured; without {', '.join(missing)})" if missing else ""
    bounds = {m: difference(*two, name) for m, two in known.items()}
    if all(np.isnan(b.low) for b in bounds.values()):
        return f"no interval{partly}"
    q = benjamini_hochberg([p_of_no_difference(*two, name) for two in known.values()])
    ahead = [m for m, q_m in zip(known, q, strict=True) if bounds[m].high < 0 and q_m < 0.05]
    level = [m for m in known if m not in ahead and not bounds[m].low > 0]
    if not ahead and not level:
        return f"agrees{partly}"
    best = max(ahead or level, key=lambda m: (known[m][1].point[name], m))
    has = f"{known[best][1].point[name]:.2f}".replace("-", "−")
    return f"{'differs' if ahead else UNINFORMATIVE}: {best} has {has}{partly}"
