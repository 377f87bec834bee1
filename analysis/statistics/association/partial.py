"""Partial rank correlation: what is left of a measure's tau with the gap when training loss, weight norm or the
constancy of labels is held fixed.

Kendall's partial tau, (t_xy - t_xz t_yz) / sqrt((1 - t_xz^2)(1 - t_yz^2)), with tau-b throughout; for two controls the
same formula on the taus that are partial in the first. It needs only taus, so its bootstrap is theirs.

It is not 0 where measure and gap have nothing in common but the control: for normal variables that both have tau = .6
with it, it is .15. Spearman's partial coefficient, the same formula on correlations of ranks, is .01 there (ranks of
all runs; a resample keeps them). So whether something is left is read from that one. It, too, is about 0 near normality
only: of a normal control z, exp(2z) plus noise has -.17 with -exp(-2z) plus noise, and .19 with another exp(2z) plus
noise. A value of that size does not show that something is left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from analysis.columns import check_frame, measures, values
from analysis.statistics.association.coefficients import RESAMPLES, coefficients, coefficients_of_many
from analysis.statistics.resampling.design import NONE, Design, design
from analysis.statistics.resampling.resample import Interval, interval
from study.names import Label

Floats = NDArray[np.float64]
# What is held fixed, by the names it goes under in records and in the field's ledgers.
CONTROLS: dict[str, tuple[str, ...]] = {
    "training loss": ("train.loss", "measure.train_loss", "measure.cross_entropy"),
    "squared weight norm": ("measure.weight_norm_squared", "measure.l2", "measure.param_norm"),
}
# What the bound of Petzka et al. 2021 assumes of points that are close in features: held fixed alone, where measured.
_CONSTANCY = "constancy of labels", "measure.label_constancy"


def partial_tau(x: ArrayLike, y: ArrayLike, controls: Sequence[ArrayLike]) -> float:
    """Partial tau-b of two vectors (n,) given one or two others, over the runs where none is missing."""
    columns = [np.asarray(v, dtype=np.float64) for v in (x, y, *controls)]
    there = ~np.isnan(np.stack(columns)).any(axis=0)
    return float(_combined([c[there] for c in columns], None, 0, 0)[0][0])


def partial(
    frame: pd.DataFrame,
    target: str = "gap.loss",
    labels: Sequence[str] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = 0.95,
) -> pd.DataFrame:
    """Partial tau-b of every measure with `target`, given each control, given loss and norm, and given the constancy
    of labels; a records frame of one stop.

    Columns: measure, given, n, configurations, tau_b (of the same runs, nothing held fixed), partial_tau and
    partial_spearman with .low and .high, note. Rows only for the controls that the frame has; a layer alone is held
    against its own norm.
    """
    check_frame(frame, target)
    gap, grid, found = values(frame, target), design(frame), controls(frame)
    given = [(name,) for name in found] + ([tuple(found)] if len(found) > 1 else [])
    if np.isfinite(values(frame, _CONSTANCY[1])).any():
        found, given = found | dict([_CONSTANCY]), [*given, _CONSTANCY[:1]]
    _prepare(frame, gap, grid, [f"measure.{m}" for m in (labels or measures(frame))], found, resamples, seed)
    rows: list[dict[str, object]] = []
    for label in measures(frame) if labels is None else labels:
        x = values(frame, f"measure.{label}")
        for names in given:
            held = [_of_layer(frame, found[name], label) for name in names]
            columns = [x, gap, *(values(frame, column) for column in held)]
            there = np.asarray(~np.isnan(np.stack(columns)).any(axis=0))
            row = _row([c[there] for c in columns], grid.where(there), resamples, seed, level)
            own = f"measure.{label}" in held
            note = "the measure is what is held fixed" if own else row.pop("note")
            rows.append({"measure": label, "given": " and ".join(names), **row, "note": note})
    ends = ("", ".low", ".high")
    shown = [f"{name}{end}" for name in ("partial_tau", "partial_spearman") for end in ends]
    return pd.DataFrame(rows, columns=["measure", "given", "n", "configurations", "tau_b", *shown, "note"])


def controls(frame: pd.DataFrame) -> dict[str, str]:
    """The controls that the frame has a value of: words -> the first column with one."""
    found = {words: [c for c in names if np.isfinite(values(frame, c)).any()] for words, names in CONTROLS.items()}
    return {words: columns[0] for words, columns in found.items() if columns}


def _of_layer(frame: pd.DataFrame, control: str, label: str) -> str:
    """The control's column for the layer that `label` names, where there is one; else the control of the network."""
    column = f"{control}.{Label.parse(label).layer}"
    return column if column in frame.columns else control


def _prepare(
    frame: pd.DataFrame,
    gap: Floats,
    grid: Design,
    columns: Sequence[str],
    found: Mapping[str, str],
    resamples: int,
    seed: int,
) -> None:
    """Compute the taus with the controls on all cores; `coefficients` keeps them for the loop that follows."""
    held = [gap, *(values(frame, c) for c in found.values())]
    pairs = []
    for x in (values(frame, c) for c in columns):
        there = ~np.isnan(np.stack([x, *held])).any(axis=0)
        pairs += [(x, np.where(there, h, np.nan)) for h in held]
    coefficients_of_many(pairs, grid, resamples, seed)


