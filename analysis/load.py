"""Read records, timings and anybody's ledger into one shape of frame.

A *records frame* has one row a run and stop and the columns `key`, `stop`, `hp.*`, `train.*`, `test.*`, `gap.*`, `n.*`,
`measure.<label>`, `measure.<label>.<layer>`, `measure.<label>.se` and `prov.*`. Everything downstream reads only that.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from analysis.columns import LEDGER, SEED, measures
from study.names import label_of
from study.storage.paths import CONFIGS, published_file, records_file
from study.study_file import StudyFileError, read_study_file

EXTRA = ("timings", "curves", "slices")  # files that may stand beside the records
_TEXT = ("key", "stop", "train.status", "prov.commit", "prov.torch", "prov.device", "prov.mode")


class InputError(ValueError):
    """What a user gave cannot be read; the message is one line: place: field: value: what is allowed."""


@dataclass(frozen=True)
class Source:
    """One study's frames and where they came from.

    `records`: the records frame; `timings`: key, stop, item, seconds; `curves`: key, epoch, train.loss, ...;
    `slices`: key, transform, normalization, alpha, loss. A frame that no file gave is empty. `plan` is the yaml that
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

    Raises InputError, naming the file and the column, when it is missing, unreadable or not of the records' shape.
    """
    frame = _read_csv(path)
    missing = [column for column in ("key", "stop") if column not in frame.columns]
    if missing:
        raise InputError(
            f"{path}: columns: {', '.join(missing)} missing: records need key, stop, hp.*, gap.*, measure.*"
        )
    if not measures(frame):
        raise InputError(f"{path}: columns: no measure.<label>: records need at least one")
    twice = frame.duplicated(["key", "stop"])
    if twice.any():
        row = frame.iloc[int(twice.to_numpy().argmax())]
        raise InputError(f"{path}: key: {row['key']} at {row['stop']}: given twice; one row a run and stop is allowed")
    _check_numbers(frame, path)
    return frame.sort_values(["key", "stop"], kind="stable", ignore_index=True)


def read_ledger(path: Path) -> pd.DataFrame:
    """Read a ledger (hp.*, complexity.*, gen.gap, is.converged, seed) into a records frame.

    `complexity.X` becomes `measure.X` (dots inside X become underscores, since a dot separates a layer), `seed` becomes
    `hp.seed`, `is.converged` becomes `train.converged`; the key is the row's number and the stop is `ledger`.
    """
    frame = _read_csv(path)
    if "gen.gap" not in frame.columns:
        raise InputError(
            f"{path}: columns: gen.gap missing: a ledger has hp.*, complexity.*, gen.gap, is.converged, seed"
        )
    named = [c for c in frame.columns if c.startswith("complexity.")]
    names = {c: "measure." + c.removeprefix("complexity.").replace(".", "_") for c in named}
    if not names:
        raise InputError(f"{path}: columns: no complexity.<measure>: a ledger needs at least one")
    if not any(c.startswith("hp.") for c in frame.columns):
        raise InputError(f"{path}: columns: no hp.<hyperparameter>: a ledger needs at least one")
    names["is.converged"] = "train.converged"
    if SEED not in frame.columns:
        names["seed"] = SEED
    frame = frame.rename(columns=names)
    if "train.converged" in frame.columns:
        frame["train.converged"] = _truth(frame["train.converged"], path)
    frame.insert(0, "key", [f"row{i:06d}" for i in range(len(frame))])
    frame.insert(1, "stop", LEDGER)
    _check_numbers(frame, path)
    return frame


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
        raise InputError(f"{name}: records: none found: allowed is a study with {places}; run it first")
    records = read_records(path)
    extra = {kind: _optional(path, kind, use_committed) for kind in EXTRA}
    return Source(name, title, records, path, use_committed, plan, **extra)


def load_ledger(path: Path) -> Source:
    """Read a ledger, or a records file, as a study named after the file. Raises InputError when it is neither."""
    name = path.stem
    try:
        frame = read_ledger(path)
    except InputError as not_ledger:
        try:
            frame = read_records(path)
        except InputError:
            raise not_ledger from None
    return Source(name, name.replace("_", " "), frame, path)


def _read_csv(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise InputError(f"{path}: file: not found: allowed is a CSV file that exists")
    try:
        frame = pd.read_csv(path, dtype=dict.fromkeys(_TEXT, "str"), low_memory=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"{path}: content: {reason}: allowed is a CSV table with a header") from None
    if len(frame) == 0:
        raise InputError(f"{path}: rows: 0: at least one is needed")
    return frame


def _check_numbers(frame: pd.DataFrame, path: Path) -> None:
    for column in frame.columns:
        try:
            label_of(column)
        except ValueError as error:
            raise InputError(f"{path}: {column}: {error}") from None
        if column.startswith(("measure.", "gap.", "test.", "gen.")) and not pd.api.types.is_numeric_dtype(
            frame[column]
        ):
            text = frame[column].astype(str)
            bad = text[pd.to_numeric(frame[column], errors="coerce").isna() & frame[column].notna()]
            raise InputError(f"{path}: {column}: {bad.iloc[0]}: a number or an empty cell is allowed")


def _truth(column: pd.Series, path: Path) -> pd.Series:
    words = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}
    text = column.astype(str).str.strip().str.lower()
    unknown = text[~text.isin(list(words))]
    if len(unknown):
        raise InputError(f"{path}: is.converged: {unknown.iloc[0]}: allowed are True and False")
    return text.map(words).astype(bool)


def _optional(records: Path, kind: str, committed: bool) -> pd.DataFrame:
    path = records.with_name(f"{records.stem}.{kind}.csv" if committed else f"{kind}.csv")
    if not path.is_file() or not path.read_bytes().strip():
        return pd.DataFrame()
    return pd.read_csv(path, dtype={"key": "str"})


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
