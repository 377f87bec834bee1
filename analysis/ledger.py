"""Anybody's ledger (hp.*, complexity.*, gen.gap, is.converged, seed) through every table and figure of this package."""

from __future__ import annotations

from pathlib import Path

from analysis.load import InputError, Source, read_ledger, read_records


def load_ledger(path: Path) -> Source:
    """Read a ledger, or a records file, as a study named after the file. Raises InputError when it is neither."""
    name = path.stem
    try:
        frame = read_ledger(path)
    except InputError as not_ledger:
        try:
            frame = read_records(path)
        except InputError:
            raise not_ledger from None
    return Source(name, name.replace("_", " "), frame, path)
