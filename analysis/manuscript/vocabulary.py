"""What a text's template may say: every function here is a word of it, and nothing else is.

`of` is a study's name, or what `only` and `without` made of one. A table is a file of analysis/tables;
`stop` defaults to the lowest training loss, `target` to the loss gap, `rules` to the default exclusions.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import pandas as pd

from analysis import vocabulary
from analysis.columns import configurations, layers, stops
from analysis.load import InputError
from analysis.manuscript import networks as of_study
from analysis.manuscript.networks import Networks, allowed
from analysis.manuscript.number import Number, Numbers, Words, grid
from analysis.manuscript.wording import in_words, side_of_zero
from analysis.statistics.differences import difference as bounds_of
from analysis.statistics.differences import paired
from analysis.studies.reader import read_shown, studies_with_files

BENCHMARK = of_study.ROOT / "tests" / "benchmarks" / "curvature.json"


def value(of: str | Networks, table: str, column: str, measure: str | None = None, **where: object) -> Number | Words:
    """One cell: `value("digits_mlp", "correlation", "tau_b", "hessian_trace")`; further columns name the row."""
    return of_study.cell(of, table, column, _where(measure, where))


def across(
    of: str | Networks, table: str, column: str, measure: str | None = None, by: str = "stop",
    at: str | Sequence[str] = "every", **where: object,
) -> Numbers:  # fmt: skip
    """A column's cells by another column: of every stop, of the stops of a kind (`at="loss"`, `at="epoch"`), or of
    those listed."""
    found = of_study.cells(of, table, column, by, _where(measure, where))
    return Numbers({key: found[allowed(key, found, by)] for key in _chosen(list(found), at)})


def difference(
    of: str | Networks, first: str, second: str, column: str = "tau_b", stop: str | None = None,
    target: str = "gap.loss",
) -> Number:  # fmt: skip
    """The first measure's coefficient less the second's, of the same networks, resampled together."""
    some = of_study.networks(of)
    frame, _ = of_study.kept(some, stop)
    for label in (first, second):
        allowed(f"measure.{label}", frame.columns, "measure")
    a, b = paired(frame, target, first, second)
    allowed(column, a.point)
    bounds = bounds_of(a, b, column)
    return Number(a.point[column] - b.point[column], bounds.low, bounds.high)


def differences(of: str | Networks, pairs: Mapping[str, Sequence[str]], **where: Any) -> Numbers:
    """`difference` of each of several pairs, by the names they are given."""
    return Numbers({name: difference(of, first, second, **where) for name, (first, second) in pairs.items()})


def only(of: str | Networks, column: str, *values: object) -> Networks:
    """The networks with one of these values in a column of the records: `only("digits_mlp", "hp.lr", 0.1)`."""
    return of_study.cut(of, column, values, stay=True)


def without(of: str | Networks, column: str, *values: object) -> Networks:
    """The networks with none of these values in a column of the records."""
    return of_study.cut(of, column, values, stay=False)


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
    """Smallest and largest value of a column at a stop, or of its ratio to another; `*` in a name takes several."""
    frame, _ = of_study.kept(of_study.networks(of), stop)
    names = [name for name in frame.columns if fnmatchcase(name, column)] or [allowed(column, frame.columns)]
    there = frame[names].div(frame[allowed(over, frame.columns)], axis=0) if over else frame[names]
    return Numbers({"low": Number(float(there.min().min())), "high": Number(float(there.max().max()))})


def table(of: str | Networks, name: str, columns: Sequence[str] = (), **where: object) -> pd.DataFrame:
    """A table of analysis, whole or the rows and columns that are named, with its note."""
    found = of_study.rows(of, name, where)
    shown = [c for c in found.columns if not columns or c.split(".low")[0].split(".high")[0] in columns]
    chosen = found[shown]
    chosen.attrs |= found.attrs
    return chosen


def headline(of: str | Networks) -> pd.DataFrame:
    """The table that `python -m analysis report` prints."""
    return of_study.built(of_study.networks(of), "headline")


def side(x: Number) -> Words:
    """Where the interval lies: above zero, below zero, holds zero, or without (no interval)."""
    where = side_of_zero(x.low, x.high)
    return Words(where if where == "without" else f"{where} zero")


def order(x: Number) -> Words:
    """What a paired difference says of the first measure: ahead, behind, or undecided where its interval holds zero."""
    return Words({"above": "ahead", "below": "behind"}.get(side_of_zero(x.low, x.high), "undecided"))


def agreement(x: Number, published: float | str) -> Words:
    """A published number beside ours: agrees where it lies in our interval, else ours is lower, or higher."""
    if x.low <= float(published) <= x.high:
        return Words("agrees")
    return Words("ours is lower" if x < float(published) else "ours is higher")


def which(xs: Numbers, what: str) -> Words:
    """The places at which `side` says so, in words: "every stop", "no stop", or "loss_0.1 and epoch_20"."""
    sides = {at: str(side(x)) for at, x in xs.items()}
    allowed(what, ("above zero", "holds zero", "below zero", "without"), "what")
    return Words(in_words([at for at, said in sides.items() if said == what], sides))


def stops_where(of: str | Networks, table: str, column: str, what: str, measure: str, **where: object) -> Words:
    """The stops at which a column of words, such as a verdict, begins with `what`."""
    found = of_study.rows(of, table, {"stop": "every"} | _where(measure, where))
    said = found[allowed(column, found.columns)].astype(str).str.startswith(what)
    return Words(in_words(found.loc[said, "stop"], found["stop"]))


def claim(words: str, *held: bool) -> str:
    """The words, as long as what they say is so. Raises InputError, where it no longer is, so that they are mended."""
    if not held or not all(held):
        raise InputError(f"claim: {words}: the records no longer say so: mend the sentence")
    return words


def layers_of(of: str | Networks, measure: str) -> list[str]:
    """The layers that a measure was taken in, in the network's order."""
    found = layers(of_study.records(of_study.networks(of)), measure)
    if not found:
        raise InputError(f"measure: {measure}: allowed are those with a column a layer")
    return found


