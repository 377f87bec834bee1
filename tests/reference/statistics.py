"""Slow twins of the statistics: plain loops over pairs, written from the definitions alone."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence


def sign(a: float, b: float) -> int:
    """Sign of a - b by comparison, so that two equal infinities tie."""
    return int(a > b) - int(a < b)


def tau(x: Sequence[float], y: Sequence[float], variant: str) -> float:
    """Kendall's tau-a or tau-b over ordered pairs; NaN where it is undefined."""
    pairs = [(i, j) for i in range(len(x)) for j in range(len(x)) if i != j]
    if not pairs:
        return math.nan
    signs = [(sign(x[i], x[j]), sign(y[i], y[j])) for i, j in pairs]
    total = sum(a * b for a, b in signs)
    if variant == "a":
        return total / len(pairs)
    untied = sum(a * a for a, _ in signs) * sum(b * b for _, b in signs)
    return total / math.sqrt(untied) if untied else math.nan


def pearson(x: Sequence[float], y: Sequence[float]) -> float:
    """Pearson's r; NaN for a constant or an infinity."""
    n = len(x)
    if n < 2 or not all(map(math.isfinite, [*x, *y])):
        return math.nan
    mean_x, mean_y = sum(x) / n, sum(y) / n
    xx, yy = sum((a - mean_x) ** 2 for a in x), sum((b - mean_y) ** 2 for b in y)
    if len(set(x)) == 1 or len(set(y)) == 1:
        return math.nan
    return sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / math.sqrt(xx * yy)


def complete(x: Sequence[float], y: Sequence[float], *more: Sequence[object]) -> tuple[list, ...]:
    """Drop the positions at which x or y is NaN, from all."""
    there = [i for i in range(len(x)) if not (math.isnan(x[i]) or math.isnan(y[i]))]
    return tuple([v[i] for i in there] for v in (x, y, *more))


def repeat(values: Sequence[float], groups: Sequence[int], counts: dict[int, int]) -> list[float]:
    """The sample in which every run of configuration c stands counts[c] times."""
    return [v for v, g in zip(values, groups, strict=True) for _ in range(counts[g])]


def weighted(x: Sequence[float], y: Sequence[float], w: Sequence[float]) -> tuple[float, float, float]:
    """tau-b, tau-a and Pearson's r in which a run counts w times, a pair the product, a run never with itself."""
    pairs = [(i, j) for i in range(len(x)) for j in range(len(x)) if i != j and w[i] * w[j]]
    signs = [(sign(x[i], x[j]), sign(y[i], y[j]), w[i] * w[j]) for i, j in pairs]
    total, every = sum(a * b * v for a, b, v in signs), sum(v for *_, v in signs)
    untied = sum(a * a * v for a, _, v in signs) * sum(b * b * v for _, b, v in signs)
    r = pearson(*([u for u, k in zip(v, w, strict=True) for _ in range(int(k))] for v in (x, y)))
    return total / math.sqrt(untied) if untied else math.nan, total / every if every else math.nan, r


def mean(values: Sequence[float]) -> float:
    """Mean; NaN of nothing."""
    return sum(values) / len(values) if values else math.nan


def cell_tau(x: Sequence[float], y: Sequence[float], level: Sequence[object], variant: str) -> float:
    """Tau over the pairs that differ in level; NaN where it is undefined."""
    signs = [
        (sign(x[i], x[j]), sign(y[i], y[j]))
        for i in range(len(x))
        for j in range(len(x))
        if level[i] != level[j] and not any(map(math.isnan, (x[i], x[j], y[i], y[j])))
    ]
    below = len(signs) if variant == "a" else math.sqrt(sum(a * a for a, _ in signs) * sum(b * b for _, b in signs))
    return sum(a * b for a, b in signs) / below if below else math.nan


def psi(
    x: Sequence[float], y: Sequence[float], settings: Sequence[dict], axis: str, variant: str
) -> tuple[float, int, int]:
    """Granulated psi along an axis, cells, NaN cells; settings hold every hyperparameter that defines a cell."""
    cells: dict[tuple, list[int]] = {}
    for i, setting in enumerate(settings):
        cells.setdefault(tuple(v for k, v in sorted(setting.items()) if k != axis), []).append(i)
    taus = [
        cell_tau([x[i] for i in c], [y[i] for i in c], [settings[i][axis] for i in c], variant) for c in cells.values()
    ]
    defined = [t for t in taus if not math.isnan(t)]
    return mean(defined), len(taus), len(taus) - len(defined)


def entropy(counts: Sequence[float]) -> float:
    """Entropy in nats of a table of counts."""
    total = sum(counts)
    return -sum(c / total * math.log(c / total) for c in counts if c)


