"""A published study replaced by the same study made anew: the whole of it, or nothing of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from study.config import run_key
from study.grid import Study
from study.names import few
from study.publishing.comparison import Comparison, compare
from study.publishing.publish import BESIDE, fresh_beside, fresh_records
from study.records import column_of
from study.storage.atomic import write_together
from study.storage.paths import audit_file, published_file, records_file, slices_file, timings_file
from study.storage.rows import Row, read_table

SAME_NETWORK = 1e-4  # relative: a slice's middle and the record's training loss, summed in another order

SAME_NORM = 1e-9  # relative: the same numbers, summed in another order
_NORM = "weight_norm_squared"


@dataclass(frozen=True)
class Replacement:
    """What is to stand in the place of a published study: the published files, their new bytes, what that changes."""

    records: Path
    contents: dict[Path, bytes]
    comparison: Comparison

    def write(self) -> None:
        """Write all files or none (see `write_together`)."""
        write_together(self.contents)


def replacement(study: Study, results_root: str | Path | None = None) -> Replacement:
    """Records and what stands beside them in results/<study>, checked to be the whole study; nothing is written.

    Raises ValueError, one line, naming what is missing: a run of the config at one of its stops, a stop that is
    published, a measure of the config, or the timings, slices, audit, searches or repeats of
    these networks.
    """
    target = published_file(study.name)
    fresh, published = fresh_records(study, results_root), read_table(target)
    _check_whole(study, fresh, published, records_file(study.name, results_root))
    contents = {target: records_file(study.name, results_root).read_bytes()}
    timings = timings_file(study.name, results_root)
    _check_timings(timings, fresh)
    contents[published_file(study.name, "timings")] = timings.read_bytes()
    slices = slices_file(study.name, results_root)
    if slices.exists() or published_file(study.name, "slices").exists():
        _check_slices(study, slices, fresh)
        contents[published_file(study.name, "slices")] = slices.read_bytes()
    audit = audit_file(study.name, results_root)
    if audit.exists() or published_file(study.name, "audit").exists():
        _check_audit(study, audit, fresh, results_root)
        contents[published_file(study.name, "audit")] = audit.read_bytes()
    for kind, file in BESIDE.items():
        source, kept = file(study.name, results_root), published_file(study.name, kind)
        if source.exists() or kept.exists():
            if not fresh_beside(source, {(row["key"], row["stop"]) for row in fresh}):
                said = f"holds no {kind}, and the published ones are of the old networks"
                raise ValueError(f"{source}: {said}; allowed with --replace: those of the new ones (study {kind})")
            contents[kept] = source.read_bytes()
    return Replacement(target, contents, compare(published, fresh))


def _check_whole(study: Study, fresh: list[Row], published: list[Row], source: Path) -> None:
    wanted = {(run_key(config), stop) for config in study.runs for stop in config.stops}
    there = {(row["key"], row["stop"]) for row in fresh}
    if missing := wanted - there:
        raise ValueError(
            f"{source}: {len(missing)} of {len(wanted)} rows are missing: {few(sorted(map(' '.join, missing)))}; "
            "allowed with --replace: every run of the study at each of its stops (study run, then study records)"
        )
    if others := there - wanted:
        raise ValueError(
            f"{source}: {len(others)} rows are of no run of {study.path}: {few(sorted(map(' '.join, others)))}; "
            "allowed with --replace: the runs of the study alone (study records)"
        )
    if gone := {row["stop"] for row in published} - {stop for _, stop in there}:
        raise ValueError(
            f"{source}: published stops are missing: {few(sorted(gone))}; allowed with --replace: every stop that is "
            f"published (stops of {study.path}), or a study of another name"
        )
    if unmeasured := {label for label in study.measures if column_of(label) not in fresh[0]}:
        raise ValueError(
            f"{source}: measures are missing: {few(sorted(unmeasured))}; allowed with --replace: every measure of the "
            "study (study run, then study records)"
        )


def _check_timings(timings: Path, fresh: list[Row]) -> None:
    """Seconds of the same runs: those of the networks that were replaced are of another machine, or other code."""
    mine, theirs = {row["key"] for row in fresh}, {row["key"] for row in read_table(timings)}
    if differing := mine ^ theirs:
        raise ValueError(
            f"{timings}: its runs are not those of the records: {len(differing)} runs are in one of the two: "
            f"{few(sorted(differing))}; allowed with --replace: the timings of the same runs (study records)"
        )


def _check_slices(study: Study, slices: Path, fresh: list[Row]) -> None:
    """In the middle of a slice stands the training loss of its network: slices of earlier weights are told by it."""
    losses = {(row["key"], row["stop"]): row["train.loss"] for row in fresh}
    ends = {run_key(config): losses[run_key(config), config.stops[-1]] for config in study.runs}
    middles = [(r["key"], r["loss"]) for r in read_table(slices) if r["transform"] == "none" and float(r["alpha"]) == 0]
    allowed = "allowed with --replace: slices of the new networks (study slice)"
    if not middles:
        raise ValueError(f"{slices}: holds no slice, and those published are of the old networks; {allowed}")
    for key, loss in middles:
        recorded = ends.get(key, "")
        if not recorded or not math.isclose(float(loss), float(recorded), rel_tol=SAME_NETWORK):
            raise ValueError(
                f"{slices}: {key}: is of other weights: its training loss is {loss}, the records have "
                f"{recorded or 'none'}; {allowed}"
            )


def _check_audit(study: Study, audit: Path, fresh: list[Row], results_root: str | Path | None) -> None:
    """An audit of earlier weights is told by their norm, which needs no data, where the records have it."""
    recorded = {(row["key"], row["stop"]): row.get(f"measure.{_NORM}", "") for row in fresh}
    rows = fresh_beside(audit, recorded)
    allowed = "allowed with --replace: an audit of the new networks (study audit)"
    if not rows:
        raise ValueError(f"{audit}: holds no audit, and the published one is of the old networks; {allowed}")
    for row in rows:
        norm = recorded[row["key"], row["stop"]]
        if row["measure"] == _NORM and norm and not math.isclose(float(row["before"]), float(norm), rel_tol=SAME_NORM):
            said = f"its {_NORM} is {row['before']}, the records have {norm}"
            raise ValueError(f"{audit}: {row['key']}: is of other weights: {said}; {allowed}")
