"""Read a CSV file strictly: nothing is guessed, merged or renamed; what cannot be meant is one line that says where.

A row is named by its line in the file. Empty cells are missing values; `None`, `NA` and `null` are text like any other,
so that levels of a hyperparameter stay apart.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pandas as pd

MISSING = ("", "NA", "NaN", "nan")  # of numbers; of text an empty cell alone
TRUTH = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}


class InputError(ValueError):
    """What a user gave cannot be read; the message is one line: place: field: value: what is allowed."""


@dataclass(frozen=True)
class CsvFile:
    """The cells of a file as text: its header, its rows, and the line that each row ends in."""

    path: Path
    header: list[str]
    rows: list[list[str]]
    lines: list[int]

    def frame(
        self, is_number: Callable[[str], bool], text: tuple[str, ...] = (), truth: tuple[str, ...] = ()
    ) -> pd.DataFrame:
        """The table, of the columns' types: numbers where `is_number`, as they are in `text`, bool in `truth`; others
        become numbers where all cells are. Raises InputError for a cell that is not of its column's type."""
        numbers = [c for c in self.header if is_number(c)]
        frame = pd.read_csv(
            self.path, dtype=dict.fromkeys((*text, *truth), "str"), low_memory=False, keep_default_na=False,
            na_values={c: list(MISSING) if c in numbers else [""] for c in self.header},
        )  # fmt: skip
        for column in numbers:
            if not pd.api.types.is_numeric_dtype(frame[column]) or frame[column].dtype == bool:
                frame[column] = self._numbers(column)
        for column in (c for c in truth if c in self.header):
            frame[column] = [self._truth(column, row, cell) for row, cell in enumerate(self.column(column))]
        return frame

    def column(self, name: str) -> list[str]:
        """The cells of a column."""
        at = self.header.index(name)
        return [row[at] for row in self.rows]

    def refuse(self, row: int, column: str, allowed: str) -> NoReturn:
        """Raise InputError for a cell: file, line, column, value, what is allowed."""
        value = self.rows[row][self.header.index(column)]
        raise InputError(f"{self.path}: line {self.lines[row]}: {column}: {value or 'empty'}: {allowed}")

    def once(self, frame: pd.DataFrame, columns: list[str], row_is: str) -> None:
        """Refuse two rows of `frame`, the table of this file, that are alike in these columns, naming both: 0.1 and
        1e-1 are alike in a column of numbers, unless it has whole ones that a float cannot tell apart."""
        large = [name for name in columns if frame[name].dtype == "float64" and (frame[name].abs() >= 2**53).any()]
        frame = frame.assign(**{name: self.column(name) for name in large})
        again = frame.duplicated(columns).to_numpy()
        if not again.any():
            return
        number = frame.groupby(columns, dropna=False, sort=False).ngroup().to_numpy()
        second = int(again.argmax())
        first = int((number == number[second]).argmax())
        given = ", ".join(f"{name} {self._both(name, first, second)}" for name in columns[:6])
        more = ", ..." if len(columns) > 6 else ""
        where = f"{self.path}: lines {self.lines[first]} and {self.lines[second]}"
        raise InputError(f"{where}: {given}{more}: given twice; {row_is}")

    def _both(self, column: str, first: int, second: int) -> str:
        """What two rows have in a column, once where it is written alike."""
        at = self.header.index(column)
        return " and ".join(dict.fromkeys(self.rows[row][at] or "empty" for row in (first, second)))

    def _numbers(self, column: str) -> pd.Series:
        cells = pd.Series(self.column(column))
        found = pd.to_numeric(cells.mask(cells.isin(MISSING)), errors="coerce")
        bad = found.isna() & ~cells.isin(MISSING)
        if bad.any():
            self.refuse(int(bad.to_numpy().argmax()), column, "a number or an empty cell is allowed")
        return found.astype("float64")

    def _truth(self, column: str, row: int, cell: str) -> bool:
        word = cell.strip().lower()
        if word not in TRUTH:
            self.refuse(row, column, "allowed are True and False")
        return TRUTH[word]


def read_csv_file(path: Path) -> CsvFile:
    """Read the cells of a CSV file with a header. Cost: one pass in Python, about a second for 2 million cells.

    Raises InputError where there is none, where it is not UTF-8, where a column has no name or that of another, where
    a row has not as many cells as the header, and where the last line has no end, since it may have been cut.
    """
    if not path.is_file():
        raise InputError(f"{path}: file: not found: allowed is a CSV file that exists")
    try:
        text = path.read_bytes().decode("utf-8-sig")
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        numbered = [(reader.line_num, row) for row in reader if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: content: {error}: allowed is a CSV table with a header, in UTF-8") from None
    if not numbered or not any(numbered[0][1]):
        raise InputError(f"{path}: content: no columns: allowed is a CSV table with a header")
    header, lines, rows = numbered[0][1], [at for at, _ in numbered[1:]], [row for _, row in numbered[1:]]
    if len(header) == 1 and (other := next((mark for mark in ";\t" if mark in header[0]), "")):
        raise InputError(f"{path}: separator: {other!r}: allowed is a comma")
    _check_header(path, header)
    for line, row in zip(lines, rows, strict=True):
        if len(row) != len(header):
            raise InputError(f"{path}: line {line}: {len(row)} cells: {len(header)} are allowed, as in the header")
    if text[-1] not in "\r\n":
        cell = f"{header[-1]}: {rows[-1][-1]}" if rows else header[-1]
        where = f"{path}: line {lines[-1] if rows else 1}: {cell}"
        raise InputError(f"{where}: the file ends inside this line, as if cut: a line's end is needed")
    if not rows:
        raise InputError(f"{path}: rows: 0: at least one is needed")
    return CsvFile(path, header, rows, lines)


def one_name(path: Path, names: Mapping[str, str]) -> None:
    """Refuse columns that would have one name: `names` says what each column of the file will be called."""
    of: dict[str, str] = {}
    for column, name in names.items():
        if of.setdefault(name, column) != column:
            both = f"{of[name]} and {column}"
            raise InputError(f"{path}: columns: {both}: both would be {name}; one column of a name is allowed")


def _check_header(path: Path, header: list[str]) -> None:
    for at, name in enumerate(header):
        place = f"{path}: line 1: column {at + 1}"
        if name in header[:at]:
            raise InputError(f"{place}: {name}: given twice, first as column {header.index(name) + 1}; one is allowed")
        if name != name.strip() or (at and not name):  # pandas writes its index without a name, in the first column
            raise InputError(f"{place}: {name!r}: allowed is a name, without spaces around it")