def stops_of(of: str | Networks, kind: str = "every") -> list[str]:
    """The stops: training losses from high to low, then epochs."""
    return _chosen(stops(of_study.records(of_study.networks(of))), kind)


def main_stop(of: str | Networks) -> Words:
    """The stop that is meant where none is named: the lowest training loss."""
    return Words(of_study.stop_of(of_study.networks(of)))


def published(study: str, measure: str) -> Words:
    """What is published about a measure, as the study's file in analysis/studies has it."""
    found = of_study.rows(study, "published", {"measure": measure, "stop": "every"})
    return Words(found["published"].iloc[0])


def published_claims() -> Number:
    """How many published statements are compared with ours, of all studies."""
    sources = [source for study in studies_with_files() for source in read_shown(study).published]
    return Number(sum(len(source.claims) for source in sources))


def stop_words(stop: str) -> Words:
    """A stop in a table's head: loss 0.1, epoch 40."""
    return Words(stop.replace("_", " "))


def measure_words(label: str) -> Words:
    """A measure as every table calls it."""
    return Words(vocabulary.measure_words(label))


def target_words(column: str) -> Words:
    """A gap as every table calls it."""
    return Words(vocabulary.target_words(column))


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


WORDS = {
    word.__name__: word
    for word in (
        value, across, difference, differences, only, without, parts, count, setting, settings, span, table, headline,
        grid, side, order, agreement, which, stops_where, claim, layers_of, stops_of, stop_words, measure_words,
        target_words, title, main_stop, published, published_claims, minutes, provenance, benchmark,
    )
}  # fmt: skip


def _where(measure: str | None, where: Mapping[str, object]) -> dict[str, object]:
    return dict(where) if measure is None else {"measure": measure, **where}


def _chosen(known: list[str], at: str | Sequence[str]) -> list[str]:
    if isinstance(at, str):
        kind = allowed(at, ("every", "loss", "epoch"), "at")
        return known if kind == "every" else [key for key in known if key.startswith(f"{kind}_")]
    return list(at)


def _plain(v: Any) -> Any:
    return v.item() if hasattr(v, "item") else v
