"""Run folders as training and measuring leave them, made from a formula: for tests of what comes after."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from study.config import RunConfig, config_to_dict, run_key
from study.records import run_rows
from study.storage.paths import RunPaths
from study.tracking.wandb_run import WandbRun, read_epochs, wandb_run
from tests.support.wandb_server import ServerRun

MEASURES = ("relative_flatness", "hessian_trace", "train_loss")
LAYERWISE = ("relative_flatness", "hessian_trace")


def make_configs(n: int, stops: tuple[str, ...] = ("loss_0.01",)) -> list[RunConfig]:
    """Three seeds a learning rate."""
    return [RunConfig(lr=0.01 * (1 + i // 3), seed=i % 3, stops=stops) for i in range(n)]


def make_runs(
    root: Path, n: int, n_epochs: int, measures: Sequence[str] = MEASURES, stops: tuple[str, ...] = ("loss_0.01",)
) -> list[RunConfig]:
    """`n` finished runs (3 seeds a learning rate); the last one has a measure that failed where there are several."""
    configs = make_configs(n, stops)
    for i, config in enumerate(configs):
        paths = RunPaths(root, run_key(config))
        _write(paths.config, config_to_dict(config))
        rows = [
            {"epoch": e, "step": 10 * e, "train_loss": (1 + i / 7) * math.exp(-e / 9), "train_error": 0.5 / e}
            for e in range(1, n_epochs + 1)
        ]
        paths.epochs.write_text("".join(json.dumps(row) + "\n" for row in rows))
        for k, stop in enumerate(stops):
            loss = {
                "train": {"loss": 0.01 / 3, "error": 0.0, "n": 300},
                "test": {"loss": 0.3 + i / 9 + k, "error": 0.1, "n": 1497},
            }
            _write(paths.stop(stop).evaluation, {**loss, "seconds": 0.1})
            add_measures(paths, stop, measures, 1.0 + i / 3 + k, failed=i == n - 1 and n > 1)
        end = {"epoch": n_epochs, "step": 10 * n_epochs, "train_loss": 0.01 / 3}
        provenance = {"commit": "123456789012", "torch": "2.13.0", "device": "cpu", "mode": "stacked"}
        _write(paths.outcome, {"status": "finished", "end": end, "reached": dict.fromkeys(stops, end), "seconds": 1.0,
                               "n_parameters": 99, "provenance": provenance})  # fmt: skip
    return configs


def add_measures(paths: RunPaths, stop: str, measures: Sequence[str], value: float, failed: bool = False) -> None:
    """Measures of one stop; the last label has no value where `failed`."""
    for label in measures:
        missing = failed and label == measures[-1]
        layers = {"fc1": value / 4, "fc2": value * 3 / 4} if label in LAYERWISE else None
        content = {
            "label": label,
            "value": None if missing else value,
            "layers": layers,
            "commit": "abc",
            "seconds": 0.1,
        }
        _write(paths.stop(stop).measure(label), content)


def _write(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def as_wandb_runs(root: Path, configs: Sequence[RunConfig], study: str) -> list[WandbRun]:
    """What `study.tracking.mirror` makes of these runs."""
    return [wandb_run(study, run_rows(c, root, MEASURES), read_epochs(RunPaths(root, run_key(c)))) for c in configs]


def assert_complete(received: ServerRun, config: RunConfig, root: Path, study: str) -> None:
    """Every row, the config and the summary of a one-stop run, against its files."""
    paths = RunPaths(root, run_key(config))
    rows = [json.loads(line) for line in paths.epochs.read_text().splitlines()]
    assert received.config["lr"] == config.lr and received.config["hidden"] == "64-64"
    assert received.config["key"] == run_key(config) and received.config["study"] == study
    assert (received.group, received.job_type) == (study, "digits-mlp")
    stop = paths.stop(config.stops[-1])
    evaluation = json.loads(stop.evaluation.read_text())
    test = {"test_loss": evaluation["test"]["loss"], "test_error": evaluation["test"]["error"]}
    rows.append({name: rows[-1][name] for name in ("epoch", "step")} | test)  # the stop is met at the last epoch's end
    assert [{name: value for name, value in row.items() if name[0] != "_"} for row in received.rows] == rows
    assert received.summary["test__loss"] == evaluation["test"]["loss"]
    assert received.summary["gap__loss"] == evaluation["test"]["loss"] - evaluation["train"]["loss"]
    for label in MEASURES:
        stored = json.loads(stop.measure(label).read_text())
        if stored["value"] is None:
            assert f"measure__{label}" not in received.summary
        else:
            assert received.summary[f"measure__{label}"] == stored["value"]
        for layer, value in (stored["layers"] or {}).items():
            assert received.summary[f"measure__{label}__{layer}"] == value
