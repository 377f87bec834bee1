"""Published numbers beside ours, from the committed records alone: analysis/studies/*.yaml against analysis/records/.

A study whose records are not committed says so: nothing is compared with a number that nobody can check.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from analysis.load import read_records
from analysis.statistics.coefficients import RESAMPLES
from analysis.studies.reader import read_shown, studies_with_files
from analysis.tables.published import METHOD, TITLE, compared
from study.storage.paths import SHOWN, published_file

_NOTE = " From the committed records alone; deviations from each protocol: configs/README.md, and the paper."


def verify(folder: Path = SHOWN, records: Path | None = None, resamples: int = RESAMPLES) -> pd.DataFrame:
    """Compare everything published with `records` (default: the committed ones); one row a claim, stop and rules.

    Columns: study, item, measure, stop, rules, published, ours with .low and .high, n, configurations, verdict, source.
    """
    rows: list[dict[str, object]] = []
    for shown in [read_shown(study, folder) for study in studies_with_files(folder)]:
        file = records / f"{shown.study}.csv" if records else published_file(shown.study)
        frame = read_records(file) if shown.published and file.is_file() else None
        for source in shown.published:
            found = compared(frame, source, shown.rules, resamples)
            rows += [{"study": shown.study, **row, "source": source.source} for row in found]
    table = pd.DataFrame(rows)
    table.attrs |= {"title": TITLE, "note": METHOD.format(resamples=f"{resamples:,}") + _NOTE}
    return table
