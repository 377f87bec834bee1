"""Which checkpoints a ledger is of, and the hyperparameters of each: from the yaml, a CSV, or the files' names."""

from __future__ import annotations

import contextlib
import csv
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study.choice import ConfigError

Value = str | int | float
ENDS = (".pt", ".pth")
_OWN = ("checkpoint", "initial")  # of an entry of the list, or a row of the CSV, beside hyperparameters


@dataclass(frozen=True)
class Network:
    """A checkpoint, `name` as a person wrote it, its weights before training where there are any, and `values`:
    hyperparameters by name, the seed among them."""

    name: str
    checkpoint: Path
    initial: Path | None
    values: Mapping[str, Value]


def read_networks(listed: str | list[Any], by: str, initial: str, folder: Path) -> tuple[Network, ...]:
    """The networks of a yaml's sections `networks`, `hyperparameters` and `initial`; paths start at `folder`.

    Raises ConfigError, one line: a file that is not there, a hyperparameter that one network lacks, two networks of
    the same hyperparameters and seed.
    """
    entries = _entries(listed, folder)
    if by and any(set(entry) - set(_OWN) for entry in entries):
        raise ConfigError("hyperparameters", by, "are given in the list of networks too, allowed: once")
    if by.endswith(".csv"):
        entries = _of_table(entries, folder / by, by)
    elif by:
        entries = [{**entry, **_of_name(entry["checkpoint"], by)} for entry in entries]
    networks = tuple(_network(entry, initial, folder) for entry in entries)
    _check_values(networks)
    return networks


def _entries(listed: str | list[Any], folder: Path) -> list[dict[str, Any]]:
    if isinstance(listed, list):
        entries = [entry if isinstance(entry, dict) else {"checkpoint": entry} for entry in listed]
        for entry in entries:
            if not isinstance(entry.get("checkpoint"), str):
                raise ConfigError("networks", entry, "allowed: a file, or {checkpoint: file, <hyperparameter>: value}")
    else:
        root = folder / listed
        if not root.is_dir():
            raise ConfigError("networks", listed, f"{root} is not a folder, allowed: a folder, or a list of files")
        found = sorted(path for path in root.iterdir() if path.suffix in ENDS)
        entries = [{"checkpoint": str(Path(listed) / path.name)} for path in found]
    if not entries:
        raise ConfigError("networks", listed, f"holds no network, allowed: files that end in {' or '.join(ENDS)}")
    return entries


def _of_table(entries: Iterable[dict[str, Any]], path: Path, by: str) -> list[dict[str, Any]]:
    """The entries with the cells of the row whose `checkpoint` is theirs."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or "is no CSV"
        raise ConfigError("hyperparameters", by, f"{path} cannot be read ({reason}), allowed: a CSV") from None
    if not rows or "checkpoint" not in rows[0]:
        raise ConfigError("hyperparameters", by, "has no column checkpoint, allowed: checkpoint, <hyperparameter>, ...")
    if any(None in row or None in row.values() for row in rows):
        raise ConfigError("hyperparameters", by, "has a row of another length, allowed: a cell a column")
    cells: dict[str, dict[str, Any]] = {}
    for row in rows:
        if cells.setdefault(row["checkpoint"], row) is not row:
            raise ConfigError("hyperparameters", row["checkpoint"], f"has two rows in {by}, allowed: one")
    found = []
    for entry in entries:
        name = entry["checkpoint"]
        row = cells.get(name) or cells.get(Path(name).name) or {}
        if not row:
            raise ConfigError("hyperparameters", name, f"has no row in {by}, allowed: a row a checkpoint")
        found.append({k: v for k, v in row.items() if v.strip()} | entry)
    return found


def _of_name(name: str, by: str) -> dict[str, str]:
    """The named groups of a regular expression that is found in a file's name, at best without its ending."""
    try:
        pattern = re.compile(by)
    except re.error as error:
        raise ConfigError("hyperparameters", by, f"{error}, allowed: a CSV or a regular expression") from None
    if not pattern.groupindex:
        raise ConfigError("hyperparameters", by, r"names no group, allowed: e.g. width(?P<width>\d+)")
    match = pattern.search(Path(name).stem) or pattern.search(Path(name).name)
    if not match:
        raise ConfigError("hyperparameters", by, f"is not in the name {Path(name).name}, allowed: one in every name")
    return {group: text for group, text in match.groupdict().items() if text is not None}


def _number(text: str) -> Value:
    """Text as the number that it is, if it is one; PyYAML reads 1e-3 as text, too."""
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            number = kind(text)
            return number if math.isfinite(number) else text
    return text


def _network(entry: Mapping[str, Any], initial: str, folder: Path) -> Network:
    name = entry["checkpoint"]
    checkpoint = folder / name
    if not checkpoint.is_file():
        raise ConfigError("networks", name, f"{checkpoint} is not there, allowed: a file")
    if not isinstance(entry.get("initial", ""), str):
        raise ConfigError("initial", entry["initial"], f"of {name}, allowed: a file")
    before = entry.get("initial") or (initial and initial.replace("{name}", checkpoint.stem))
    if before and not (folder / before).is_file():
        raise ConfigError("initial", before, f"{folder / before} is not there, allowed: a file for {name}")
    values = {k: _number(v) if isinstance(v, str) else v for k, v in entry.items() if k not in _OWN}
    for key, value in values.items():
        if not isinstance(key, str) or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", key):
            raise ConfigError("networks", key, "allowed in a hyperparameter's name: letters, digits, _")
        if not isinstance(value, Value):
            raise ConfigError(key, value, f"of {name}, allowed: text or a number")
    return Network(name, checkpoint, folder / before if before else None, values)


def _check_values(networks: tuple[Network, ...]) -> None:
    names = list(dict.fromkeys(name for network in networks for name in network.values))
    if not set(names) - {"seed"}:
        raise ConfigError("hyperparameters", None, "allowed: at least one beside the seed, for every network")
    seen: dict[tuple[Value, ...], str] = {}
    files: dict[Path, str] = {}
    for network in networks:
        if (path := network.checkpoint.resolve()) in files:
            raise ConfigError("networks", network.name, f"is listed twice, as {files[path]} too, allowed: once")
        files[path] = network.name
        for name in names:
            if name not in network.values:
                allowed = f"has no {name}, allowed: {', '.join(names)}, for every network"
                raise ConfigError("hyperparameters", network.name, allowed)
        setting = tuple(network.values[name] for name in names)
        if other := seen.get(setting):
            said = ", ".join(f"{name} {network.values[name]}" for name in names)
            raise ConfigError("networks", network.name, f"has the {said} of {other}, allowed: a seed apart at least")
        seen[setting] = network.name
