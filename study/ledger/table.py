"""A ledger's rows in the field's schema: hp.*, seed, complexity.*, gen.gap, is.converged; one row a network."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from study.ledger.networks import Network
from study.ledger.taking import LedgerPlan
from study.loss import gap
from study.names import Label
from study.storage.atomic import read_json
from study.storage.paths import StopPaths, ledger_file
from study.storage.rows import Row, write_rows


def write_ledger(plan: LedgerPlan, results: Path | None) -> tuple[Path, int]:
    """Write ledger.csv from the networks that have all their values: the path, and how many have.

    The same files give the same bytes. A layerwise measure is its sum over layers, and `<measure>_last_layer`; what is
    missing is an empty cell. Each layer's value, standard errors and reasons are in the files of each network.
    """
    rows = [_row(plan, network) for network in plan.file.networks if plan.is_done(network)]
    path = ledger_file(plan.file.name, results)
    if rows:
        write_rows(path, rows)
    return path, len(rows)


def _row(plan: LedgerPlan, network: Network) -> Row:
    file, files = plan.file, plan.files[network.name]
    found = read_json(files.evaluation)
    train, test = found["train"], found["test"]
    cells: dict[str, Any] = {f"hp.{name}": network.values[name] for name in file.names}
    if "seed" in network.values:
        cells["seed"] = network.values["seed"]
    other = "loss" if file.gap == "error" else "error"
    cells |= {"gen.gap": gap(train, test, file.gap), f"gap.{other}": gap(train, test, other)}
    trained = train["loss"] is not None and train["loss"] <= (file.converged or math.inf)
    cells["is.converged"] = trained
    for part, values in (("train", train), ("test", test)):
        cells |= {f"{part}.loss": values["loss"], f"{part}.error": values["error"]}
    cells |= {"n.train": train["n"], "n.test": test["n"], "n.parameters": found["n_parameters"]}
    for label in file.measures:
        cells |= _measure(files, label)
    cells |= {"prov.checkpoint": network.name, "prov.key": files.folder.name}
    return {name: _text(value) for name, value in cells.items()}


def _measure(files: StopPaths, label: str) -> dict[str, Any]:
    stored = read_json(files.measure(label))
    layers = list((stored.get("layers") or {}).values())
    total = {f"complexity.{label}": stored["value"]}
    known = Label.parse(label)
    last = replace(known, measure=f"{known.measure}_last_layer")
    return total | ({f"complexity.{last}": layers[-1]} if layers else {})


def _text(value: Any) -> str:
    """A cell that reads back to the same bits; what is missing is empty."""
    if value is None:
        return ""
    return repr(value) if isinstance(value, float) else str(value)
