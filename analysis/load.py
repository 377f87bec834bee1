"""Read records, timings and anybody's ledger into one shape of frame.

A *records frame* has one row a run and stop and the columns `key`, `stop`, `hp.*`, `train.*`, `test.*`, `gap.*`, `n.*`,
`measure.<label>`, `measure.<label>.<layer>`, `measure.<label>.se` and `prov.*`. Everything downstream reads only that.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from study.study_file import StudyFileError, read_study_file

COMMITTED = Path(__file__).parent / "records"
TARGETS = ("gap.loss", "gap.error", "test.error", "gen.gap")  # what a measure may be asked to predict
EXTRA = ("timings", "curves", "slices", "audit")  # files that may stand beside the records
SEED = "hp.seed"
_TEXT = ("key", "stop", "train.status", "prov.commit", "prov.torch", "prov.device", "prov.mode")


class InputError(ValueError):
    """What a user gave cannot be read; the message is one line: place: field: value: what is allowed."""


@dataclass(frozen=True)
class Source:
    """One study's frames and where they came from.

    `records`: the records frame; `timings`: key, stop, item, seconds; `curves`: key, epoch, train.loss, ...;
    `slices`: key, transform, normalization, alpha, loss; `audit`: measure, transform, factor, before, after. A frame
    that no file gave is empty.
    """

    name: str
    title: str
    records: pd.DataFrame
    path: Path
    committed: bool = False
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
    frame.insert(1, "stop", "ledger")
    _check_numbers(frame, path)
    return frame


def load_study(study: str, results: Path | None = None, committed: bool = False) -> Source:
    """Load a study by name or by its yaml file: fresh results first, the committed records when there are none.

    `results` is the folder of all studies' results (default: $STUDY_RESULTS or "results"); `committed=True` reads only
    analysis/records/. Raises InputError when neither exists.
    """
    name, title = _name_and_title(study)
    root = results if results is not None else Path(os.environ.get("STUDY_RESULTS", "results"))
    fresh = root / name / "records.csv"
    kept = COMMITTED / f"{name}.csv"
    use_committed = committed or not fresh.exists()
    path = kept if use_committed else fresh
    if not path.exists():
        places = str(kept) if committed else f"{fresh} or {kept}"
        raise InputError(f"{name}: records: none found: allowed is a study with {places}; run it first")
    records = read_records(path)
    extra = {kind: _optional(path, kind, use_committed) for kind in EXTRA}
    return Source(name, title, records, path, use_committed, **extra)


def committed_studies() -> list[str]:
    """Names of the studies whose records are committed."""
    return sorted(path.stem for path in COMMITTED.glob("*.csv") if "." not in path.stem)


def measures(frame: pd.DataFrame) -> list[str]:
    """Return the measures' labels in column order (totals only, neither layers nor standard errors)."""
    names = [c.removeprefix("measure.") for c in frame.columns if c.startswith("measure.")]
    totals = [n for n in names if "." not in n]
    return totals + [n for n in dict.fromkeys(n.split(".")[0] for n in names) if n not in totals]


def layers(frame: pd.DataFrame, label: str) -> list[str]:
    """Return the layers that `label` was measured in, in network order; empty for a scalar measure."""
    prefix = f"measure.{label}."
    return [c.removeprefix(prefix) for c in frame.columns if c.startswith(prefix) and c != prefix + "se"]


def values(frame: pd.DataFrame, column: str) -> NDArray[np.float64]:
    """Return a column as float64 (n,); all NaN when the frame has no such column."""
    if column not in frame.columns:
        return np.full(len(frame), np.nan)
    return frame[column].to_numpy(dtype=np.float64, na_value=np.nan)


def hyperparameters(frame: pd.DataFrame) -> list[str]:
    """Return the hp.* columns but the seed, in column order."""
    return [c for c in frame.columns if c.startswith("hp.") and c != SEED]


def varying(frame: pd.DataFrame) -> list[str]:
    """Return the hyperparameters that take more than one value in the frame (the seed is none of them)."""
    return [c for c in hyperparameters(frame) if len(frame[c].unique()) > 1]


