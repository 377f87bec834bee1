"""Runs -> one tidy row a run and stop: records.csv, and timings.csv and curves.csv beside it."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from study.config import RunConfig, run_key
from study.data.shift import SEVERITIES, SHIFTS
from study.grid import Study
from study.hyperparameter import changed_seams, hyperparameters, shape_of
from study.loss import gap
from study.measures import Own
from study.names import MEAN_SHIFT, Label, Stop, images_of, pass_label, shift_column, shift_of
from study.state import run_state
from study.storage.atomic import read_json
from study.storage.paths import RunPaths, StopPaths, curves_file, records_file, timings_file
from study.storage.rows import Row, write_rows

TRAINING = "training"  # in place of a status, of a run that has none yet


def collect(study: Study, runs_root: str | Path, results_root: str | Path | None = None) -> tuple[Path, int]:
    """Write results/<study>/{records,timings,curves}.csv from the runs that are done; the path and how many are not.

    The same runs give the same bytes: rows are sorted by key and stop, numbers are written with `repr`, and seconds
    stand in timings.csv alone.
    """
    rows: list[Row] = []
    timings: list[Row] = []
    curves: list[Row] = []
    missing = 0
    seams = changed_seams(study.runs)
    for config in study.runs:
        paths = RunPaths(Path(runs_root), run_key(config))
        if run_state(paths, config, study.measures) != "done":
            missing += 1
            continue
        outcome = read_json(paths.outcome)
        timings.append(_timing(paths.key, "", "train", outcome["seconds"]))
        curves += _curve(paths)
        for stop in config.stops:
            rows.append(_row(config, paths, stop, outcome, study.measures, seams))
            timings += _stop_timings(paths.key, stop, paths.stop(stop), study.measures)
    path = records_file(study.name, results_root)
    if rows:
        write_table(path, rows)
        write_table(timings_file(study.name, results_root), timings)
        write_table(curves_file(study.name, results_root), curves)
    return path, missing


def run_rows(
    config: RunConfig, runs_root: str | Path, measures: Iterable[str], seams: Collection[str] = ()
) -> list[Row]:
    """The rows of one run, one a stop in the order of its config; none while it is not done.

    `seams` are those that its study changes, and so are columns of the plain runs too.
    """
    paths = RunPaths(Path(runs_root), run_key(config))
    labels = list(measures)
    if run_state(paths, config, labels) != "done":
        return []
    outcome = read_json(paths.outcome)
    return [_row(config, paths, stop, outcome, labels, seams) for stop in config.stops]


def started_rows(config: RunConfig, seams: Collection[str] = ()) -> list[Row]:
    """The rows of a run that still trains, one a stop: its hyperparameters, and that it does."""
    cells = {f"hp.{name}": _text(value) for name, value in _shown(config, seams).items()}
    return [{"key": run_key(config), "stop": stop, **cells, "train.status": TRAINING} for stop in config.stops]


def _shown(config: RunConfig, seams: Collection[str]) -> dict[str, Any]:
    return {name: value for name, value in hyperparameters(config, seams).items() if name != "stops"}


def _text(value: Any) -> str:
    """A cell: floats with repr, so that they read back to the same bits; None (not finite, missing) as empty."""
    if value is None:
        return ""
    if isinstance(value, list | tuple):
        return "-".join(str(v) for v in value)
    return repr(value) if isinstance(value, float) else str(value)


def _row(
    config: RunConfig,
    paths: RunPaths,
    stop: str,
    outcome: Mapping[str, Any],
    measures: Collection[str],
    seams: Collection[str] = (),
) -> Row:
    files = paths.stop(stop)
    diverged = outcome["status"] == "diverged"
    reached = outcome["reached"].get(stop)
    at = reached or outcome["end"]
    evaluation = {} if diverged else read_json(files.evaluation)
    train, test = evaluation.get("train", {}), evaluation.get("test", {})
    parts = {"train": train, "test": test}
    if config.n_validation:
        parts["validation"] = evaluation.get("validation", {})
    cells: dict[str, Any] = {"key": paths.key, "stop": stop}
    cells |= {f"hp.{name}": value for name, value in _shown(config, seams).items()}
    cells |= {"train.status": outcome["status"], "train.converged": reached is not None and not diverged}
    cells |= {"train.epoch": at["epoch"], "train.step": at["step"]}
    for part, values in parts.items():
        cells |= {f"{part}.loss": values.get("loss"), f"{part}.error": values.get("error")}
    for name in ("loss", "error"):
        cells[f"gap.{name}"] = gap(train, test, name)
    cells |= {f"n.{part}": values.get("n") for part, values in parts.items()}
    if images := max(map(images_of, measures), default=0):
        cells["n.measured"] = images
    cells |= {"n.parameters": outcome["n_parameters"]}
    commits, differences = {evaluation.get("commit")}, {}
    gaps: dict[str, Any] = {}
    for label in measures:
        stored = {"value": None} if diverged else read_json(files.measure(label))
        commits.add(stored.get("commit"))
        if shift := shift_of(label):
            gaps[shift] = stored.get("gaps", {str(severity): {} for severity in SEVERITIES})
            continue
        cells[f"measure.{label}"] = stored["value"]
        layers = _in_order(config, stored.get("layers") or {})
        cells |= {f"measure.{label}.{layer}": v for layer, v in layers.items()}
        if stored.get("standard_error") is not None:
            cells[f"measure.{label}.se"] = stored["standard_error"]
        if stored.get("difference") is not None:
            differences[Label.parse(label).transform] = stored["difference"]
    cells |= _shifted(gaps)
    cells |= {f"reparameterized.{transform}.difference": v for transform, v in differences.items()}
    cells |= {f"prov.{name}": value for name, value in outcome["provenance"].items()}
    cells |= {label.provenance: label.code for label in measures if isinstance(label, Own)}
    cells["prov.measured"] = "+".join(sorted(c for c in commits if c))
    return {name: _text(value) for name, value in cells.items()}


def _in_order(config: RunConfig, layers: dict[str, Any]) -> dict[str, Any]:
    """Layers in the order of the network; files of older code have that of the alphabet."""
    if list(layers) != sorted(layers) or len(layers) < 2 or importlib.util.find_spec("torch") is None:
        return layers
    place = {name: at for at, name in enumerate(_weights_of(shape_of(config, "model"), config))}
    return dict(sorted(layers.items(), key=lambda item: place.get(item[0], len(place))))


def _weights_of(shape: tuple[Any, ...], config: RunConfig) -> list[str]:
    """Paths of a network's layers, found once for each shape."""
    key = (shape, config.dataset, config.target, config.hidden)
    if key not in _WEIGHTS:
        from study.training.start import build_model

        _WEIGHTS[key] = [name.removesuffix(".weight") for name, _ in build_model(config).named_parameters()]
    return _WEIGHTS[key]


