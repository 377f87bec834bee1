"""What a records frame's columns are: measures and their layers, hyperparameters and axes, configurations, stops."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from study.names import STANDARD_ERROR, Stop, label_of

TARGETS = (
    "gen.gap",
    "gap.loss",
    "gap.error",
    "gap.shift.mean.loss",
    "gap.shift.mean.error",
    "test.error",
)  # what a measure may be asked to predict
AGAIN = "again."  # `again.<label>`: the measure on other images with other noise, where it was taken twice
ABOUT = "target"  # in a frame's attrs: the one that it is about
SEED = "hp.seed"
LEDGER = "ledger"  # the one stop of a table that is not ours


def measures(frame: pd.DataFrame) -> list[str]:
    """Return the measures' labels in column order (totals only, neither layers nor standard errors)."""
    found = [(whole, layer) for whole, layer in map(_whole_and_layer, frame.columns.tolist()) if whole]
    totals = [whole for whole, layer in found if not layer]
    return totals + [n for n in dict.fromkeys(whole for whole, _ in found) if n not in totals]


def layers(frame: pd.DataFrame, label: str) -> list[str]:
    """Return the layers that `label` was measured in, in network order; empty for a scalar measure."""
    found = [layer for whole, layer in map(_whole_and_layer, frame.columns.tolist()) if whole == label]
    return [layer for layer in found if layer not in ("", STANDARD_ERROR)]


def values(frame: pd.DataFrame, column: str) -> NDArray[np.float64]:
    """Return a column as float64 (n,); all NaN when the frame has no such column."""
    if column not in frame.columns:
        return np.full(len(frame), np.nan)
    return frame[column].to_numpy(dtype=np.float64, na_value=np.nan)


def half_have(there: NDArray[np.bool_], among: NDArray[np.bool_]) -> bool:
    """Whether at least half of the rows `among` (n,) are `there` (n,): what fewer have, say three of many, says nothing
    of them; ours."""
    return bool(there.any() and 2 * (there & among).sum() >= among.sum())


def hyperparameters(frame: pd.DataFrame) -> list[str]:
    """Return the hp.* columns but the seed, in column order; not `hp.hidden` where depth and width say what it is."""
    left_out = {SEED, "hp.hidden"} if _stand_for_hidden(frame) else {SEED}
    return [c for c in frame.columns.tolist() if c.startswith("hp.") and c not in left_out]


def varying(frame: pd.DataFrame) -> list[str]:
    """Return the hyperparameters that take more than one value in the frame (the seed is none of them)."""
    return [c for c in hyperparameters(frame) if len(frame[c].unique()) > 1]


def axes(frame: pd.DataFrame) -> list[str]:
    """Return the axes of the grid: the varying hyperparameters, those that were only ever changed together as one.

    Batch size and learning rate zipped in pairs are the one axis `hp.batch_size+hp.lr`: no two runs differ in either
    alone.
    """
    return list(zipped({column: codes(frame, [column]) for column in varying(frame)}))


def zipped(levels: Mapping[str, NDArray[np.int64]]) -> dict[str, NDArray[np.int64]]:
    """The axes that levels (n,) of hyperparameters are of, `a+b` where no two runs differ in a or b alone.

    Each renumbered from 0; without those of one level.
    """
    found: dict[str, NDArray[np.int64]] = {}
    for name, level in levels.items():
        own = np.unique(level, return_inverse=True)[1].reshape(-1).astype(np.int64)
        n_levels = int(own.max(initial=0)) + 1
        if n_levels == 1:
            continue
        alike = (known for known, code in found.items() if n_levels == code.max() + 1 == pairs_of(own, code))
        other = next(alike, None)
        if other is None:
            found[name] = own
        else:
            found = {f"{known}+{name}" if known == other else known: code for known, code in found.items()}
    return found


def pairs_of(first: NDArray[np.int64], second: NDArray[np.int64]) -> int:
    """How many different pairs of levels (n,), numbered from 0, occur."""
    return len(np.unique(first * (second.max(initial=0) + 1) + second))


def axis_columns(names: Iterable[str]) -> list[str]:
    """The hyperparameter columns of axes: `hp.batch_size+hp.lr` is two."""
    return [column for name in names for column in name.split("+")]


def codes(frame: pd.DataFrame, columns: Sequence[str]) -> NDArray[np.int64]:
    """Number the distinct rows of `columns`, 0.. in sorted order of their values; shape (n,).

    The numbering depends on the set of settings only, never on the order of the rows. An empty cell is a value.
    """
    return joined([_column_codes(frame[c]) for c in columns], len(frame))


