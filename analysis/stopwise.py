"""Apply a statistic of one stop and one target to every stop of a study, counting what each stop left out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd

from analysis.columns import LEDGER, TARGETS, at_stop, possible_targets, stops, targets
from analysis.exclude import DEFAULT, Rule, exclude

Statistic = Callable[[pd.DataFrame, str], pd.DataFrame]
TWO = "two networks with a gap at one stop"  # what nothing can be said without


def stopwise(
    frame: pd.DataFrame,
    statistic: Statistic,
    title: str,
    method: str,
    wanted: Sequence[str] = ("gap.loss", "gen.gap", "gap.error"),
    every_target: bool = False,
    rules: Sequence[Rule] = DEFAULT,
    needs: str = TWO,
) -> pd.DataFrame:
    """Put `statistic(kept rows of one stop, target)` under one another, with columns stop and target in front.

    The target is the first of `wanted` that the rows have, or each of them with `every_target`; of a frame `about`
    one that tables do not ask for by themselves, that one. The note is `method`
    and every stop's exclusions; a study for which nothing comes out gives an empty table that says it lacks `needs`.
    """
    parts: list[pd.DataFrame] = []
    notes: dict[str, str] = {}
    counts: list[str] = []
    every = possible_targets(frame)
    asked = every if len(every) == 1 else [t for t in every if t not in TARGETS]
    for stop in stops(frame):
        kept, exclusions = exclude(at_stop(frame, stop), rules)
        notes[stop] = exclusions.note if stop == LEDGER else f"{stop}: {exclusions.note}"
        counts.append(f"{stop}: {exclusions.counted}" if counts else notes[stop])
        there = targets(kept)
        available = [t for t in there if t in wanted] or [t for t in there if t in asked]
        if len(kept) < 2:
            continue
        for target in available if every_target else sorted(available, key=[*wanted, *available].index)[:1]:
            part = statistic(kept, target)
            if len(part):
                part.insert(0, "target", target)
                part.insert(0, "stop", stop)
                parts.append(part)
    if not parts:
        return lacking(title, needs)
    table = pd.concat(parts, ignore_index=True)
    table.attrs |= {"title": title, "note": " ".join([method, *counts])}
    table.attrs["note_at"] = {stop: f"{method} {note}" for stop, note in notes.items()}
    return table


def has_two(frame: pd.DataFrame) -> bool:
    """Whether the rules leave two networks with a gap at some stop of a records frame."""
    kept = (exclude(at_stop(frame, stop))[0] for stop in stops(frame))
    return any(int(rows[targets(rows)].notna().any(axis=1).sum()) >= 2 for rows in kept)


def lacking(title: str, lacks: str) -> pd.DataFrame:
    """An empty table that says what it would have needed."""
    table = pd.DataFrame()
    table.attrs |= {"title": title, "lacks": lacks}
    return table