def jiang(x: Sequence[float], y: Sequence[float], group: Sequence[tuple]) -> float:
    """I(V_m, V_g | U) / H(V_g | U) over ordered pairs of different runs."""
    cells: dict[tuple, list[tuple[int, int]]] = {}
    for i in range(len(x)):
        for j in range(len(x)):
            if i != j:
                cells.setdefault((group[i], group[j]), []).append((sign(x[i], x[j]), sign(y[i], y[j])))
    total = sum(map(len, cells.values()))
    shared = conditional = 0.0
    for pairs in cells.values():
        weight = len(pairs) / total
        joint = entropy([pairs.count(p) for p in set(pairs)])
        sides = [entropy([side.count(s) for s in set(side)]) for side in ([a for a, _ in pairs], [b for _, b in pairs])]
        shared += weight * (sum(sides) - joint)
        conditional += weight * sides[1]
    return shared / conditional if conditional > 1e-12 else math.nan


def pgdl(x: Sequence[float], y: Sequence[float], group: Sequence[tuple]) -> float:
    """The PGDL program's score for one set of hyperparameters: strict >, self-pairs, every cell of equal weight."""
    cells: dict[tuple, list[tuple[bool, bool]]] = {}
    for i in range(len(x)):
        for j in range(len(x)):
            cells.setdefault((group[i], group[j]), []).append((x[i] > x[j], y[i] > y[j]))
    shared, uncertain = [], []
    for pairs in cells.values():
        p = {k: pairs.count(k) / len(pairs) for k in set(pairs)}
        m = {a: sum(v for (b, _), v in p.items() if b == a) for a in (True, False)}
        g = {a: sum(v for (_, b), v in p.items() if b == a) for a in (True, False)}
        shared.append(sum(v * math.log2(v / (m[a] * g[b])) for (a, b), v in p.items()))
        uncertain.append(-sum(v * math.log2(v + 1e-12) for v in g.values()))
    return mean(shared) / mean(uncertain) if uncertain and mean(uncertain) > 1e-9 else math.nan


def weight(dg: float, n: float) -> float:
    """Monte Carlo weight of a pair of gaps that differ by dg on a test set of n."""
    return 0.0 if math.isnan(dg) else max(0.0, max(0.0, 1 - 2 * math.exp(-2 * n * (dg / 2) ** 2)) ** 2 - 0.5)


def environments(
    x: Sequence[float], y: Sequence[float], settings: Sequence[dict], n: float, least: float
) -> tuple[list[float], int, float]:
    """Weighted errors of the environments with enough effective samples; how many there are; unweighted mean error."""
    pairs: dict[tuple, list[tuple[float, float]]] = {}
    for i in range(len(x)):
        for j in range(len(x)):
            differ = [k for k in settings[i] if settings[i][k] != settings[j][k]]
            if len(differ) == 1 and not any(map(math.isnan, (x[i], x[j], y[i], y[j]))):
                ends = tuple(settings[i].values()), tuple(settings[j].values())
                error = (1 - sign(x[i], x[j]) * sign(y[i], y[j])) / 2
                pairs.setdefault(ends, []).append((error, weight(y[i] - y[j], n)))
    used = []
    for each in pairs.values():
        total, square = sum(w for _, w in each), sum(w * w for _, w in each)
        if total > 0 and total**2 / square >= least - 1e-9:
            used.append(sum(e * w for e, w in each) / total)
    return used, len(pairs), mean([e for each in pairs.values() for e, _ in each])


def share_explained(levels: Sequence[object], y: Sequence[float]) -> float:
    """Adjusted R squared of ranks on levels: residual over total mean square, less than one."""
    ranks = [1 + sum(b < a for b in y) + (sum(b == a for b in y) - 1) / 2 for a in y]
    means = {}
    for level in levels:
        own = [rank for rank, other in zip(ranks, levels, strict=True) if other == level]
        means[level] = sum(own) / len(own)
    within = sum((rank - means[level]) ** 2 for rank, level in zip(ranks, levels, strict=True))
    total = sum((rank - sum(ranks) / len(ranks)) ** 2 for rank in ranks)
    return 1 - (within / (len(y) - len(means))) / (total / (len(y) - 1))


def picked(x: Sequence[float], y: Sequence[float]) -> tuple[float, float, float]:
    """Regret, the same over chance's, and hits of the best fifth, of picking by x: means over all orders of ties in x,
    one after another. For handfuls."""
    best, k = min(y), math.ceil(len(y) / 5)
    bound = sorted(y)[k - 1]
    regrets, hits = [], []
    for order in itertools.permutations(range(len(x))):
        if all(x[a] <= x[b] for a, b in itertools.pairwise(order)):
            regrets.append(y[order[0]] - best)
            hits.append(sum(y[i] <= bound for i in order[:k]) / k)
    chance = mean(y) - best
    return mean(regrets), mean(regrets) / chance if chance else math.nan, mean(hits)
