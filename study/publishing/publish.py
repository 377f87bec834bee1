"""The published copy of a study's records: reviewed, committed, and there when the machine that made it is not."""

from __future__ import annotations

from collections.abc import Container
from pathlib import Path

from study.config import run_key
from study.grid import Study
from study.measures import Own
from study.names import MEAN_SHIFT, SHIFTED, Label, few, images_of, label_of
from study.records import column_of, in_order, shift_means, timed_as
from study.storage.atomic import write_together
from study.storage.paths import (
    audit_file,
    published_file,
    records_file,
    repeats_file,
    searches_file,
    slices_file,
    timings_file,
)
from study.storage.rows import Row, read_table, rows_bytes

BESIDE = {"searches": searches_file, "repeats": repeats_file}  # a row a key, stop and measure
IMAGES = "n.measured"  # of a row: on how many training images it is measured; empty for all
AUDITED = ("key", "stop", "measure", "transform", "place", "factor")  # what a row of the audit is of


class RecordsConflict(ValueError):
    """A published row and a fresh one of the same run and stop disagree."""


def publish(study: Study, results_root: str | Path | None = None) -> tuple[Path, int]:
    """Merge results/<study>/records.csv into analysis/records/<study>.csv by key and stop; the path and rows added.

    The rows of audit.csv beside it likewise, by key, stop, measure, transformation, place and factor. Rows that agree
    stay, with cells that only one side has filled in; a number that differs is refused with RecordsConflict, naming row
    and column, and nothing is written. So are measures of another number of images than the row has others of. Where
    shifts are added the means over shifts are taken anew, of all that the row has then. Provenance stays that of the
    row first published, but for the code of one's own measure whose value came later; `prov.measured` has the commits
    of both. Of searches.csv and repeats.csv the fresh rows take the place of those of the same key, stop and measure.
    All published files are written, or none (see `write_together`).
    """
    fresh, target = fresh_records(study, results_root), published_file(study.name)
    published = {(r["key"], r["stop"]): r for r in read_table(target)}
    known = {run_key(config) for config in study.runs} | {key for key, _ in published}
    if others := sorted({row["key"] for row in fresh} - known):
        said = f"{len(others)} runs are of no row of {study.path}: {few(others)}"
        raise ValueError(f"{records_file(study.name, results_root)}: {said}; allowed: the study's own (study records)")
    n_before = len(published)
    for row in fresh:
        place = (row["key"], row["stop"])
        published[place] = _merged(published.get(place, {}), row, f"{target}: row {place[0]} {place[1]}")
    beside = {kind: _beside(kind, study.name, set(published), results_root) for kind in BESIDE}
    beside["audit"] = _audits(study.name, set(published), results_root)
    beside["timings"], beside["slices"] = _timings(study.name, results_root), _slices(study.name, results_root)
    files = {published_file(study.name, kind): rows for kind, rows in beside.items() if rows}
    files[target] = in_order(list(published.values()))
    write_together({path: rows_bytes(rows) for path, rows in files.items()})
    return target, len(published) - n_before


def fresh_records(study: Study, results_root: str | Path | None = None) -> list[Row]:
    """The rows of results/<study>/records.csv. Raises ValueError where there are none, or one of uncommitted code."""
    source = records_file(study.name, results_root)
    fresh = read_table(source)
    if not fresh:
        raise ValueError(f"{source}: holds no records; allowed: records of at least one finished run (study records)")
    _check_committed(source, fresh, ("prov.commit", "prov.measured"))
    return fresh


def _check_committed(source: Path, rows: list[Row], columns: tuple[str, ...]) -> None:
    for row in rows:
        for column in columns:
            if "-dirty" in row[column] or "unknown" in row[column]:
                raise ValueError(f"{source}: {column}: {row[column]!r}: allowed: records of committed code")


def fresh_beside(source: Path, places: Container[tuple[str, str]]) -> list[Row]:
    """The rows of audit.csv, searches.csv or repeats.csv of a study's results, none without the file.

    Raises ValueError for one of uncommitted code, or of a run and stop that is not in `places`.
    """
    fresh = read_table(source)
    _check_committed(source, fresh, ("prov.commit",))
    for row in fresh:
        if (row["key"], row["stop"]) not in places:
            allowed = "allowed: runs and stops of the records (study records)"
            raise ValueError(f"{source}: {row['key']} {row['stop']}: is in no records; {allowed}")
    return fresh