def axes(frame: pd.DataFrame) -> list[str]:
    """Return the axes of the grid: the varying hyperparameters, those that were only ever changed together as one.

    Batch size and learning rate zipped in pairs are the one axis `hp.batch_size+hp.lr`: no two runs differ in either
    alone.
    """
    together: list[tuple[list[str], NDArray[np.int64]]] = []
    for column in varying(frame):
        own = codes(frame, [column])
        for names, code in together:
            n_pairs = len(np.unique(np.stack([own, code], axis=1), axis=0))
            if n_pairs == own.max() + 1 == code.max() + 1:
                names.append(column)
                break
        else:
            together.append(([column], own))
    return ["+".join(names) for names, _ in together]


def axis_columns(names: Iterable[str]) -> list[str]:
    """The hyperparameter columns of axes: `hp.batch_size+hp.lr` is two."""
    return [column for name in names for column in name.split("+")]


def codes(frame: pd.DataFrame, columns: Sequence[str]) -> NDArray[np.int64]:
    """Number the distinct rows of `columns`, 0.. in sorted order of their values; shape (n,).

    The numbering depends on the set of settings only, never on the order of the rows. An empty cell is a value.
    """
    if not columns:
        return np.zeros(len(frame), dtype=np.int64)
    each = [_column_codes(frame[c]) for c in columns]
    return np.unique(np.stack(each, axis=1), axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)


def configurations(frame: pd.DataFrame) -> NDArray[np.int64]:
    """Number each row's configuration: all hp.* columns but the seed; the unit of resampling. Shape (n,)."""
    return codes(frame, hyperparameters(frame))


def stops(frame: pd.DataFrame) -> list[str]:
    """Return the stops: training losses from high to low, then epochs from early to late, then any others."""

    def place(stop: str) -> tuple[int, float, str]:
        kind, _, number = stop.partition("_")
        try:
            return {"loss": (0, -float(number), stop), "epoch": (1, float(number), stop)}.get(kind, (2, 0.0, stop))
        except ValueError:
            return (2, 0.0, stop)

    return sorted(frame["stop"].astype(str).unique(), key=place)


def main_stop(frame: pd.DataFrame) -> str:
    """Return the stop that a figure of one stop shows: the lowest training loss, without one the last epoch."""
    every = stops(frame)
    losses = [s for s in every if s.startswith("loss_")]
    return (losses or every)[-1]


def at_stop(frame: pd.DataFrame, stop: str | None = None) -> pd.DataFrame:
    """Return the rows of one stop (default: `main_stop`). Raises ValueError for a stop the frame has not."""
    if len(frame) == 0:
        return frame
    chosen = main_stop(frame) if stop is None else stop
    if chosen not in stops(frame):
        raise ValueError(f"stop: {chosen}: allowed are {', '.join(stops(frame))}")
    return frame[frame["stop"] == chosen].reset_index(drop=True)


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


def _column_codes(column: pd.Series) -> NDArray[np.int64]:
    plain = column if pd.api.types.is_numeric_dtype(column) else column.astype("str")
    return np.asarray(pd.factorize(plain, sort=True, use_na_sentinel=True)[0], dtype=np.int64)


def _optional(records: Path, kind: str, committed: bool) -> pd.DataFrame:
    path = records.with_name(f"{records.stem}.{kind}.csv" if committed else f"{kind}.csv")
    if not path.is_file() or not path.read_bytes().strip():
        return pd.DataFrame()
    return pd.read_csv(path, dtype={"key": "str"})


def _name_and_title(study: str) -> tuple[str, str]:
    path = Path(study)
    if path.suffix not in (".yaml", ".yml"):
        path = Path("configs") / f"{study}.yaml"
        if not path.is_file():
            return study, study.replace("_", " ")
    try:
        content = read_study_file(path)
    except StudyFileError as error:
        raise InputError(str(error)) from None
    return content["name"], content["title"]
