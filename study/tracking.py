"""wandb as a mirror: replays finished runs from their files. Training never touches wandb; nothing is read back.

A run is first written as an offline wandb run under results/<study>/wandb: no network, nothing to stall on. Mode
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
from study.run import run_state

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


def _read_all(
    runs: Sequence[RunConfig], measures: Sequence[str], runs_root: Path, study: str
) -> tuple[list[WandbRun], list[str]]:
    """The runs that are finished, and a line for each whose files cannot be read."""
    finished, problems = [], []
    for config in runs:
        paths = RunPaths(runs_root, run_key(config))
        try:
            if run_state(paths, config, measures) == "done":
                finished.append(_read(paths, config, measures, study))
        except (OSError, ValueError, KeyError) as error:
            problems.append(f"wandb: run {paths.key} not mirrored: {type(error).__name__}: {error}")
    return finished, problems


def _read(paths: RunPaths, config: RunConfig, measures: Sequence[str], study: str) -> WandbRun:
    outcome = read_json(paths.outcome)
    rows = [json.loads(line) for line in paths.epochs.read_text().splitlines()]
    stops = {}
    for stop in config.stops:
        end = outcome["reached"].get(stop, outcome["end"])
        columns = {f"train.{name}": end[name] for name in ("epoch", "step")}
        columns |= {"train.status": outcome["status"], "train.converged": stop in outcome["reached"]}
        if outcome["status"] != "diverged":
            columns |= _evaluated(read_json(paths.stop(stop).evaluation))
            for label in measures:
                columns |= _measured(label, read_json(paths.stop(stop).measure(label)))
        stops[stop] = columns
    return wandb_run(study, config, rows, stops)


def _evaluated(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    columns = {f"{part}.{q}": evaluation[part][q] for part in ("train", "test") for q in ("loss", "error")}
    gaps = {f"gap.{q}": columns[f"test.{q}"] - columns[f"train.{q}"] for q in ("loss", "error")}
    return columns | gaps | {f"n.{part}": evaluation[part]["n"] for part in ("train", "test")}


def _measured(label: str, measured: Mapping[str, Any]) -> dict[str, Any]:
    columns = {f"measure.{label}": measured["value"]}
    columns |= {f"measure.{label}.{layer}": value for layer, value in (measured.get("layers") or {}).items()}
    if measured.get("standard_error") is not None:
        columns[f"measure.{label}.se"] = measured["standard_error"]
    return columns


# --- writing and sending ---------------------------------------------------------------------------------------------


def write_offline(runs: Sequence[WandbRun], folder: Path) -> Mirrored:
    """Write the runs that `folder`/wandb does not hold yet, or holds differently, as offline wandb runs.

    Ends at wandb's first failure: the next run would meet it too, and each may take a minute to fail.
    """
    present = _offline_folders(folder)
    todo = [run for run in runs if not _is_current(run, folder, present)]
    written = 0
    if not todo:
        return Mirrored(skipped=len(runs))
    try:
        with _session(folder):
            for run in todo:
                digest = run.digest()
                sent = _curve_is_sent(run.id, digest, folder)
                for name in present.get(run.id, []):
                    shutil.rmtree(folder / "wandb" / name)
                name = _write_run(run, folder, with_rows=not sent)
                write_json(_mark_file(folder, run.id), {"id": run.id, "folder": name, "sent": sent, "digest": digest})
                written += 1
    except Exception as error:
        problem = f"wandb: {len(todo) - written} of {len(todo)} runs not mirrored: {type(error).__name__}: {error}"
        return Mirrored(written, len(runs) - len(todo), (problem,))
    return Mirrored(written, len(runs) - len(todo))


def waiting(folder: Path, ids: set[str] | None = None) -> list[Path]:
    """Offline runs (of these ids, or all) under `folder`/wandb that are complete and not on the server yet, sorted."""
    marks = [read_json(file) for file in sorted((folder / "wandb" / "mirrored").glob("*.json"))]
    unsent = [mark for mark in marks if (ids is None or mark["id"] in ids) and not is_synced(folder, mark)]
    return [path for path in (folder / "wandb" / mark["folder"] for mark in unsent) if path.is_dir()]


def sync(folders: Sequence[Path], results: Path, parallel: int = 4, seconds: float | None = None) -> list[str]:
    """Upload offline runs with wandb's own command; a line for what failed. wandb itself waits and retries on 429.

    Each run that arrived has a `.synced` marker beside its data, so calling this again uploads only the others.
    `seconds` bounds the whole call (ours: 2 minutes and 20 s a run); wandb alone would retry for hours.
    """
    if not folders:
        return []
    command = [sys.executable, "-m", "wandb", "sync", "-n", str(parallel), *map(str, folders)]
    limit = 120 + 20 * len(folders) if seconds is None else seconds
    with _environment(_places(results, config=False)):
        try:
            process = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=limit)
            reason = (process.stderr.strip().splitlines() or ["no message"])[-1]
        except subprocess.TimeoutExpired:
            reason = f"gave up after {limit:.0f} s"
    missing = [path for path in folders if not any(path.glob("*.wandb.synced"))]
    return [f"wandb: {len(missing)} of {len(folders)} runs not uploaded, kept offline: {reason}"] if missing else []


def read_mark(folder: Path, id: str) -> dict[str, Any] | None:
    """What `write_offline` noted about a run: its offline folder and what that holds; None if it never wrote it."""
    file = _mark_file(folder, id)
    return read_json(file) if file.exists() else None


def is_synced(folder: Path, mark: Mapping[str, Any]) -> bool:
    """Whether wandb noted that this offline run is on the server."""
    return (folder / "wandb" / mark["folder"] / f"run-{mark['id']}.wandb.synced").exists()


def _curve_is_sent(id: str, digest: Mapping[str, str], folder: Path) -> bool:
    """Whether the server has this very curve, which is then not sent twice: only what else is new about the run."""
    mark = read_mark(folder, id)
    return mark is not None and mark["digest"]["rows"] == digest["rows"] and (mark["sent"] or is_synced(folder, mark))


def _is_current(run: WandbRun, folder: Path, present: Mapping[str, Sequence[str]]) -> bool:
    mark = read_mark(folder, run.id)
    return mark is not None and mark["digest"] == run.digest() and mark["folder"] in present.get(run.id, [])


def _mark_file(folder: Path, id: str) -> Path:
    return folder / "wandb" / "mirrored" / f"{id}.json"


def _offline_folders(folder: Path) -> dict[str, list[str]]:
    """Run id -> names of its offline folders; more than one where a writer was killed."""
    found: dict[str, list[str]] = {}
    for path in (folder / "wandb").glob("offline-run-*"):
        if match := re.fullmatch(r"offline-run-\d+_\d+-(.+)", path.name):
            found.setdefault(match[1], []).append(path.name)
    return found


def _write_run(run: WandbRun, folder: Path, with_rows: bool) -> str:
    """One offline wandb run from first to last; the name of its folder."""
    import wandb

    config = dict(run.config)
    shown = wandb.init(
        project=PROJECT, id=run.id, name=config["key"], group=config["study"], config=config, dir=folder,
        job_type=f"{config['dataset']}-{config['model']}", mode="offline", reinit="create_new", settings=_lean(),
    )  # fmt: skip
    try:
        shown.define_metric("epoch", summary="none")
        shown.define_metric("*", step_metric="epoch", summary="none")
        for row in run.rows if with_rows else []:
            shown.log({name: math.nan if value is None else value for name, value in row.items()})
        shown.summary.update({name: math.nan if value is None else value for name, value in run.summary.items()})
    finally:
        shown.finish()
    return Path(shown.settings.sync_dir).name


def _lean() -> Any:
    """Settings that leave out what the run's own files say better; they make each run five times cheaper to open."""
    import wandb

    return wandb.Settings(
        console="off", silent=True, disable_git=True, disable_code=True, symlink=False, save_code=False,
        x_disable_stats=True, x_disable_meta=True, x_disable_machine_info=True, x_save_requirements=False,
        x_transaction_log_flush_interval=1.0,
    )  # fmt: skip


