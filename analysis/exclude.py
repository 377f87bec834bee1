"""Named rules that leave rows out of a statistic, each with the count of what it left out.

Nothing is dropped in any other way: a table's note prints `Exclusions.note`; the counts and what is left add up to all.
DEFAULT is what every table uses; a study's file may declare variants beside it, of the rules in RULES with options.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.columns import values
from analysis.csv_file import InputError

Mask = Callable[..., "pd.Series[bool]"]


@dataclass(frozen=True)
class Kind:
    """A reason to leave rows out: `mask(frame, **options)` is True for the rows it means.

    `reason` reads on in a sentence, with options in braces; `options` are their types.
    """

    name: str
    reason: str
    mask: Mask
    options: Mapping[str, type] = field(default_factory=dict)


@dataclass(frozen=True)
class Rule:
    """A kind of rule with its options, as a choice is written: a name, or name: {option: value}."""

    kind: str
    options: tuple[tuple[str, object], ...] = ()

    def __str__(self) -> str:
        given = ",".join(
            f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}" for name, value in self.options
        )
        return f"{self.kind}({given})" if given else self.kind

    @property
    def reason(self) -> str:
        """Why, in words."""
        return RULES[self.kind].reason.format_map(dict(self.options))

    def mask(self, frame: pd.DataFrame) -> pd.Series[bool]:
        """True for the rows that the rule means."""
        return RULES[self.kind].mask(frame, **dict(self.options))


@dataclass(frozen=True)
class Exclusions:
    """How many rows there were, and how many each rule left out and why, in the order the rules were asked."""

    total: int
    counts: dict[str, int]
    reasons: dict[str, str]

    @property
    def kept(self) -> int:
        """Rows left over."""
        return self.total - sum(self.counts.values())

    @property
    def note(self) -> str:
        """One sentence for under a table; names every rule asked, also those that left nothing out."""
        each = "; ".join(f"{name} ({self.reasons[name]}): {count}" for name, count in self.counts.items())
        return f"{self.kept} of {self.total} runs; excluded by rule: {each or 'no rule asked'}."

    @property
    def counted(self) -> str:
        """The counts alone, where the rules' reasons stand elsewhere."""
        each = ", ".join(f"{name} {count}" for name, count in self.counts.items() if count)
        return f"{self.kept} of {self.total} runs" + (f" ({each})." if each else ".")

    def table(self) -> pd.DataFrame:
        """One row a rule: rule, reason, excluded; then the runs that are left."""
        rows = [{"rule": n, "reason": self.reasons[n], "runs": c} for n, c in self.counts.items()]
        rows.append({"rule": "kept", "reason": "used in the statistics", "runs": self.kept})
        return pd.DataFrame(rows)


def _status(frame: pd.DataFrame) -> pd.Series:
    return frame["train.status"] if "train.status" in frame.columns else pd.Series("finished", index=frame.index)


def _diverged(frame: pd.DataFrame) -> pd.Series[bool]:
    return _status(frame).eq("diverged")


def _not_converged(frame: pd.DataFrame) -> pd.Series[bool]:
    if "train.converged" not in frame.columns:
        return pd.Series(False, index=frame.index)
    reached = frame["train.converged"].astype("str").str.lower().isin(["true", "1", "1.0"])
    return ~reached & ~_diverged(frame)


def _smallest_gaps(frame: pd.DataFrame, n: int) -> pd.Series[bool]:
    column = next((c for c in ("gap.loss", "gen.gap", "gap.error") if c in frame.columns), None)
    chosen = pd.Series(False, index=frame.index)
    if column is not None:
        chosen.loc[frame[column].nsmallest(n).index] = True
    return chosen


def _equal(frame: pd.DataFrame, column: str, value: float) -> pd.Series[bool]:
    return pd.Series(np.isclose(_there(frame, column), value), index=frame.index)


def _above(frame: pd.DataFrame, column: str, value: float) -> pd.Series[bool]:
    return pd.Series(_there(frame, column) > value, index=frame.index)


def _there(frame: pd.DataFrame, column: str) -> NDArray[np.float64]:
    """A column's numbers. Raises InputError without it: a rule that names another would leave nothing out."""
    if column not in frame.columns or not pd.api.types.is_numeric_dtype(frame[column]):
        numbers = ", ".join(c for c in frame.select_dtypes("number").columns if not c.startswith("measure."))
        raise InputError(f"rules: {column}: allowed is a column of numbers, a measure's or {numbers}")
    return values(frame, column)


RULES: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("not_converged", "did not reach this stop within the epoch limit", _not_converged),
        Kind("diverged", "training ended in a NaN or an infinity", _diverged),
        Kind("smallest_gaps", "the {n} smallest gaps", _smallest_gaps, {"n": int}),
        Kind("equal", "{column} is {value:g}", _equal, {"column": str, "value": float}),
        Kind("above", "{column} above {value:g}", _above, {"column": str, "value": float}),
    )
}

Variants = Mapping[str, Sequence[Rule]]
DEFAULT = (Rule("not_converged"), Rule("diverged"))
STANDARD: Variants = {"default": DEFAULT, "all": ()}  # the variants of a study that declares none


def exclude(frame: pd.DataFrame, rules: Sequence[Rule] = DEFAULT) -> tuple[pd.DataFrame, Exclusions]:
    """Apply rules in order; return the rows left (index reset, attrs kept) and the count that each rule left out.

    A row is counted under the first rule that means it. Raises InputError for a rule about a column that is not there.
    """
    counts: dict[str, int] = {}
    left = frame
    for rule in rules:
        out = rule.mask(left).to_numpy(dtype=bool)
        counts[str(rule)] = counts.get(str(rule), 0) + int(out.sum())
        left = left[~out]
    return left.reset_index(drop=True), Exclusions(len(frame), counts, {str(rule): rule.reason for rule in rules})


def read_rule(choice: object) -> Rule:
    """A rule as a person writes it: a name, or {name: {option: value}}. Raises ValueError, naming what is allowed."""
    name, given = next(iter(choice.items())) if isinstance(choice, dict) and len(choice) == 1 else (choice, {})
    kind = RULES.get(name) if isinstance(name, str) else None
    if kind is None:
        raise ValueError(f"{name}: allowed are {', '.join(RULES)}")
    if not isinstance(given, dict) or set(given) != set(kind.options):
        wanted = ", ".join(f"{option}: {type_.__name__}" for option, type_ in kind.options.items())
        raise ValueError(f"{name}: {given}: allowed is {'{' + wanted + '}' if wanted else 'no option'}")
    options = []
    for option, type_ in kind.options.items():
        value = given[option]
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not (isinstance(value, type_) or (type_ is float and number)) or isinstance(value, bool):
            raise ValueError(f"{name}.{option}: {value}: a {type_.__name__} is allowed")
        options.append((option, type_(value)))
    return Rule(kind.name, tuple(options))
