"""Pure functions from records to tables, figures, a report page and a paper: frames in, frames out.

    results/<study>/records.csv   (or the committed analysis/records/<study>.csv, or anybody's ledger)
      v  load.py                  one shape of frame
      v  exclude.py               named rules, each with its count
      v  statistics/              numbers: one question a file; its folders, from the ground up, say what they import
      v  tables/*, figures/*      build(frame) -> DataFrame | Figure, found by file name
    make.py, verify.py, page/ (HTML), manuscript/ (the paper)

    >>> from analysis import kendall, granulated, sign_error        # each takes a records frame of one stop

Nothing here reads a clock for a number, uses the global random state or imports torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analysis.load import load_study, read_ledger, read_records
    from analysis.statistics.association.correlation import correlate, kendall
    from analysis.statistics.association.differences import differences
    from analysis.statistics.association.partial import partial
    from analysis.statistics.association.permutation import permutation
    from analysis.statistics.grid.granulated import granulated
    from analysis.statistics.grid.information import information
    from analysis.statistics.grid.scopes import by_scope
    from analysis.statistics.grid.sign_error import sign_error

_HOME = {
    "kendall": "statistics.association.correlation",
    "correlate": "statistics.association.correlation",
    "granulated": "statistics.grid.granulated",
    "sign_error": "statistics.grid.sign_error",
    "information": "statistics.grid.information",
    "partial": "statistics.association.partial",
    "permutation": "statistics.association.permutation",
    "differences": "statistics.association.differences",
    "by_scope": "statistics.grid.scopes",
    "load_study": "load",
    "read_ledger": "load",
    "read_records": "load",
}

__all__ = [
    "by_scope",
    "correlate",
    "differences",
    "granulated",
    "information",
    "kendall",
    "load_study",
    "partial",
    "permutation",
    "read_ledger",
    "read_records",
    "sign_error",
]


def home(name: str) -> str:
    """The module of a public name, e.g. "analysis.statistics.association.correlation"."""
    return f"analysis.{_HOME[name]}"


def __getattr__(name: str) -> Any:
    """Import a public name at its first use, so that a command that needs one part starts quickly."""
    if name in _HOME:
        return getattr(import_module(home(name)), name)
    raise AttributeError(f"module 'analysis' has no attribute {name!r}")
