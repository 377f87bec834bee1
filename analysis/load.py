"""Read records, timings and anybody's ledger into one shape of frame.

A *records frame* has one row a run and stop and the columns `key`, `stop`, `hp.*`, `train.*`, `test.*`, `gap.*`, `n.*`,
`measure.<label>`, `measure.<label>.<layer>`, `measure.<label>.se` and `prov.*`. Everything downstream reads only that.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.columns import AGAIN, LEDGER, SEED, measures, values
from analysis.csv_file import CsvFile, InputError, one_name, read_csv_file
from study.names import label_of
from study.storage.paths import CONFIGS, published_file, published_studies, records_file
from study.study_file import StudyFileError, read_study_file

EXTRA = ("timings", "curves", "slices", "audit")  # files that may stand beside the records
_TEXT = ("key", "stop", "train.status", "prov.commit", "prov.torch", "prov.device", "prov.mode")
_NUMBERS = ("measure.", "complexity.", "gap.", "test.", "gen.", "n.", "reparameterized.", "validation.")
_COUNTED = ("train.loss", "train.error", "train.epoch", "train.step")
_RENAMED = {"is.converged": "train.converged", "seed": SEED}
_AUDITED = ("relative_change", "tolerance", "output_difference")
_DIGITS = 12  # of a gap; ours
_DOT = re.compile(r"\.(?![^()]*\))")  # but one in an option, as in sharpness(rho=0.1)
_OPTIONAL = {  # what a file beside the records must have
    "timings": ("key", "stop", "item", "seconds"),
    "curves": ("key", "epoch", "train.loss"),
    "slices": ("key", "transform", "normalization", "alpha", "loss"),
    "repeats": ("key", "stop", "measure", "value", "again"),
    "audit": ("key", "model", "images", "measure", "transform", "factor", "before", "after", *_AUDITED),
}


@dataclass(frozen=True)
class Source:
    """One study's frames and where they came from.

    `records`: the records frame; `timings`: key, stop, item, seconds; `curves`: key, epoch, train.loss, ...;
    `slices`: key, transform, normalization, alpha, loss; `audit`: key, measure, transform, place, factor, before,
    after, relative_change, tolerance, output_difference. A frame that no file gave is empty. `plan` is the yaml that
    says what was to be run, where there is one.
    """

    name: str
    title: str
    records: pd.DataFrame
    path: Path
    committed: bool = False
    plan: Path | None = None
    timings: pd.DataFrame = field(default_factory=pd.DataFrame)
    curves: pd.DataFrame = field(default_factory=pd.DataFrame)
    slices: pd.DataFrame = field(default_factory=pd.DataFrame)
    audit: pd.DataFrame = field(default_factory=pd.DataFrame)

    def frame(self, kind: str) -> pd.DataFrame:
        """Return the frame called `kind`: records, or one of EXTRA."""
        if kind not in ("records", *EXTRA):
            raise ValueError(f"frame: {kind}: allowed are records, {', '.join(EXTRA)}")
        return getattr(self, kind)

    def frames(self) -> list[pd.DataFrame]:
        """All frames, records first."""
        return [self.records, *(self.frame(kind) for kind in EXTRA)]


def read_records(path: Path) -> pd.DataFrame:
    """Read a records file, sorted by key and stop; numbers as float64 or int64, an empty cell as NaN.

    Raises InputError, naming the file, the line and the column, when it is missing, unreadable or not of the records'
    shape.
    """
    return _records(read_csv_file(path))


def read_ledger(path: Path) -> pd.DataFrame:
    """Read a ledger (hp.*, complexity.*, gen.gap, is.converged, seed) into a records frame.

    `complexity.X` becomes `measure.X` (dots inside X become underscores, since a dot separates a layer), `seed` becomes
    `hp.seed`, `is.converged` becomes `train.converged`; the key is the row's number and the stop is `ledger`.
    """
    return _ledger(read_csv_file(path))


def _records(file: CsvFile) -> pd.DataFrame:
    missing = [column for column in ("key", "stop") if column not in file.header]
    if missing:
        raise InputError(
            f"{file.path}: columns: {', '.join(missing)} missing: records need key, stop, hp.*, gap.*, measure.*"
        )
    _need(file, "measure.", "measure.<label>", "records need")
    _need(file, "hp.", "hp.<hyperparameter>", "records need")
    _check_hyperparameters(file)
    _check_labels(file, {c: c for c in file.header})
    for column in ("key", "stop"):
        if "" in (cells := file.column(column)):
            file.refuse(cells.index(""), column, f"a {column} is needed")
    frame = file.frame(_is_number, _TEXT, ("train.converged",))
    file.once(frame, ["key", "stop"], "one row a run and stop is allowed")
    if not measures(frame):
        raise InputError(f"{file.path}: columns: no measure.<label>: records need at least one")
    return _tied(frame).sort_values(["key", "stop"], kind="stable", ignore_index=True)


def _tied(frame: pd.DataFrame) -> pd.DataFrame:
    """Errors are counts over a number: differences of the same counts are to tie, which their last digits do not.

    A gap of errors is a share, and rounded to as many decimals; a ledger's gap may have any size, and is rounded to as
    many digits of its column's largest.
    """
    errors = [c for c in frame.columns if c.startswith("gap.") and c.endswith(".error")]
    rounded = {c: frame[c].round(_DIGITS) for c in errors}
    if "gen.gap" in frame.columns:
        gap = values(frame, "gen.gap")
        largest = np.abs(gap[np.isfinite(gap)]).max(initial=0.0)
        if largest > 0:
            decimals = _DIGITS - 1 - math.floor(math.log10(largest))
            rounded["gen.gap"] = pd.Series([round(x, decimals) for x in gap.tolist()], index=frame.index)
    return frame.assign(**rounded)


def _ledger(file: CsvFile) -> pd.DataFrame:
    shape = "a ledger has hp.*, complexity.*, gen.gap, is.converged, seed"
    if "gen.gap" not in file.header:
        raise InputError(f"{file.path}: columns: gen.gap missing: {shape}")
    _need(file, "complexity.", "complexity.<measure>", "a ledger needs")
    _need(file, "hp.", "hp.<hyperparameter>", "a ledger needs")
    _check_hyperparameters(file)
    if taken := [c for c in file.header if c in ("key", "stop")]:
        raise InputError(f"{file.path}: columns: {', '.join(taken)}: records have it; {shape}")
    names = {c: "measure." + _DOT.sub("_", c.removeprefix("complexity.")) if _is_measure(c) else c
             for c in file.header}  # fmt: skip
    names |= {c: name for c, name in _RENAMED.items() if c in names and not (c == "seed" and SEED in names)}
    one_name(file.path, names)
    _check_labels(file, names)
    seed = next((c for c in (SEED, "seed") if c in file.header), None)
    given = [c for c in file.header if c.startswith("hp.") and c != SEED]
    frame = file.frame(_is_number, _TEXT, ("is.converged", "train.converged"))
    if seed:
        file.once(frame, [*given, seed], "one row a setting and seed is allowed")
    else:
        file.once(frame, file.header, "without a column seed, a row that differs in something is allowed")
    frame = frame.rename(columns=names)
    frame.insert(0, "key", _row_names(frame))
    frame.insert(1, "stop", LEDGER)
    return _tied(frame)


def _row_names(frame: pd.DataFrame) -> list[str]:
    """The checkpoint of each row, where it says which and no two have the same; else its number."""
    if "prov.checkpoint" in frame.columns:
        found = [str(name) for name in frame["prov.checkpoint"]]
        if frame["prov.checkpoint"].notna().all() and all(found) and len(set(found)) == len(found):
            return found
    return [f"row{i:06d}" for i in range(len(frame))]


def load_study(study: str, results: Path | None = None, committed: bool = False) -> Source:
    """Load a study by name or by its yaml file: fresh results first, the committed records when there are none.

    `results` is the folder of all studies' results (default: $STUDY_RESULTS or "results"); `committed=True` reads only
    analysis/records/. Raises InputError when neither exists.
    """
    name, title, plan = _named(study)
    fresh, kept = records_file(name, results), published_file(name)
    use_committed = committed or not fresh.exists()
    path = kept if use_committed else fresh
    if not path.exists():
        places = str(kept) if committed else f"{fresh} or {kept}"
        known = ", ".join(published_studies())
        raise InputError(f"{name}: records: none found: allowed is a study with {places}, run it first; or {known}")
    records = _with_repeats(read_records(path), path, use_committed)
    extra = {kind: _optional(path, kind, use_committed) for kind in EXTRA}
    return Source(name, title, records, path, use_committed, plan, **extra)


def load_ledger(path: Path) -> Source:
    """Read a ledger, or a records file, as a study named after it (`ledger_name`).

    Raises InputError where it is neither.
    """
    name = ledger_name(path)
    file = read_csv_file(path)
    is_ledger = any(map(_is_measure, file.header)) or "gen.gap" in file.header
    is_records = {"key", "stop"} <= set(file.header) and not any(map(_is_measure, file.header))
    is_records = is_records or (not is_ledger and any(c.startswith("measure.") for c in file.header))
    return Source(name, name.replace("_", " "), _records(file) if is_records else _ledger(file), path)


def ledger_name(path: Path) -> str:
    """What a ledger is called: as its file, or as the folder of one that is called ledger.csv."""
    return path.stem if path.stem != LEDGER else path.resolve().parent.name


def _is_number(column: str) -> bool:
    return column.startswith(_NUMBERS) or column in _COUNTED


def _is_measure(column: str) -> bool:
    return column.startswith("complexity.")


def _need(file: CsvFile, prefix: str, column: str, who: str) -> None:
    if not any(c.startswith(prefix) for c in file.header):
        raise InputError(f"{file.path}: columns: no {column}: {who} at least one")


def _check_hyperparameters(file: CsvFile) -> None:
    """Refuse a plus in a name: it joins hyperparameters that were changed together, as in hp.batch_size+hp.lr."""
    for column in file.header:
        if column.startswith("hp.") and "+" in column:
            raise InputError(f"{file.path}: columns: {column}: allowed is a hyperparameter's name without a +")


def _check_labels(file: CsvFile, names: Mapping[str, str]) -> None:
    """Refuse a measure that the grammar of labels has no place for; columns of the file and what they become."""
    for column, name in names.items():
        try:
            label_of(name)
        except ValueError as error:
            raise InputError(f"{file.path}: {column}: {error}") from None


def _with_repeats(records: pd.DataFrame, path: Path, committed: bool) -> pd.DataFrame:
    """The records with a column `again.<label>` for each measure that was taken twice, by the repeats beside them.

    Raises InputError where these are of other networks: a first value is not the records'.
    """
    found = _optional(path, "repeats", committed)
    if found.empty:
        return records
    if twice := found[found.duplicated(["key", "stop", "measure"])].to_dict("records"):
        said = " ".join(str(twice[0][name]) for name in ("key", "stop", "measure"))
        raise InputError(f"{path}: repeats: {said}: is there twice, allowed: once")
    place = pd.MultiIndex.from_frame(records[["key", "stop"]])
    columns = {}
    for label, rows in found.groupby("measure", sort=False):
        if f"measure.{label}" not in records.columns:  # measured then, and not now
            continue
        both = rows.set_index(["key", "stop"])[["value", "again"]].reindex(place)
        there = both["value"].notna().to_numpy()
        if not np.array_equal(both["value"][there], records[f"measure.{label}"][there]):
            said = f"repeats of {label} are not of these records, allowed: those of the same values (study repeats)"
            raise InputError(f"{path}: {said}")
        columns[f"{AGAIN}{label}"] = both["again"].to_numpy()
    return pd.concat([records, pd.DataFrame(columns, index=records.index)], axis=1)


def _optional(records: Path, kind: str, committed: bool) -> pd.DataFrame:
    path = records.with_name(f"{records.stem}.{kind}.csv" if committed else f"{kind}.csv")
    if not path.is_file() or not path.read_bytes().strip():
        return pd.DataFrame()
    file, needed = read_csv_file(path), _OPTIONAL[kind]
    if missing := [c for c in needed if c not in file.header]:
        raise InputError(f"{path}: columns: {', '.join(missing)} missing: {kind} have {', '.join(needed)}")
    numbers = ("value", "again", "seconds", "epoch", "alpha", "loss", "before", "after", *_AUDITED, *_COUNTED)
    texts = ("key", "stop", "item", "transform", "normalization", "measure", "place", "factor", "model", "prov.commit")
    return file.frame(lambda c: c in numbers, texts)


def _named(study: str) -> tuple[str, str, Path | None]:
    """Name, title and yaml of a study given by its name or its yaml."""
    path = Path(study)
    if path.suffix not in (".yaml", ".yml"):
        path = CONFIGS / f"{study}.yaml"
        if not path.is_file():
            return study, study.replace("_", " "), None
    try:
        content = read_study_file(path)
    except StudyFileError as error:
        raise InputError(str(error)) from None
    return content["name"], content["title"], path
