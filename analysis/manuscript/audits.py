"""What a text says of a study's invariance audit: verdicts that a claim is held to, largest changes, measures alike."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

import pandas as pd

from analysis.load import InputError
from analysis.manuscript import networks as of_study
from analysis.manuscript.networks import allowed
from analysis.manuscript.number import Number, Numbers, Words
from analysis.statistics.invariance import KINDS, TRANSFORMS, by_network
from analysis.tables.audit import verdict
from analysis.vocabulary import measure_words, ordered

Some = str | Iterable[str]
_EVERY = "every"


def audited(of: str, what: str, measures: Some, transforms: Some = _EVERY, networks: Some = _EVERY) -> bool:
    """Whether the verdict on all these measures is `what`, one of KINDS, under all these changes of all these networks.

    A change that a network does not have (folding, without batch-norm) is not asked about.
    """
    rows = _rows(of, measures, transforms, networks)
    return bool((rows["kind"] == allowed(what, KINDS, "what")).all())


def largest_changes(of: str, measures: Some, transforms: Some = _EVERY, networks: Some = _EVERY) -> Numbers:
    """The largest relative change of each measure, change and network; what lost its value is left out."""
    rows = _rows(of, measures, transforms, networks).dropna(subset=["change"])
    places = zip(rows["measure"], rows["transform"], rows["network"], strict=True)
    return Numbers({" ".join(place): Number(float(x)) for place, x in zip(places, rows["change"], strict=True)})


def at_factor(
    of: str, column: str, measure: str, transform: str, factors: Some = _EVERY, networks: Some = _EVERY
) -> Numbers:
    """A column of the audit's rows, its size, each place and factor: relative_change, tolerance, before or after."""
    rows = of_study.source(of_study.networks(of).study).audit
    asked = {"measure": measure, "transform": transform, "factor": factors, "model": networks}
    for name, some in asked.items():
        rows = rows[rows[name].isin(_named(rows[name].unique(), some, name))]
    values = rows[allowed(column, rows.columns)].abs()
    return Numbers({str(at): Number(float(x)) for at, x in values.dropna().items()})


def audit_count(of: str, what: str = "measures") -> Number:
    """How many: measures, networks (kinds of them), changes of networks, or measures that are the same under `all`."""
    found, frame = _found(of_study.networks(of).study), of_study.source(of_study.networks(of).study).audit
    counts = {
        "measures": found["measure"].nunique(),
        "networks": found["network"].nunique(),
        "changes": len(frame[frame["measure"] == frame["measure"].iloc[0]]),
        "all": int((found["kind"] == "same").groupby(found["measure"]).all().sum()),
    }
    return Number(counts[allowed(what, counts, "what")])


def alike(of: str) -> pd.DataFrame:
    """The audit's table with one row for all measures that have the same verdicts on every network: how many, which.

    Of these the largest change. Those that nothing moves stand first, then by how few changes they survive.
    """
    found = _found(of_study.networks(of).study)
    kinds = found.set_index(["measure", "transform", "network"])["kind"]
    groups = pd.Series({label: tuple(kinds[label].items()) for label in ordered(found["measure"].unique())})
    columns = [t for t in TRANSFORMS if t in set(found["transform"])]
    rows = []
    for group in sorted(groups.unique(), key=lambda group: -sum(kind == "same" for _, kind in group)):
        labels = [str(label) for label, its in groups.items() if its == group]
        some = found[found["measure"].isin(labels)]
        told = [verdict(some[some["transform"] == t]) for t in columns]
        rows.append([Words("; ".join(map(measure_words, labels))), len(labels), *map(Words, told)])
    return pd.DataFrame(rows, columns=pd.Index(["measures", "n", *columns]))


@cache
def _found(study: str) -> pd.DataFrame:
    frame = of_study.source(study).audit
    if len(frame) == 0:
        raise InputError(f"audit: {study}: has none: allowed is a study with an audit.csv")
    return by_network(frame)


def _rows(of: str, measures: Some, transforms: Some, networks: Some) -> pd.DataFrame:
    """Those of `by_network` that are named. Raises InputError for a name that the audit has not, or no row at all."""
    rows = _found(of_study.networks(of).study)
    for column, asked in (("measure", measures), ("transform", transforms), ("network", networks)):
        rows = rows[rows[column].isin(_named(_found(of_study.networks(of).study)[column].unique(), asked, column))]
    if len(rows) == 0:
        raise InputError(f"audit: {measures} {transforms} {networks}: no such change: allowed is one that was tried")
    return rows


def _named(known: Iterable[str], asked: Some, what: str) -> list[str]:
    """Those that are asked for, all of them where `every` is. Raises InputError for one that is not known."""
    wanted = known if asked == _EVERY else [asked] if isinstance(asked, str) else asked
    return [allowed(one, known, what) for one in wanted]
