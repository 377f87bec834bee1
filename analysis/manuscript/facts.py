"""What a text says of networks beside coefficients: which, how many, their settings, what made them, what it cost."""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from typing import Any

import pandas as pd

from analysis import simulated
from analysis.columns import configurations, layers
from analysis.load import InputError
from analysis.manuscript import networks as of_study
from analysis.manuscript.networks import Networks, allowed
from analysis.manuscript.number import Number, Numbers, Words

BENCHMARK = of_study.ROOT / "tests" / "benchmarks" / "curvature.json"


def only(of: str | Networks, column: str, *values: object) -> Networks:
    """The networks with one of these values in a column of the records: `only("digits_mlp", "hp.lr", 0.1)`."""
    return of_study.cut(of, column, values, stay=True)


def without(of: str | Networks, column: str, *values: object) -> Networks:
    """The networks with none of these values in a column of the records."""
    return of_study.cut(of, column, values, stay=False)


def extreme(of: str | Networks, column: str, stop: str, many: int = 1) -> Networks:
    """The networks with the largest values of a column at a stop or, of a negative number, the smallest."""
    frame, _ = of_study.kept(of_study.networks(of), stop)
    at = frame[allowed(column, frame.columns)]
    chosen = at.nlargest(many) if many > 0 else at.nsmallest(-many)
    return only(of, "key", *frame.loc[chosen.index, "key"])


def less(of: str | Networks, some: Networks) -> Networks:
    """The networks that are not among `some`: `less(s, extreme(s, "train.loss", "epoch_20"))`."""
    return without(of, "key", *of_study.records(some)["key"].unique())


def parts(of: str | Networks, column: str) -> dict[str, Networks]:
    """The networks of each value of a column alone: one seed at a time, for example."""
    frame = of_study.records(of_study.networks(of))
    return {str(v): only(of, column, v) for v in frame[allowed(column, frame.columns)].unique()}


def count(of: str | Networks, what: str = "kept", stop: str | None = None) -> Number:
    """How many: `kept` (networks at the stop), `total` (before exclusions), `configurations`, a rule's name, or the
    distinct values of a column."""
    some = of_study.networks(of)
    frame, exclusions = of_study.kept(some, stop)
    counts = {"kept": exclusions.kept, "total": exclusions.total, **exclusions.counts}
    counts["configurations"] = len(set(configurations(frame)))
    if what not in counts:
        every = of_study.records(some)
        return Number(every[allowed(what, [*counts, *every.columns], "what")].nunique())
    return Number(counts[what])


def recorded(of: str | Networks, column: str) -> Number:
    """How many networks have a value in a column."""
    frame = of_study.records(of_study.networks(of))
    return Number(frame.loc[frame[allowed(column, frame.columns)].notna(), "key"].nunique())


def setting(of: str | Networks, column: str) -> Number | Words:
    """The one value that all networks have in a column. Raises InputError where they have several."""
    found = settings(of, column)
    if len(found) != 1:
        raise InputError(f"{column}: {len(found)} values: a column with one value is allowed; see settings")
    return found[0]


def settings(of: str | Networks, column: str) -> list[Number | Words]:
    """The values of a column, from small to large; `{{ settings(...) }}` prints them with commas."""
    frame = of_study.records(of_study.networks(of))
    values = sorted(frame[allowed(column, frame.columns)].dropna().unique())
    return [Words(v) if isinstance(v, str) or v != round(v) else Number(round(v)) for v in map(_plain, values)]


def span(of: str | Networks, column: str, stop: str | None = None, over: str = "") -> Numbers:
    """Smallest and largest value of a column at a stop, or at "every", or of its ratio to another column; `*` in a name
    takes several."""
    some = of_study.networks(of)
    frame = of_study.records(some) if stop == "every" else of_study.kept(some, stop)[0]
    names = [name for name in frame.columns if fnmatchcase(name, column)] or [allowed(column, frame.columns)]
    there = frame[names].div(frame[allowed(over, frame.columns)], axis=0) if over else frame[names]
    return Numbers({"low": Number(float(there.min().min())), "high": Number(float(there.max().max()))})


def layers_of(of: str | Networks, measure: str) -> list[str]:
    """The layers that a measure was taken in, in the network's order."""
    found = layers(of_study.records(of_study.networks(of)), measure)
    if not found:
        raise InputError(f"measure: {measure}: allowed are those with a column a layer")
    return found


def title(of: str | Networks) -> Words:
    """A study's title."""
    return Words(of_study.source(of_study.networks(of).study).title)


def minutes(of: str | Networks) -> Number:
    """Minutes of wall clock that training and measuring took in all, from the committed timings."""
    timings = of_study.source(of_study.networks(of).study).timings
    return Number(float(timings["seconds"].sum()) / 60, decimals=1)


def provenance(of: str | Networks, column: str) -> Words:
    """What a `prov.` column says, each once, the first twelve characters: commits, machines."""
    frame = of_study.records(of_study.networks(of))
    return Words(", ".join(sorted({str(v)[:12] for v in frame[allowed(column, frame.columns)].dropna()})))


def benchmark(case: str, peer: str, column: str = "time_ratio") -> Number:
    """A number of the committed benchmark of curvature: seconds, time_ratio, memory_ratio, peak_bytes or error."""
    found = pd.DataFrame(json.loads(BENCHMARK.read_text(encoding="utf-8"))["rows"])
    for name, wanted in (("case", case), ("peer", peer)):
        found = found[found[name] == allowed(wanted, found[name].unique(), name)]
    return Number(float(found.iloc[0][allowed(column, found.columns)]))


def coverage() -> pd.DataFrame:
    """The committed table of simulated coverage: a row a design and correlation."""
    return simulated.coverage()


def covered(column: str) -> Numbers:
    """A column of that table's file, such as tau_b or bca: shares of simulated studies by design and r."""
    found = pd.DataFrame(simulated.measured()["rows"])
    shares = found[allowed(column, found.columns[2:])]
    return Numbers({f"{d}, r {r:g}": Number(x) for d, r, x in zip(found["design"], found["r"], shares, strict=True)})


def _plain(v: Any) -> Any:
    return v.item() if hasattr(v, "item") else v
