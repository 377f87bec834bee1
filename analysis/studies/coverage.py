"""What a study's records do not hold: runs, stops and measures that its yaml plans, and networks that can be used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd

from analysis.columns import at_stop, stops, values
from analysis.exclude import exclude
from analysis.load import Source
from analysis.vocabulary import at_words
from study.config import ConfigError, RunConfig, run_key
from study.grid import Study, load_study
from study.names import COLUMN, Label, shift_of
from study.state import State, run_state
from study.storage.folders import find_folders
from study.storage.paths import RunPaths

_WHY = {"not_converged": "did not reach it within {limit}", "diverged": "ended in a NaN or an infinity"}


def missing(source: Source) -> list[str]:
    """Sentences; none where most networks are used at every stop, and the records hold all that a yaml plans."""
    return [*_used(source.records), *_unrecorded(source)]


def _used(records: pd.DataFrame) -> Iterator[str]:
    """Stops at which the rules of every table leave fewer than three networks, or less than half of them."""
    for stop in stops(records):
        rows = at_stop(records, stop)
        left = exclude(rows)[1]
        if left.kept == left.total or (left.kept >= 3 and 2 * left.kept >= left.total):
            continue
        epochs = list(rows["hp.max_epochs"].unique()) if "hp.max_epochs" in rows else []
        limit = f"{epochs[0]} epochs" if len(epochs) == 1 else "the epoch limit"
        why = [f"{n} {_WHY[rule].format(limit=limit)}" for rule, n in left.counts.items() if n]
        are = "is" if left.kept == 1 else "are"
        yield f"{left.kept} of {left.total} networks {are} used{at_words(stop)}: {', '.join(why)}."


def _unrecorded(source: Source) -> list[str]:
    if source.plan is None:
        return []
    try:
        study = load_study(source.plan)
    except ConfigError as error:
        return [f"What was planned is not known: {error}"]
    planned = {run_key(config): config for config in study.runs}
    there = set(source.records["key"])
    lines = []
    if absent := [config for key, config in planned.items() if key not in there]:
        lines.append(f"{len(planned) - len(absent)} of {len(planned)} runs are in the records{_begun(study, absent)}.")
    if strange := there - set(planned):
        lines.append(f"{len(strange)} of the records' runs are not of {source.plan}.")
    rows = source.records[source.records["key"].isin(planned)]
    return [*lines, *_stops(rows, planned), *_measures(rows, study.measures)]


def _begun(study: Study, absent: Iterable[RunConfig]) -> str:
    """How far the other runs are, where there is a folder of runs."""
    folder = find_folders(study.name).runs
    if not folder.is_dir():
        return ""
    words: dict[State, str] = {"done": "done but not collected", "partial": "begun", "new": "not begun"}
    states = Counter(run_state(RunPaths(folder, run_key(config)), config, study.measures) for config in absent)
    return "; of the others " + ", ".join(f"{states[state]} {said}" for state, said in words.items() if states[state])


def _stops(rows: pd.DataFrame, planned: dict[str, RunConfig]) -> Iterator[str]:
    wanted = Counter(stop for key in rows["key"].unique() for stop in planned[key].stops)
    found = Counter(rows["stop"])
    for stop, n in wanted.items():
        if found[stop] < n:
            yield f"{stop}: {found[stop]} of {n} of these runs have a row."


def _measures(rows: pd.DataFrame, labels: Iterable[str]) -> Iterator[str]:
    """Measures by how many runs have no value at any stop that tables use; at some a value may not be defined."""
    rows, _ = exclude(rows)
    runs = rows["key"].nunique()
    without: dict[int, list[str]] = {}
    for label in labels:
        shift = shift_of(label)
        column = f"gap.shift.{shift}_1.loss" if shift else COLUMN + label
        n = runs - rows.loc[~np.isnan(values(rows, column)), "key"].nunique()
        if n:
            without.setdefault(n, []).append(label)
    for n, names in sorted(without.items(), reverse=True):
        trained = [name for name in names if not Label.parse(name).transform]
        again = len(names) - len(trained)
        words = [*trained, *([f"measures of reparameterized networks ({again})"] if again else [])]
        yield f"{n} of the {runs} runs that are used have no value of {', '.join(words)}."