def _places(results: Path, config: bool = True) -> dict[str, str | None]:
    """Environment that keeps all of wandb's files inside the results, and no service of an earlier process.

    `config=False` leaves the user's own wandb settings in force (server, entity), which an upload needs.
    """
    here = str((results / "wandb").resolve())
    names = ["DATA_DIR", "CACHE_DIR", "ARTIFACT_DIR", *(["CONFIG_DIR"] if config else [])]
    # A WANDB_SERVICE inherited through sbatch names a process that is gone; WANDB_MODE and _RUN_ID would overrule ours.
    stale = dict.fromkeys(["WANDB_SERVICE", "WANDB_MODE", "WANDB_RUN_ID", "WANDB_RESUME", "WANDB_DISABLED"])
    return stale | {f"WANDB_{name}": here for name in names} | {"WANDB_DIR": str(results.resolve())}


@contextmanager
def _environment(changes: Mapping[str, str | None]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in changes}
    try:
        _set_environment(changes)
        yield
    finally:
        _set_environment(before)


def _set_environment(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


@contextmanager
def _session(folder: Path) -> Iterator[None]:
    """wandb with its files under `folder`, and its service ended afterwards unless somebody else has a run open."""
    (folder / "wandb").mkdir(parents=True, exist_ok=True)
    with _environment(_places(folder)):
        import wandb

        try:
            yield
        finally:
            if wandb.run is None:
                with suppress(Exception):
                    wandb.teardown()