def _beside(kind: str, study: str, places: Container[tuple[str, str]], results_root: str | Path | None) -> list[Row]:
    """The published rows of one kind with the fresh ones in their places."""
    rows = [*read_table(published_file(study, kind)), *fresh_beside(BESIDE[kind](study, results_root), places)]
    return list({(row["key"], row["stop"], row["measure"]): row for row in rows}.values())


def _audits(study: str, places: Container[tuple[str, str]], results_root: str | Path | None) -> list[Row]:
    """The published rows of the audit with the fresh ones, a network's together."""
    target = published_file(study, "audit")
    merged = {tuple(row[name] for name in AUDITED): row for row in read_table(target)}
    for row in fresh_beside(audit_file(study, results_root), places):
        place = tuple(row[name] for name in AUDITED)
        merged[place] = _merged(merged.get(place, {}), row, f"{target}: row {' '.join(filter(None, place))}")
    return sorted(merged.values(), key=lambda row: (row["key"], row["stop"]))


def _timings(study: str, results_root: str | Path | None) -> list[Row]:
    """The published seconds, and those of runs, stops and items that are not published yet."""
    rows = read_table(timings_file(study, results_root)) + read_table(published_file(study, "timings"))
    return in_order(list({(row["key"], row["stop"], row["item"]): row for row in rows}.values()))


def _slices(study: str, results_root: str | Path | None) -> list[Row]:
    """The slices that were published first."""
    return read_table(published_file(study, "slices")) or read_table(slices_file(study, results_root))


def _merged(old: Row, new: Row, where: str) -> Row:
    if old and (images := old.get(IMAGES, "")) != new.get(IMAGES, ""):  # a row has measures of one number of images
        raise _conflict(where, IMAGES, images or "all", new.get(IMAGES) or "all")
    merged = dict(new)
    before, now = _shifts(old), _shifts(new)
    of_others = bool(before and now) and before != now  # so the means are of other shifts, and differ
    for name, value in old.items():
        if (name.startswith("prov.") and value) or not new.get(name) or (of_others and name.startswith(MEAN_SHIFT)):
            merged[name] = value
        elif value and value != new[name]:
            raise _conflict(where, name, value, new[name])
    if of_others and now - before:
        merged |= shift_means(merged, before | now)
    added = [n for n in new if old and new[n] and not old.get(n)]
    measures = {label.measure for n in added if (label := label_of(n))}
    merged |= {n: new[n] for n in new if n.removeprefix(Own.PROVENANCE) in measures and n.startswith(Own.PROVENANCE)}
    if measures or any(n.startswith(SHIFTED) for n in added):
        merged["prov.measured"] = "+".join(
            sorted({*old["prov.measured"].split("+"), *new["prov.measured"].split("+")} - {""})
        )
    return merged


def _conflict(where: str, name: str, before: str, now: str) -> RecordsConflict:
    said = f"{where}: {name}: published {before}, now {now}; allowed: the published value"
    return RecordsConflict(f"{said}, or the whole study made anew (--replace; --dry-run shows what changes)")


def _shifts(row: Row) -> set[str]:
    """`gap.shift.<shift>_<severity>` of the shifts that a row has gaps of."""
    named = (name for name, value in row.items() if value and name.startswith(SHIFTED))
    return {name.rpartition(".")[0] for name in named if not name.startswith(MEAN_SHIFT)}


def published_keys(study: Study) -> set[str]:
    """Keys of runs whose rows, for every stop and every measure and shift of the study, are published.

    A measure without a value counts where the timings have it: it was taken, and failed. Of a run that
    diverged none is taken.
    """
    rows = {(row["key"], row["stop"]): row for row in read_table(published_file(study.name))}
    taken = {(row["key"], row["stop"], row["item"]) for row in read_table(published_file(study.name, "timings"))}
    images = str(max(map(images_of, study.measures), default=0))

    def complete(key: str, stop: str) -> bool:
        row = rows.get((key, stop))
        return (
            row is not None
            and (row.get(IMAGES) or "0") == images
            and all(_has(row, label, taken) for label in study.measures)
        )

    return {run_key(c) for c in study.runs if all(complete(run_key(c), stop) for stop in c.stops)}


def _has(row: Row, label: str, taken: Container[tuple[str, str, str]]) -> bool:
    if isinstance(label, Own) and row.get(label.provenance) != label.code:
        return False
    if row.get("train.status") == "diverged":
        return True
    plain = str(Label.parse(label).at(transform="", layer=""))  # taken together with that of the rewritten network
    return bool(row.get(column_of(label))) or all(
        (row["key"], row["stop"], timed_as(item)) in taken for item in (label, plain)
    )
