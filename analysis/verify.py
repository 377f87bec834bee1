"""Published numbers beside ours, from the committed records alone: analysis/studies/*.yaml against analysis/records/.

A study whose records are not committed says so: nothing is compared with a number that nobody can check.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from analysis.load import read_records
from analysis.statistics.association.coefficients import RESAMPLES
from analysis.statistics.beside.published import UNINFORMATIVE
from analysis.studies.reader import read_shown, studies_with_files
from analysis.tables.published import METHOD, TITLE, compared
from study.storage.paths import SHOWN, published_file

_NOTE = " From the committed records alone; deviations from each protocol: configs/README.md, and the paper."

_VERDICTS = {
    "agrees": "agrees",
    "lower": "ours is lower",
    "higher": "ours is higher",
    "differs": "differs",
    "uninformative": UNINFORMATIVE,
}


def verify(
    folder: Path = SHOWN, records: Path | None = None, resamples: int = RESAMPLES,
    on_read: Callable[[Path], None] = lambda file: None,
) -> pd.DataFrame:  # fmt: skip
    """Compare everything published with `records` (default: the committed ones); one row a claim, stop and rules.

    `on_read` is told of each file before what it holds is compared, which takes seconds.
    Columns: study, item, measure, stop, rules, published, ours with .low and .high, n, configurations, verdict, source.
    """
    rows: list[dict[str, object]] = []
    for shown in [read_shown(study, folder) for study in studies_with_files(folder)]:
        file = records / f"{shown.study}.csv" if records else published_file(shown.study)
        frame = None
        if shown.published and file.is_file():
            on_read(file)
            frame = read_records(file)
        for source in shown.published:
            found = compared(frame, source, shown.rules, resamples)
            rows += [{"study": shown.study, **row, "source": source.source} for row in found]
    table = pd.DataFrame(rows)
    table.attrs |= {"title": TITLE, "note": METHOD.format(resamples=f"{resamples:,}") + _NOTE}
    return table


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """A row a published statement and rules: at how many stops what was found; of the table that `verify` gives.

    Columns: study, item, rules, published, ours (from the lowest stop to the highest), stops, agrees, lower, higher,
    differs, uninformative, none (not measured, or without an interval).
    """
    rows = []
    for names, part in table.groupby(["study", "item", "rules", "published"], sort=False, dropna=False):
        found = [_kind(verdict) for verdict in part["verdict"]]
        low, high = part["ours"].min(), part["ours"].max()
        ours = "n/a" if pd.isna(low) else f"{low:.2f} to {high:.2f}".replace("-", "−")
        row = dict(zip(("study", "item", "rules", "published"), names, strict=True)) | {"ours": ours}
        rows.append(row | {"stops": len(part)} | {end: found.count(end) for end in (*_VERDICTS, "none")})
    short = pd.DataFrame(rows)
    short.attrs |= {"title": f"{TITLE}: at how many stops"}
    return short


def _kind(verdict: str) -> str:
    return next((kind for kind, begin in _VERDICTS.items() if verdict.startswith(begin)), "none")
