"""The runs that W&B has of a study, as rows of records again. Nothing of the study reads them: they are for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from study.config import FIELDS
from study.hyperparameter import SIZES, is_whole
from study.names import column_name
from study.records import TRAINING
from study.storage.rows import Row
from study.tracking.wandb_run import TrackingError


def rows_on_server(study: str, entity: str | None, project: str) -> list[Row]:
    """A row a run and stop of the study's ended runs that the project holds. Cost: one request for 200 runs.

    Raises TrackingError where the server refuses, or holds no run of the study.
    """
    import wandb

    api = wandb.Api()
    path = f"{entity}/{project}" if entity else project
    found = api.runs(path, filters={"group": {"$in": [study]}}, per_page=200, lazy=False)
    try:
        ended = [run for run in found if run.summary_metrics.get("train__status") != TRAINING]
        rows = [row for run in ended for row in _rows(run.config, run.summary_metrics)]
    except (wandb.Error, ValueError) as error:
        raise TrackingError(f"wandb: {entity or 'your account'}/{project}: {error}") from error
    if not rows:
        raise TrackingError(
            f"wandb: {project}: holds no runs of {study}: upload them with python -m analysis.wandb_upload"
        )
    return rows


def _rows(config: Mapping[str, Any], summary: Mapping[str, Any]) -> list[Row]:
    """The records of one wandb run, one row a stop: what `study.tracking.wandb_run` made of them, undone."""
    columns = {column_name(name): value for name, value in config.items()}
    fields = [field for field in (*FIELDS, *SIZES) if field != "stops"]
    shared = {f"hp.{n}": columns[n] for field in fields for n in columns if n.partition(".")[0] == field}
    shared |= {column_name(name): value for name, value in config.items() if name.startswith("prov__")}
    results = {column_name(name): value for name, value in summary.items() if not name.startswith("_")}
    rows = []
    for stop in str(config["stops"]).split():
        prefix = "" if stop == config["stop"] else f"at.{stop}."
        own = {name.removeprefix(prefix): value for name, value in results.items() if name.startswith(prefix)}
        cells = shared | {name: value for name, value in own.items() if not name.startswith("at.")}
        row = {name: _text(name, value) for name, value in cells.items()}
        rows.append({"key": str(config["key"]), "stop": stop} | row)
    return rows


def _text(column: str, value: Any) -> str:
    """A cell as the records write it; JSON has one kind of number, and 1.0 comes back as 1."""
    if isinstance(value, str | bool):
        return str(value)
    whole = column in ("train.epoch", "train.step") or column.startswith("n.") or is_whole(column.removeprefix("hp."))
    return str(int(value)) if whole else repr(float(value))
