"""What each measure of a frame looks like: a colour and a marker that no other has, the same in every figure of it.

The measures that the vocabulary knows have theirs for good: a colour a family, a marker a measure, of many a letter.
Any others, a ledger's own, are given what is left, in their order: the first seven differ in both, any number in one of
the two.
"""

from __future__ import annotations

import string
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd

from analysis.columns import measures
from analysis.drawing.style import BLACK, BLUE, CYCLE, GREEN, MARKERS, ORANGE, PURPLE, RED, SKY
from analysis.vocabulary import MEASURES, family, ordered
from study.names import Label

_FAMILIES = {
    "relative flatness": BLUE,
    "flatness of 2019": SKY,
    "Hessian": RED,
    "perturbation": PURPLE,
    "norm": GREEN,
    "output": ORANGE,
    "history": BLACK,
}
_MARKERS = {
    "relative_flatness": "o",
    "hessian_trace": "o",
    "fisher_rao_norm": "o",
    "weight_norm_squared": "o",
    "inverse_margin": "o",
    "relative_flatness_normalized": "s",
    "kappa_2019": "^",
    "rho_max": "v",
    "rho_sum": "P",
    "lambda_max": "D",
    "pac_bayes_flatness": "s",
    "distance_from_init": "s",
    "train_loss": "s",
}
_FIRST = 3  # of the markers: from here on the first seven are no known measure's


class Look(NamedTuple):
    """A measure's colour and marker."""

    colour: str
    marker: str

    @property
    def point(self) -> str:
        """The marker where a name stands beside it: a letter would say no more than a point."""
        return "o" if self.marker.startswith("$") else self.marker


@dataclass(frozen=True)
class Looks:
    """The looks of a frame's measures; a layer and a transform look like their measure."""

    by_name: Mapping[str, Look]

    def of(self, label: str) -> Look:
        """The look of a measure of the frame, whatever its layer and transform."""
        return self.by_name[Label.parse(label).name]


def looks(frame: pd.DataFrame) -> Looks:
    """Looks of all measures that a records frame has columns of, so that every figure of it shows them alike."""
    return looks_of(measures(frame))


def looks_of(labels: Iterable[str]) -> Looks:
    """Looks of these measures: what the vocabulary says, for others the first that is free (of their family's colour).

    Known ones are taken whether or not they are among the labels: another study's figures show them.
    """
    found = _known()
    for label in ordered(labels):
        name = Label.parse(label).name
        if name not in found:
            wanted = _FAMILIES.get(family(name))
            taken = set(found.values())
            found[name] = next(look for look in distinct() if look not in taken and wanted in (None, look.colour))
    return Looks(found)


def _known() -> dict[str, Look]:
    """Looks of the vocabulary's measures: the marker that one has, else the next letter of its family."""
    found: dict[str, Look] = {}
    lettered = dict.fromkeys(_FAMILIES, 0)
    for name in MEASURES:
        kind = family(name)
        if name not in _MARKERS:
            lettered[kind] += 1
        found[name] = Look(_FAMILIES[kind], _MARKERS.get(name) or f"${string.ascii_letters[lettered[kind] - 1]}$")
    return found


def distinct() -> Iterator[Look]:
    """Every pair of a colour and a marker, without end: each round has every colour, each time with another marker."""
    turn = 0
    while True:
        for at, colour in enumerate(CYCLE):
            known = MARKERS[(at + turn + _FIRST) % len(MARKERS)]
            yield Look(colour, known if turn < len(MARKERS) else f"${turn}$")  # a numeral
        turn += 1
