"""Published numbers beside ours, from the committed records alone: analysis/expected/*.yaml against analysis/records/.

A published number agrees when it lies in our 95% interval; otherwise ours is lower or higher. That one measure is above
others agrees, or differs, where the intervals of the differences say so, and is undecided otherwise. A study whose
records are not committed says so: nothing is compared with a number that nobody can check.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from analysis.columns import at_stop, stops
from analysis.exclude import VARIANTS, exclude
from analysis.load import InputError, read_records
from analysis.statistics.coefficients import RESAMPLES, Coefficients
from analysis.statistics.correlation import correlate_each
from analysis.statistics.differences import difference, paired
from analysis.statistics.resample import WORDS
from study.storage.paths import published_file

EXPECTED = Path(__file__).parent / "expected"
TITLE = "Published beside ours"
NOTE = (
    f"Ours with {WORDS.format(resamples=f'{RESAMPLES:,}')}; agrees: the published number lies in our interval. A "
    "statement that one measure is above others agrees where the intervals of all differences lie above zero, differs "
    "where one lies below, and is undecided otherwise. Rules: which runs were left out, ours (default) and the "
    "source's. From the committed records alone; deviations from each protocol: README, Known deviations, and the "
    "paper."
)
_COEFFICIENTS = ("pearson", "tau_b", "tau_a")


@dataclass(frozen=True)
class Claim:
    """One published statement: a number, a largest absolute value that a phrase is read as, or being above others."""

    item: str
    measure: str
    coefficient: str
    published: float | str
    at_most: float | None = None
    above: tuple[str, ...] = ()


@dataclass(frozen=True)
class Expectation:
    """What one source publishes about one study."""

    study: str
    source: str
    target: str
    rules: tuple[str, ...]
    claims: tuple[Claim, ...]


def read_expectation(path: Path) -> Expectation:
    """Read one file of analysis/expected; raises InputError naming the file and field that is wrong."""
    content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    try:
        claims = tuple(Claim(**{**c, "above": tuple(c.get("above", ()))}) for c in content["claims"])
        study = str(content.get("study", path.stem))
        rules = tuple(content.get("rules", ["default"]))
        found = Expectation(study, content["source"], content["target"], rules, claims)
    except (KeyError, TypeError) as error:
        raise InputError(
            f"{path}: claims: {error}: allowed are source, target, rules, claims with the fields of Claim"
        ) from None
    for claim in found.claims:
        if claim.coefficient not in _COEFFICIENTS:
            raise InputError(f"{path}: coefficient: {claim.coefficient}: allowed are {', '.join(_COEFFICIENTS)}")
    for variant in found.rules:
        if variant not in VARIANTS:
            raise InputError(f"{path}: rules: {variant}: allowed are {', '.join(VARIANTS)}")
    return found


def verify(expected: Path = EXPECTED, records: Path | None = None, resamples: int = RESAMPLES) -> pd.DataFrame:
    """Compare everything published with `records` (default: the committed ones); one row a claim, stop and rules.

    Columns: study, item, measure, stop, rules, published, ours with .low and .high, n, configurations, verdict, source.
    """
    rows: list[dict[str, object]] = []
    for path in sorted(expected.glob("*.yaml")):
        expectation = read_expectation(path)
        file = records / f"{expectation.study}.csv" if records else published_file(expectation.study)
        frame = read_records(file) if file.is_file() else None
        rows += compare(expectation, frame, resamples)
    columns = [
        "study",
        "item",
        "measure",
        "stop",
        "rules",
        "published",
        "ours",
        "ours.low",
        "ours.high",
        "n",
        "configurations",
    ]
    table = pd.DataFrame(rows, columns=[*columns, "verdict", "source"])
    table.attrs |= {"title": TITLE, "note": NOTE}
    return table


def published(study: str, frame: pd.DataFrame) -> pd.DataFrame | None:
    """The rows of `verify` about one study, from the records given; None when nothing is published about it."""
    found = [e for e in map(read_expectation, sorted(EXPECTED.glob("*.yaml"))) if e.study == study]
    if not found:
        return None
    table = pd.DataFrame([row for e in found for row in compare(e, frame)]).drop(columns=["study", "source"])
    sources = " ".join(dict.fromkeys(f"{e.source}." for e in found))
    table.attrs |= {"title": TITLE, "note": f"{NOTE} Sources: {sources}"}
    return table


def compare(
    expectation: Expectation, frame: pd.DataFrame | None, resamples: int = RESAMPLES
) -> list[dict[str, object]]:
    """Rows of `verify` for one source; `frame` is the study's records, None while they are not committed."""
    rows = []
    asked = [(s, r) for s in stops(frame) for r in expectation.rules] if frame is not None else [("", "")]
    for stop, rules in asked:
        every: dict[str, Coefficients] = {}
        if frame is not None:
            kept, _ = exclude(at_stop(frame, stop), rules)
            every = correlate_each(kept, expectation.target, _labels(kept, expectation), resamples) if len(kept) else {}
        for claim in expectation.claims:
            about = {
                "study": expectation.study,
                "item": claim.item,
                "measure": claim.measure,
                "stop": stop or "n/a",
                "rules": rules or "n/a",
                "published": str(claim.published),
            }
            judged = _judged(claim, every, frame is not None)
            if claim.above and not np.isnan(float(judged["ours"])):
                judged["verdict"] = _above(claim, kept, expectation.target, resamples)
            rows.append(about | judged | {"source": expectation.source})
    return rows


def _labels(frame: pd.DataFrame, expectation: Expectation) -> list[str]:
    asked = {c.measure for c in expectation.claims}
    return sorted(label for label in asked if f"measure.{label}" in frame.columns)


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
    return row | {"verdict": _verdict(claim, ours, bounds.low, bounds.high)}


def _verdict(claim: Claim, ours: float, low: float, high: float) -> str:
    if np.isnan(ours) or claim.above:
        return "undefined"
    if claim.at_most is not None:
        return "agrees" if abs(ours) <= claim.at_most else f"differs: above {claim.at_most} in size"
    published = float(claim.published)
    if np.isnan(low):
        return "no interval"
    if low <= published <= high:
        return "agrees"
    return "ours is lower" if ours < published else "ours is higher"


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
    ahead = [m for m in known if bounds[m].high < 0]
    level = [m for m in known if not (bounds[m].low > 0 or bounds[m].high < 0)]
    if not ahead and not level:
        return f"agrees{partly}"
    best = max(ahead or level, key=lambda m: (known[m][1].point[name], m))
    return f"{'differs' if ahead else 'undecided'}: {best} has {known[best][1].point[name]:.2f}{partly}"