def joined(each: Sequence[NDArray[np.int64]], n: int) -> NDArray[np.int64]:
    """Number the distinct rows of codes (n,), 0.. in sorted order; shape (n,)."""
    if not each:
        return np.zeros(n, dtype=np.int64)
    return np.unique(np.stack(each, axis=1), axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)


def configurations(frame: pd.DataFrame) -> NDArray[np.int64]:
    """Number each row's configuration: all hp.* columns but the seed; the unit of resampling. Shape (n,)."""
    return codes(frame, varying(frame))  # one of a single value numbers nothing


def stops(frame: pd.DataFrame) -> list[str]:
    """Return the stops: losses from high to low, then errors, then epochs from early to late, then any others."""

    def place(stop: Stop) -> tuple[int, float, str]:
        return {"loss": 0, "error": 1, "epoch": 2}.get(stop.kind, 3), stop.rank, stop.text

    every = map(Stop.read, frame["stop"].astype(str).unique())
    return [stop.text for stop in sorted(every, key=place)]


def main_stop(frame: pd.DataFrame) -> str:
    """Return the stop that a figure of one stop shows: the lowest training loss, without one the last epoch."""
    every = stops(frame)
    losses = [s for s in every if Stop.read(s).kind == "loss"]
    return (losses or every)[-1]


def at_stop(frame: pd.DataFrame, stop: str | None = None) -> pd.DataFrame:
    """Return the rows of one stop (default: `main_stop`). Raises ValueError for a stop the frame has not."""
    if len(frame) == 0:
        return frame
    chosen = main_stop(frame) if stop is None else stop
    if chosen not in stops(frame):
        raise ValueError(f"stop: {chosen}: allowed are {', '.join(stops(frame))}")
    return frame[frame["stop"] == chosen].reset_index(drop=True)


def targets(frame: pd.DataFrame) -> list[str]:
    """The targets that the frame has values of, in the order of TARGETS; of a frame `about` another one, that one."""
    found = [t for t in possible_targets(frame) if bool(pd.notna(values(frame, t)).any())]
    return [t for t in TARGETS if t in found] or found


def possible_targets(frame: pd.DataFrame) -> list[str]:
    """Every column that a measure may be asked to predict: gaps, those to shifted test sets, test loss and error.

    Of a frame `about` one, that one.
    """
    if ABOUT in frame.attrs:
        return [frame.attrs[ABOUT]]
    return [c for c in frame.columns if c.startswith(("gap.", "gen.")) or c in ("test.loss", "test.error")]


def about(frame: pd.DataFrame, target: str) -> pd.DataFrame:
    """The frame with all targets but one hidden, so that every table and figure is about that one.

    The others' columns stay, for rules that read them. Raises ValueError: no such target.
    """
    every = possible_targets(frame)
    if target not in every:
        raise ValueError(f"target: {target}: allowed are {', '.join(every) or 'none: the frame has no gap'}")
    narrowed = frame.copy(deep=False)
    narrowed.attrs[ABOUT] = target
    return narrowed


def check_frame(frame: pd.DataFrame, target: str) -> None:
    """Refuse, with ValueError, a frame without the target column or with more than one stop."""
    if target not in frame.columns:
        allowed = [c for c in frame.columns if c.startswith(("gap.", "test.", "gen."))]
        raise ValueError(f"target: {target}: allowed are {', '.join(allowed) or 'none: the frame has no gap'}")
    if "stop" in frame.columns and len(frame["stop"].unique()) > 1:
        raise ValueError(
            f"stop: {', '.join(frame['stop'].unique())}: rows of one stop are allowed; see columns.at_stop"
        )


def _stand_for_hidden(frame: pd.DataFrame) -> bool:
    """Whether no two rows of one depth and width differ in their hidden widths."""
    if not {"hp.depth", "hp.width", "hp.hidden"} <= set(frame.columns):
        return False
    of_shape = codes(frame, ["hp.depth", "hp.width"])
    return pairs_of(of_shape, codes(frame, ["hp.hidden"])) == int(of_shape.max(initial=-1)) + 1


@functools.cache
def _whole_and_layer(column: str) -> tuple[str, str]:
    """The label of a `measure.` column without its layer, and the layer; both empty of any other column."""
    label = label_of(column)
    return (str(label.at(layer="")), label.layer) if label else ("", "")


def _column_codes(column: pd.Series) -> NDArray[np.int64]:
    plain = column if pd.api.types.is_numeric_dtype(column) else column.astype("str")
    return np.asarray(pd.factorize(plain, sort=True, use_na_sentinel=True)[0], dtype=np.int64)
