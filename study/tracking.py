"""wandb as a mirror: replays finished runs from their files. Training never touches wandb, and nothing here is read back.

A run is first written as an offline wandb run under results/<study>/wandb, which needs no network and cannot stall; mode
`online` then uploads those folders. So there is one way to write a run, and an upload that failed leaves offline runs
behind, which `python -m analysis.wandb_upload` picks up later.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from study.checkpoint import read_json, write_json
from study.config import RunConfig, config_to_dict, run_key
from study.paths import RunPaths, results_folder

MODES = ("offline", "online", "off")
PROJECT = "relative-flatness-study"
MISSING = "wandb is not installed: runs are not mirrored to it; everything else is complete"


class TrackingError(ValueError):
    """wandb cannot be used in the way that was asked for."""


@dataclass(frozen=True)
class WandbRun:
    """One run as wandb shall show it: `rows` one an epoch, all values plain numbers, strings or None."""

    id: str
    config: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]
    summary: Mapping[str, Any]

    def digest(self) -> dict[str, str]:
        """Hashes of the curve and of the rest: whether what wandb has is still what the files say."""
        parts = {"rows": list(self.rows), "rest": [dict(self.config), dict(self.summary)]}
        return {k: hashlib.sha256(json.dumps(v, sort_keys=True).encode()).hexdigest()[:16] for k, v in parts.items()}


@dataclass(frozen=True)
class Mirrored:
    """What was done: runs written now, runs already there, and one line for each thing that went wrong."""

    written: int = 0
    skipped: int = 0
    problems: tuple[str, ...] = ()


def check(mode: str) -> None:
    """Refuse a mode that cannot work, before anything is trained. Raises TrackingError; contacts no server."""
    if mode not in MODES:
        raise TrackingError(f"wandb: {mode}: allowed: {', '.join(MODES)}")
    if mode != "online":
        return
    if importlib.util.find_spec("wandb") is None:
        raise TrackingError("wandb: online: wandb is not installed; allowed without it: offline, off")
    import wandb

    try:
        known = wandb.login(prompt=False, verify=False)
    except wandb.Error as error:
        raise TrackingError(f"wandb: online: {error}") from error
    if not known:
        raise TrackingError("wandb: online: no API key; run `wandb login` or set WANDB_API_KEY, or use offline")


def mirror(
    runs: Sequence[RunConfig],
    measures: Sequence[str],
    runs_root: str | Path,
    study_name: str,
    mode: str = "offline",
    results_root: str | Path | None = None,
) -> Mirrored:
    """Show every finished run in wandb, once; a run that has new measures since is shown anew under the same id.

    Raises TrackingError for a mode that is not allowed and nothing else: every other problem is a line in the report.
    Cost on two cores: 1.5 s to start, 30 ms a run of 200 epochs; 2 ms a run that is already there.
    """
    if mode not in MODES:
        raise TrackingError(f"wandb: {mode}: allowed: {', '.join(MODES)}")
    if mode == "off":
        return Mirrored()
    if importlib.util.find_spec("wandb") is None:
        return Mirrored(problems=(MISSING,))
    try:
        finished, problems = _read_all(runs, measures, Path(runs_root), study_name)
        folder = results_folder(study_name, results_root)
        done = write_offline(finished, folder)
        if mode == "online":
            unsent = waiting(folder, {run.id for run in finished})
            done = replace(done, problems=(*done.problems, *sync(unsent, folder)))
        return replace(done, problems=(*problems, *done.problems))
    except Exception as error:  # a mirror never fails a run
        return Mirrored(problems=(f"wandb: {type(error).__name__}: {error}",))


# --- what wandb shall show -------------------------------------------------------------------------------------------


def wandb_name(column: str) -> str:
    """A record's column as a name that the web app can sort and filter by; `column_name` is its inverse.

    >>> wandb_name("measure.relative_flatness@layerwise_1.fc1")
    'measure__relative_flatness_AT_layerwise_1__fc1'
    """
    name = column.replace(".", "__").replace("@", "_AT_").replace("-", "_MINUS_")
    if not re.fullmatch(r"[_a-zA-Z][_a-zA-Z0-9]*", name):
        raise TrackingError(f"wandb: {column}: allowed in a name: letters, digits and . @ - _")
    return name


def column_name(name: str) -> str:
    """The record's column that `wandb_name` turned into this name."""
    return name.replace("_MINUS_", "-").replace("_AT_", "@").replace("__", ".")


def wandb_run(study: str, config: RunConfig, rows: Sequence[Mapping[str, Any]], stops: Mapping[str, Any]) -> WandbRun:
    """A run from its config, its epochs and, for each stop in order, its record columns (train.loss, measure.x, ...).

    The last stop's columns get plain names; an earlier stop's are prefixed, e.g. `at__loss_0__1__gap__loss`.
    """
    last = list(stops)[-1] if stops else None
    columns = {c if stop == last else f"at.{stop}.{c}": v for stop, cs in stops.items() for c, v in cs.items()}
    fields = config_to_dict(config) | {"hidden": "-".join(map(str, config.hidden)), "stops": " ".join(config.stops)}
    key = run_key(config)
    return WandbRun(
        id=f"{study}-{key}",
        # All seeds of one configuration share `configuration`: group by it in the web app to average over seeds.
        config={"study": study, "key": key, "configuration": run_key(replace(config, seed=0)), "stop": last, **fields},
        rows=[{wandb_name(name): value for name, value in row.items()} for row in rows],
        summary={wandb_name(name): value for name, value in columns.items()},
    )
