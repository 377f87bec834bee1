"""Named rules that leave rows out of a statistic, each with the count of what it left out.

Nothing is dropped in any other way: a table's note prints `Exclusions.note`; the counts and what is left add up to all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.columns import values

Mask = Callable[[pd.DataFrame], "pd.Series[bool]"]


@dataclass(frozen=True)
class Rule:
    """One reason to leave a row out: `mask(frame)` is True for the rows it means; `reason` reads on in a sentence."""

    name: str
    reason: str
    mask: Mask


@dataclass(frozen=True)
class Exclusions:
    """How many rows there were and how many each rule left out, in the order the rules were asked."""

    total: int
    counts: dict[str, int]

    @property
    def kept(self) -> int:
        """Rows left over."""
        return self.total - sum(self.counts.values())

    @property
    def note(self) -> str:
        """One sentence for under a table; names every rule asked, also those that left nothing out."""
        each = "; ".join(f"{name} ({RULES[name].reason}): {count}" for name, count in self.counts.items())
        return f"{self.kept} of {self.total} runs; excluded by rule: {each or 'no rule asked'}."

    @property
    def counted(self) -> str:
        """The counts alone, where the rules' reasons stand elsewhere."""
        each = ", ".join(f"{name} {count}" for name, count in self.counts.items() if count)
        return f"{self.kept} of {self.total} runs" + (f" ({each})." if each else ".")

    def table(self) -> pd.DataFrame:
        """One row a rule: rule, reason, excluded; then the runs that are left."""
        rows = [{"rule": n, "reason": RULES[n].reason, "runs": c} for n, c in self.counts.items()]
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


def _smallest_gaps(frame: pd.DataFrame) -> pd.Series[bool]:
    column = next((c for c in ("gap.loss", "gen.gap", "gap.error") if c in frame.columns), None)
    chosen = pd.Series(False, index=frame.index)
    if column is not None:
        chosen.loc[frame[column].nsmallest(3).index] = True
    return chosen


def _weight_decay(frame: pd.DataFrame) -> pd.Series[bool]:
    return pd.Series(np.isclose(values(frame, "hp.weight_decay"), 1e-4), index=frame.index)


def _training_error(frame: pd.DataFrame) -> pd.Series[bool]:
    return pd.Series(values(frame, "train.error") > 0.07, index=frame.index)


RULES: dict[str, Rule] = {
    rule.name: rule
    for rule in (
        Rule("not_converged", "did not reach this stop within the epoch limit", _not_converged),
        Rule("diverged", "training ended in a NaN or an infinity", _diverged),
        Rule("weight_decay_1e-4", "weight decay 1e-4, as the 2021 code left out", _weight_decay),
        Rule("smallest_three_gaps", "the three smallest gaps, as the 2021 code left out", _smallest_gaps),
        Rule(
            "training_error_above_.07", "training error above .07, as the 2019 MNIST protocol filtered", _training_error
        ),
    )
}

# A variant is a list of rules; "default" is the only one that a table uses unless it says otherwise in its title.
VARIANTS: dict[str, tuple[str, ...]] = {
    "default": ("not_converged", "diverged"),
    "authors_2021": ("not_converged", "diverged", "weight_decay_1e-4", "smallest_three_gaps"),
    "mnist_2019": ("diverged", "training_error_above_.07"),
    "all": (),
}


def exclude(frame: pd.DataFrame, rules: Sequence[str] | str = "default") -> tuple[pd.DataFrame, Exclusions]:
    """Apply rules in order; return the rows left (index reset, attrs kept) and the count that each rule left out.

    A row is counted under the first rule that means it. `rules` is a variant's name or the rules' names. Raises
    ValueError for a name that is neither.
    """
    if isinstance(rules, str):
        if rules not in VARIANTS:
            raise ValueError(f"variant: {rules}: allowed are {', '.join(VARIANTS)}")
        rules = VARIANTS[rules]
    counts: dict[str, int] = {}
    left = frame
    for name in rules:
        if name not in RULES:
            raise ValueError(f"rule: {name}: allowed are {', '.join(RULES)}")
        out = RULES[name].mask(left).to_numpy(dtype=bool)
        counts[name] = int(out.sum())
        left = left[~out]
    return left.reset_index(drop=True), Exclusions(len(frame), counts)
