"""What can be shown of a study: tables and figures, found by file name. An item is a question: its table, its figure.

A module of tables/ or figures/ has TITLE, `build(frame, ...)` and, where it is not made of the records, FRAME; and USE,
where it is the headline or a diagnostic rather than what supports the headline. Further parameters of `build` are
options that a study's file may give it (`measures`), what the study's file says of all (`rules`, `published`), the
papers' tables that every study is laid beside (`papers`), the studies beside it (`others`), and how many times is drawn
(`resamples`, `permutations`).
"""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from analysis import figures, tables
from analysis.load import InputError

KINDS = {"figure": figures, "table": tables}  # a picture says it first
OF_STUDY = ("rules", "published", "papers", "others")
COUNTS = ("resamples", "permutations")
USES = {"headline": "Headline", "support": "What supports it", "diagnostic": "Diagnostics"}  # in the order of a page


@dataclass(frozen=True)
class Part:
    """A module of tables/ or figures/: its file name, title and first line, its frame, its builder, what it is for."""

    kind: str
    name: str
    title: str
    about: str
    frame: str
    build: Callable[..., pd.DataFrame | Figure]
    parameters: tuple[str, ...]
    use: str = "support"

    @property
    def options(self) -> tuple[str, ...]:
        """What a study's file may give this part alone."""
        return tuple(name for name in self.parameters[1:] if name not in (*OF_STUDY, *COUNTS))


@dataclass(frozen=True)
class Item:
    """A table, a figure or both of one name, with the options that a study gives them."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def parts(self) -> list[Part]:
        """The figure and the table of this name, those that there are."""
        return [part(kind, self.name) for kind in KINDS if self.name in names(kind)]

    @property
    def use(self) -> str:
        """What it is for, one of USES: the first of what its figure and its table are for."""
        return min((one.use for one in self.parts()), key=list(USES).index)


@cache
def names(kind: str) -> tuple[str, ...]:
    """The names of all figures or tables, in order."""
    return tuple(sorted(found.name for found in pkgutil.iter_modules(KINDS[kind].__path__)))


def every() -> list[str]:
    """The names of all items."""
    return sorted({name for kind in KINDS for name in names(kind)})


@cache
def part(kind: str, name: str) -> Part:
    """One table or figure. Raises InputError, naming those that there are."""
    if name not in names(kind):
        raise InputError(f"{kind}: {name}: allowed are {', '.join(names(kind))}")
    module = import_module(f"{KINDS[kind].__name__}.{name}")
    about = (module.__doc__ or module.TITLE).split("\n\n")[0].replace("\n", " ")
    parameters = tuple(inspect.signature(module.build).parameters)
    frame, use = getattr(module, "FRAME", "records"), getattr(module, "USE", "support")
    return Part(kind, name, module.TITLE, about, frame, module.build, parameters, use)


def parts(kind: str) -> list[Part]:
    """All tables, or all figures, in the order of their names."""
    return [part(kind, name) for name in names(kind)]
