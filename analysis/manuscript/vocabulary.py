"""What a text's template may say: every function here is a word of it, and nothing else is.

`of` is a study's name, or what `only` and `without` made of one. A table is a file of analysis/tables, or `published`;
`stop` defaults to the lowest training loss, `target` to the loss gap, `rules` to the default exclusions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd

from analysis import vocabulary
from analysis.load import InputError
from analysis.manuscript import networks as of_study
from analysis.manuscript.audits import alike, at_factor, audit_count, audited, largest_changes
from analysis.manuscript.coefficient import (
    across,
    at_stops,
    coefficient,
    difference,
    q_of_zero,
    row_of,
    stops_of,
    value,
    within_setting,
)  # fmt: skip
from analysis.manuscript.facts import (
    benchmark,
    count,
    coverage,
    covered,
    extreme,
    layers_of,
    less,
    minutes,
    only,
    parts,
    provenance,
    recorded,
    setting,
    settings,
    span,
    title,
    without,
)  # fmt: skip
from analysis.manuscript.layer_table import decided, layers_at_stop, layers_by_stop
from analysis.manuscript.networks import Networks, allowed
from analysis.manuscript.number import Number, Numbers, Words, grid
from analysis.manuscript.wording import in_words, side_of_zero
from analysis.statistics.beside.published import Claim, rounded_from, verdict
from analysis.studies.reader import read_shown, studies_with_files


def numbers(several: Iterable[Number]) -> Numbers:
    """Numbers put together by hand, to ask for their range: `numbers([...]).range`."""
    return Numbers({str(at): x for at, x in enumerate(several)})


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


def agreement(x: Number, published: Number | float) -> Words:
    """What `verify` says of a published number beside ours: agrees, ours is lower, ours is higher, uninformative."""
    claim = Claim("", "", "pearson", _as_printed(published))
    return Words(verdict(claim, float(x), x.low, x.high).split(":")[0])


def holds(x: Number, number: Number | float) -> bool:
    """Whether a number, with all that round to it, lies in our interval, be it ever so wide."""
    least, most = rounded_from(_as_printed(number))
    return x.low <= least and most <= x.high


def _as_printed(number: Number | float) -> str:
    return f"{float(number):.{number.decimals}f}" if isinstance(number, Number) else str(number)


def which(xs: Numbers, what: str) -> Words:
    """The places at which `side` says so, in words: "every stop", "no stop", or "loss_0.1 and epoch_20"."""
    sides = {at: str(side(x)) for at, x in xs.items()}
    allowed(what, ("above zero", "holds zero", "below zero", "without"), "what")
    return Words(in_words([at for at, said in sides.items() if said == what], sides))


def stops_where(of: str | Networks, table: str, column: str, what: str, measure: str, **where: object) -> Words:
    """The stops at which a column of words, such as a verdict, begins with `what`."""
    found = of_study.rows(of, table, {"stop": "every"} | row_of(measure, where))
    said = found[allowed(column, found.columns)].astype(str).str.startswith(what)
    return Words(in_words(found.loc[said, "stop"], found["stop"]))


def claim(words: str, *held: bool) -> str:
    """The words, as long as what they say is so. Raises InputError, where it no longer is, so that they are mended."""
    if not held or not all(held):
        raise InputError(f"claim: {words}: the records no longer say so: mend the sentence")
    return words


def main_stop(of: str | Networks) -> Words:
    """The stop that is meant where none is named: the lowest training loss."""
    return Words(of_study.stop_of(of_study.networks(of)))


def published(study: str, measure: str) -> Number | Words:
    """What is published about a measure, as the study's file in analysis/studies has it: a number, or words."""
    found = of_study.rows(study, "published", {"measure": measure, "stop": "every"})["published"].iloc[0]
    if not found.replace(".", "", 1).isdigit():
        return Words(found)
    return Number(float(found), decimals=len(found.partition(".")[2]))


def published_claims() -> Number:
    """How many published statements are compared with ours, of all studies."""
    sources = [source for study in studies_with_files() for source in read_shown(study).published]
    return Number(sum(len(source.claims) for source in sources))


def measure_words(label: str) -> Words:
    """A measure as every table calls it."""
    return Words(vocabulary.measure_words(label))


def target_words(column: str) -> Words:
    """A gap as every table calls it."""
    return Words(vocabulary.target_words(column))


WORDS = {
    word.__name__: word
    for word in (
        value, across, coefficient, difference, q_of_zero, at_stops, layers_at_stop, layers_by_stop,
        decided, only, without, extreme, less, parts, numbers, count, recorded, setting, settings, span, table,
        headline, grid, side, order, agreement, holds, which, stops_where, claim, layers_of, stops_of, measure_words,
        target_words, title, main_stop, published, published_claims, within_setting, minutes, provenance, benchmark,
        coverage, covered, audited, largest_changes, at_factor, audit_count, alike,
    )
}  # fmt: skip