def _row(columns: list[Floats], grid: Design, resamples: int, seed: int, level: float) -> dict[str, object]:
    point, replicates, left_out = _combined(columns, grid, resamples, seed)
    size = len(grid.configuration), int(grid.configuration.max(initial=-1)) + 1
    row: dict[str, object] = {"n": size[0], "configurations": size[1], "tau_b": float(point[1])}
    each = {"partial_tau": (float(point[0]), replicates, left_out)}
    each["partial_spearman"] = _of_ranks(columns, grid, resamples, seed)
    for name, (value, drawn, without) in each.items():
        none = Interval(np.nan, np.nan, NONE if resamples and np.isfinite(value) else "")
        bounds = interval(value, drawn, without, level, grid.resampling.probability) if len(drawn) else none
        row |= {name: value, f"{name}.low": bounds.low, f"{name}.high": bounds.high}
        row.setdefault("note", bounds.reason)
    return row


def _of_ranks(columns: list[Floats], grid: Design, resamples: int, seed: int) -> tuple[float, Floats, Floats]:
    """Partial Spearman of columns x, y, z[, w]: value, replicates, leave-one-out values; (n,) of finite or infinite."""
    if len(grid.configuration) < 2:
        return np.nan, np.zeros(0), np.zeros(0)
    ranks = np.stack([stats.rankdata(c) for c in columns])
    ranks = (ranks - ranks.mean(axis=1, keepdims=True)) / ranks.shape[1]
    pairs = [(i, j) for i in range(len(ranks)) for j in range(i + 1)]
    drawn = grid.resampling
    products = [np.ones(ranks.shape[1]), *ranks, *(ranks[i] * ranks[j] for i, j in pairs)]
    sums: Floats = np.stack([np.bincount(drawn.unit, weights=p) for p in products])  # of each unit

    def under(moments: Floats) -> Floats:
        mean, second = moments[1 : len(ranks) + 1], moments[len(ranks) + 1 :]
        with np.errstate(invalid="ignore", divide="ignore"):
            spread = {
                (i, j): m / moments[0] - mean[i] * mean[j] / moments[0] ** 2
                for (i, j), m in zip(pairs, second, strict=True)
            }
            enough = np.all([spread[i, i] > 1e-12 for i in range(len(ranks))], axis=0)
            r = {(i, j): spread[i, j] / np.sqrt(spread[i, i] * spread[j, j]) for i, j in pairs if i != j}
        return np.where(enough, _given(r, len(ranks)), np.nan)

    whole = sums.sum(axis=1, keepdims=True)
    value = float(under(whole)[0])
    if not resamples or not drawn.axes:
        return value, np.zeros(0), np.zeros(0)
    chunks = drawn.chunks(resamples, seed)
    replicates = np.concatenate([under(sums @ np.asarray(weights, dtype=np.float64)) for weights in chunks])
    return value, replicates, under(whole - sums) if drawn.is_single else np.zeros(0)


def _combined(columns: list[Floats], over: Design | None, resamples: int, seed: int) -> tuple[Floats, Floats, Floats]:
    """Partial tau: ((partial, plain), replicates, leave-one-out values) of columns x, y, z[, w] without missing
    values."""
    pairs = [(i, j) for i in range(len(columns)) for j in range(i)]
    each = {p: coefficients(columns[p[1]], columns[p[0]], over, resamples, seed) for p in pairs}
    point = {p: np.array([c.point["tau_b"]]) for p, c in each.items()}
    plain = point[1, 0]
    empty = np.zeros(0)
    partial_point = _given(point, len(columns))
    if not resamples or any(not c.replicates for c in each.values()):
        return np.concatenate([partial_point, plain]), empty, empty
    replicates = _given({p: c.replicates["tau_b"] for p, c in each.items()}, len(columns))
    if any(not c.jackknife for c in each.values()):
        return np.concatenate([partial_point, plain]), replicates, empty
    left_out = _given({p: c.jackknife["tau_b"] for p, c in each.items()}, len(columns))
    return np.concatenate([partial_point, plain]), replicates, left_out


def _given(tau: Mapping[tuple[int, int], Floats], n: int) -> Floats:
    """Reduce all taus by the last variable until two variables are left. Keys (i, j) with i > j."""
    current = dict(tau)
    for z in range(n - 1, 1, -1):
        reduced = {}
        for i in range(z):
            for j in range(i):
                with np.errstate(invalid="ignore", divide="ignore"):
                    rest = (1 - current[z, i] ** 2) * (1 - current[z, j] ** 2)
                    value = (current[i, j] - current[z, i] * current[z, j]) / np.sqrt(rest)
                # A variable that is a monotone function of what is held fixed leaves nothing to correlate.
                reduced[i, j] = np.where(rest > 1e-12, value, np.nan)
        current = reduced
    return current[1, 0]