_WEIGHTS: dict[tuple[Any, ...], list[str]] = {}


def _shifted(gaps: Mapping[str, Mapping[str, Mapping[str, float | None]]]) -> dict[str, float | None]:
    """gap.shift.<shift>_<severity>.<loss|error>, and their means over all; no cell where nothing is shifted."""
    cells = {
        shift_column(shift, severity, what): gap.get(what)
        for shift, severities in gaps.items()
        for severity, gap in severities.items()
        for what in ("loss", "error")
    }
    return _means(cells) | cells


def _means(cells: Mapping[str, float | None]) -> dict[str, float | None]:
    """Over all shifts and severities in the order of SHIFTS, so that no digit depends on that of the yaml."""
    means: dict[str, float | None] = {}
    for what in ("loss", "error") if cells else ():
        names = [shift_column(shift, severity, what) for shift in SHIFTS for severity in SEVERITIES]
        found = [cells[name] for name in names if name in cells]
        known = [value for value in found if value is not None]
        means[f"{MEAN_SHIFT}{what}"] = sum(known) / len(known) if len(known) == len(found) else None
    return means


def shift_means(row: Row, shifts: Collection[str]) -> Row:
    """The cells of the means over the gaps that a row has of these shifts; `gap.shift.<shift>_<severity>` names one."""
    cells = {name: float(value) if value else None for name, value in row.items() if name.rpartition(".")[0] in shifts}
    return {name: _text(value) for name, value in _means(cells).items()}


def _curve(paths: RunPaths) -> list[Row]:
    rows = [json.loads(line) for line in paths.epochs.read_text().splitlines()]
    names = {"epoch": "epoch", "step": "step", "train.loss": "train_loss", "train.error": "train_error"}
    return [{"key": paths.key, "stop": "", **{to: _text(row[name]) for to, name in names.items()}} for row in rows]


def _timing(key: str, stop: str, item: str, seconds: float) -> Row:
    return {"key": key, "stop": stop, "item": item, "seconds": repr(float(seconds))}


def _stop_timings(key: str, stop: str, files: StopPaths, measures: Collection[str]) -> list[Row]:
    """Seconds of evaluation, of one pass, of each measure, and of all of a reparameterized network together."""
    labels = [pass_label(max(map(images_of, measures), default=0)), *measures]
    found = [("evaluate", files.evaluation), *((label, files.measure(label)) for label in labels)]
    seconds: dict[str, float] = {}
    for item, path in found:
        if path.exists():
            name = timed_as(item)
            seconds[name] = seconds.get(name, 0.0) + float(read_json(path)["seconds"])
    return [_timing(key, stop, item, value) for item, value in seconds.items()]


def column_of(label: str) -> str:
    """A column that the records of a study with this measure, or shifted test set, have."""
    shift = shift_of(label)
    return shift_column(shift, SEVERITIES[0], "loss") if shift else f"measure.{label}"


def timed_as(label: str) -> str:
    """The item under which timings.csv has what was taken, whether or not it came to a value."""
    parsed = Label.parse(label)
    return f"reparameterized: {parsed.transform}" if parsed.transform else parsed.name


def write_table(path: Path, rows: list[Row]) -> None:
    """A CSV of rows in their order (see `in_order`, `write_rows`)."""
    write_rows(path, in_order(rows))


def in_order(rows: list[Row]) -> list[Row]:
    """Rows by key, stop and item."""
    return sorted(rows, key=lambda row: (row["key"], _stop_order(row["stop"]), row.get("item", "")))


def _stop_order(text: str) -> tuple[str, float]:
    stop = Stop.read(text)  # "" stands for the whole run, in the timings
    return stop.kind, stop.rank
