"""Sign error in environments (Dziugaite et al. 2020): how badly a measure can fail, not only how well it does on
average.

The sign error of a pair of runs is (1 - sign dm sign dg) / 2, a tie costing 1/2; so tau-a over the same pairs is 1 -
2 * mean. An environment is an ordered pair of configurations that differ in one hyperparameter, over all pairs of
their seeds. A pair weighs (max(0, 1 - 2 exp(-2 n (dG/2)^2))^2 - 1/2)_+, n the size of the test set: what Hoeffding's
inequality leaves of the chance that the gaps' order is an accident of the test set. It holds for gaps in error, in
[0, 1].
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.columns import axes as varying
from analysis.columns import check_frame, configurations, measures, values
from analysis.statistics.grid.matched_pairs import Neighbours, neighbours, signs
from analysis.statistics.grid.means import runs_or_means

Floats = NDArray[np.float64]
MIN_SAMPLES = 12.0  # effective sample size an environment needs; Dziugaite et al. 2020
DEFAULT_N_TEST = 10_000  # of SVHN's and CIFAR-10's common test subset in that study; used only where n.test is absent


def sign_error(
    frame: pd.DataFrame,
    target: str = "gap.error",
    labels: Sequence[str] | None = None,
    n_test: int | None = None,
    min_samples: float = MIN_SAMPLES,
    axes: Sequence[str] | None = None,
    of: str = "runs",
) -> pd.DataFrame:
    """Sign error of every measure over all environments, and over those of each axis; a records frame of one stop.

    Columns: measure, axis ("all" first), environments, used (those with effective sample size >= min_samples), mean,
    p90, max (over the used ones; NaN without any), unweighted (mean over pairs of every environment, without weights).
    `n_test` overrides the frame's n.test column (a pair takes the smaller of its two). With `of` "means" configurations
    are compared by their means (see means), not runs: an environment is one pair, and `min_samples` does not apply.
    """
    check_frame(frame, target)
    labels = measures(frame) if labels is None else labels
    frame = runs_or_means(frame, of, [target, "n.test", *(f"measure.{label}" for label in labels)])
    min_samples = min_samples if of == "runs" else 0.0
    gap, config = values(frame, target), configurations(frame)
    size = _test_size(frame, n_test)
    each = [neighbours(frame, axis, same_seed=False) for axis in (varying(frame) if axes is None else axes)]
    prepared = [(p, signs(gap, p.i, p.j), pair_weights(gap, size, p), _environment(p, config)) for p in each]
    rows: list[dict[str, object]] = []
    for label in labels:
        x = values(frame, f"measure.{label}")
        by_axis = [_errors(signs(x, p.i, p.j), g, w, e, min_samples) for p, g, w, e in prepared]
        pooled = [np.concatenate(parts) if parts else np.zeros(0) for parts in zip(*by_axis, strict=True)]
        pooled = pooled or [np.zeros(0)] * 3
        rows.append({"measure": label, "axis": "all", **_summary(*pooled)})
        rows += [
            {"measure": label, "axis": p.axis, **_summary(*e)} for (p, *_), e in zip(prepared, by_axis, strict=True)
        ]
    columns = ["measure", "axis", "environments", "used", "mean", "p90", "max", "unweighted"]
    return pd.DataFrame(rows, columns=columns)


def pair_weights(gap: Floats, n_test: Floats, pairs: Neighbours) -> Floats:
    """The Monte Carlo weight of each pair; 0 where a gap is missing or both are the same infinity. Shape (pairs,)."""
    with np.errstate(invalid="ignore"):
        half = (gap[pairs.i] - gap[pairs.j]) / 2
    n = np.minimum(n_test[pairs.i], n_test[pairs.j])
    with np.errstate(over="ignore"):  # of a gap of 1e160 the square is infinite, and the order sure
        sure = np.maximum(0.0, 1 - 2 * np.exp(-2 * n * half**2))
    return np.nan_to_num(np.maximum(0.0, sure**2 - 0.5), nan=0.0)


def _test_size(frame: pd.DataFrame, n_test: int | None) -> Floats:
    if n_test is not None:
        if n_test < 1:
            raise ValueError(f"n_test: {n_test}: at least 1 is allowed")
        return np.full(len(frame), float(n_test))
    given = values(frame, "n.test")
    return np.where(np.isnan(given), float(DEFAULT_N_TEST), given)


def _environment(pairs: Neighbours, config: NDArray[np.int64]) -> NDArray[np.int64]:
    ends = np.stack([config[pairs.i], config[pairs.j]], axis=1)
    ends.sort(axis=1)
    return np.unique(ends, axis=0, return_inverse=True)[1].reshape(-1)


def _errors(m: Floats, g: Floats, weight: Floats, environment: NDArray[np.int64], least: float) -> tuple[Floats, ...]:
    """Each environment's weighted error (NaN: too few effective samples), and its unweighted sum and count of pairs."""
    there = ~(np.isnan(m) | np.isnan(g))
    error, w, e = (1 - m[there] * g[there]) / 2, weight[there], environment[there]
    n = int(environment.max(initial=-1)) + 1

    def add(each: Floats) -> Floats:
        return np.bincount(e, weights=each, minlength=n).astype(np.float64)

    total, square = add(w), add(w * w)
    samples = np.divide(total**2, square, out=np.zeros(n), where=square > 0)
    weighted = np.divide(add(w * error), total, out=np.full(n, np.nan), where=(total > 0) & (samples >= least - 1e-9))
    return weighted, add(error), add(np.ones(len(e)))


def _summary(weighted: Floats, error: Floats, count: Floats) -> dict[str, object]:
    # Both orders of a pair of configurations have one error: an ordered pair is counted twice.
    used = np.repeat(weighted[~np.isnan(weighted)], 2)
    known = len(used) > 0
    return {
        "environments": 2 * int((count > 0).sum()),
        "used": len(used),
        "mean": float(used.mean()) if known else float("nan"),
        "p90": float(np.quantile(used, 0.9)) if known else float("nan"),
        "max": float(used.max()) if known else float("nan"),
        "unweighted": float(error.sum() / count.sum()) if count.sum() else float("nan"),
    }
