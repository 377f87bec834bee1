"""What wandb shall show of a run, from its records and its epochs; and its names, to a record's columns and back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from study.config import RunConfig, run_key
from study.hyperparameter import is_text
from study.names import Stop, wandb_name
from study.storage.atomic import read_json
from study.storage.paths import RunPaths

Row = Mapping[str, str]  # of the records: one run and stop, cells as text


class TrackingError(ValueError):
    """wandb cannot be used in the way that was asked for."""


@dataclass(frozen=True)
class WandbRun:
    """One run as wandb shall show it; all values are numbers, text or None.

    `rows`, None where they are not known here, are one an epoch, then those that are known when training has ended:
    wandb only appends, so what it was sent of a run that trains must be how the finished run begins.

    `name` is for people: what varies in the study, as this run has it. `origin` is where it was computed and how long
    it took, in wandb's config too. Neither makes it another run.
    """

    id: str
    name: str
    config: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]] | None
    summary: Mapping[str, Any]
    origin: Mapping[str, Any]

    def digest(self) -> dict[str, str]:
        """Hashes of the curve and of the rest: whether what was written is still what the files say."""
        parts: dict[str, Any] = {"rest": [self.config, self.summary]}
        if self.rows is not None:
            parts["rows"] = self.rows
        return {k: hashlib.sha256(json.dumps(v, sort_keys=True).encode()).hexdigest()[:16] for k, v in parts.items()}


def wandb_run(
    study: str,
    stops: Sequence[Row],
    epochs: Sequence[Mapping[str, Any]] | None,
    varies: Collection[str] = (),
    origin: Mapping[str, Any] = MappingProxyType({}),
) -> WandbRun:
    """A run from its records, one row a stop, and its epochs; `varies` are the hyperparameters that its name shows.

    Hyperparameters and provenance become the config, all else that has a value the summary: the last stop's columns
    under their own names, an earlier stop's prefixed, e.g. `at__loss_0__1__gap__loss`; `column_name` leads back.
    """
    stops = sorted(stops, key=lambda row: (Stop.read(row["stop"]).kind, Stop.read(row["stop"]).rank))
    last = stops[-1]
    fields = {name.removeprefix("hp."): value for name, value in last.items() if name.startswith(("hp.", "prov."))}
    # All seeds of one configuration share `configuration`: group by it in the web app to average over seeds.
    shared = sorted((name, value) for name, value in last.items() if name.startswith("hp.") and name != "hp.seed")
    identity = {
        "study": study, "key": last["key"], "stop": last["stop"], "stops": " ".join(row["stop"] for row in stops),
        "configuration": hashlib.sha256(json.dumps(shared).encode()).hexdigest()[:12],
    }  # fmt: skip
    results = {
        name if row is last else f"at.{row['stop']}.{name}": text
        for row in stops
        for name, text in row.items()
        if text != "" and name not in ("key", "stop") and not name.startswith(("hp.", "prov."))
    }
    return WandbRun(
        id=f"{study}-{last['key']}",
        name=" ".join(f"{n}={last[f'hp.{n}']}" for n in varies if last.get(f"hp.{n}")) or last["key"],
        config=identity | {wandb_name(n): text if _is_text(n) else _value(text) for n, text in fields.items()},
        rows=None if epochs is None else _curve(epochs, stops),
        summary={wandb_name(name): _value(text) for name, text in results.items()},
        origin=origin,
    )


def _curve(epochs: Sequence[Mapping[str, Any]], stops: Sequence[Row]) -> list[dict[str, Any]]:
    """The epochs, then the test loss and error of each stop, in the order of training.

    A stop has the `epoch` and `step` of the first epoch end not before it, and no row where that one has a test loss.
    """
    rows: list[dict[str, Any]] = [{wandb_name(name): value for name, value in row.items()} for row in epochs]
    points: dict[int, dict[str, Any]] = {}  # by place in `rows`
    for stop in stops:
        if stop.get("train.step") and stop.get("test.loss"):
            at = next((place for place, row in enumerate(rows) if row["step"] >= int(stop["train.step"])), None)
            if at is not None and "test_loss" not in rows[at]:
                test = {"test_loss": float(stop["test.loss"]), "test_error": float(stop["test.error"])}
                points.setdefault(at, {"epoch": rows[at]["epoch"], "step": rows[at]["step"], **test})
    return rows + [points[at] for at in sorted(points)]


def varying(rows: Iterable[Row]) -> list[str]:
    """The hyperparameters in which runs differ, by their records; the seed last. `differing` says it of configs."""
    columns: dict[str, set[str]] = {}
    for row in rows:
        for name, text in row.items():
            if name.startswith("hp."):
                columns.setdefault(name.removeprefix("hp."), set()).add(text)
    return sorted((name for name, texts in columns.items() if len(texts) > 1), key=lambda name: name == "seed")


def read_epochs(paths: RunPaths) -> list[dict[str, Any]] | None:
    """The run's curve, one dict an epoch; None where its file is not here. Raises ValueError where it is broken."""
    if not paths.epochs.exists():
        return None
    return [json.loads(line) for line in paths.epochs.read_text().splitlines()]


def read_origin(paths: RunPaths) -> dict[str, Any]:
    """How long a run trained; nothing where its files are not here."""
    return {"training_seconds": read_json(paths.outcome)["seconds"]} if paths.outcome.exists() else {}


def finished_runs(
    runs: Sequence[RunConfig], measures: Sequence[str], runs_root: str | Path, study: str,
    seams: Collection[str] = (), varies: Collection[str] = (), origin: Mapping[str, Any] = MappingProxyType({}),
) -> tuple[list[WandbRun], list[str]]:  # fmt: skip
    """The runs that are done, and a line for each whose files cannot be read; `seams` as for `run_rows`."""
    from study.records import run_rows

    finished, problems = [], []
    for config in runs:
        try:
            if rows := run_rows(config, runs_root, measures, seams):
                paths = RunPaths(Path(runs_root), run_key(config))
                finished.append(wandb_run(study, rows, read_epochs(paths), varies, {**origin, **read_origin(paths)}))
        except (OSError, ValueError, KeyError) as error:
            problems.append(f"wandb: run {run_key(config)} not mirrored: {type(error).__name__}: {error}")
    return finished, problems


def _is_text(name: str) -> bool:
    """Provenance is: a hash of code may be 12345678e901."""
    return is_text(name) or name.startswith("prov.")


def _value(text: str) -> float | bool | str:
    """A cell of the records as a value: wandb can plot a number, not its text."""
    if text in ("True", "False"):
        return text == "True"
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    return text
