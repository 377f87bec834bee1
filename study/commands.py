"""What each command of `python -m study` does, and what it prints."""

from __future__ import annotations

import argparse
import math
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from study.config import ConfigError, run_key
from study.device import check_device
from study.grid import Study, shards
from study.planning import plan as planning
from study.study_file import StudyFileError

if TYPE_CHECKING:
    from study.display import Display
    from study.planning.plan import Plan
    from study.tracking.live import Live


def reference() -> int:
    """Write the generated references; prints their paths."""
    from study.reference.pages import write

    for path in write():
        print(path)
    return 0


def restore(archive: Path, runs: Path) -> int:
    """Put an archive's runs under `runs`; prints how many."""
    from study.archive import restore

    done = restore(archive, runs)
    print(f"{runs}: {done.n_runs} runs of {done.study}, all checked; {done.n_written} files written")
    return 0


def ledger(options: argparse.Namespace) -> int:
    """Measure anybody's networks as a models.yaml says, and write their ledger."""
    from study.display import every_few_seconds
    from study.ledger.file import read_ledger_file
    from study.ledger.table import write_ledger
    from study.ledger.taking import make_plan, show_plan, take
    from study.storage.paths import results_folder

    check_device(options.device)
    file = read_ledger_file(options.models)
    try:
        plan = make_plan(file, options.results)
    except ConfigError as error:
        raise StudyFileError(file.path, error) from None
    show_plan(plan, results_folder(plan.file.name, options.results))
    if options.dry_run:
        return 0
    progress = every_few_seconds()
    try:
        failed = take(plan, options.device, progress)
        progress("")
    except KeyboardInterrupt:
        failed = []
        print("\nstopped; what is measured is kept, the same command goes on from here", file=sys.stderr)
    if failed:
        print(f"{len(failed)} values recorded as missing, the reason beside each; the first: {failed[0]}")
    path, n = write_ledger(plan, options.results)
    following = f"; next: python -m analysis ledger {path}" if n else ", not written yet"
    print(f"{path}: {n} of {len(plan.file.networks)} networks{following}")
    return 0 if n == len(plan.file.networks) else 1


def _archive(study: Study, options: argparse.Namespace) -> int:
    from study.archive import pack
    from study.storage.folders import usable

    usable("target", options.target.parent, write=True)
    done = pack(study, options.runs, options.target)
    print(f"{options.target}: {done.n_runs} runs, {done.n_files} files, {done.n_bytes / 1e6:.1f} MB of {options.runs}")
    print(f"sha256 {done.sha256}")
    if done.n_left:
        print(f"{done.n_left} of {len(study.runs)} runs are not trained and not in it")
    return 1 if done.n_left else 0


def _plan(study: Study, options: argparse.Namespace) -> int:
    _show(_made(study, options), options)
    return 0


def _made(study: Study, options: argparse.Namespace) -> Plan:
    from study.display import every_few_seconds

    check_device(options.device)
    return planning.make(
        study.on(options.device),
        options.runs,
        skip_published=options.skip_published,
        device=options.device,
        progress=every_few_seconds(after=2),
    )


def _show(plan: Plan, options: argparse.Namespace) -> None:
    planning.show(plan)
    print(f"  folders   {options.folders}", flush=True)


def _fetch(study: Study, options: argparse.Namespace) -> None:
    from study.data.fetch import fetch
    from study.storage.paths import data_folder

    names = fetch(config.dataset.name for config in study.runs)
    for name in names:
        print(f"{name:<9} is in {data_folder().resolve()}")
    if not names:
        print("nothing to download: its data sets are made here or come with a package")


def _run(study: Study, options: argparse.Namespace) -> int:
    from study.data.fetch import fetch
    from study.display import Display
    from study.tracking.mirror import mirror
    from study.tracking.server import check

    if options.minutes is not None and not 0 < options.minutes < math.inf:
        raise ValueError(f"--minutes: {options.minutes!r}: allowed: a number > 0")
    check(options.wandb)
    plan = _made(study, options)
    _show(plan, options)
    fetch(config.dataset.name for shard in plan.to_do for config in shard.runs)
    live = _live(study, options) if options.wandb == "online" and plan.to_do else None
    with Display(plan.n_to_do, options.minutes) as display:
        ended, failed = _train(plan, options, display)
    if failed:
        print(f"{len(failed)} values recorded as missing, the reason beside each; the first: {failed[0]}")
    if not ended and display.out_of_time:
        left = planning.n_left(plan, options.runs)
        print(
            f"{options.minutes:g} minutes are over: all is saved, {left} of {len(study.runs)} runs are left; "
            "the same command goes on from here"
        )
        return 0
    if live is not None:
        live.wait()
    mirrored = mirror(study.runs, study.measures, options.runs, study.name, options.wandb, options.results)
    for problem in mirrored.problems:
        print(f"wandb: {problem}", file=sys.stderr)
    if not ended:
        print("stopped at a checkpoint; the same command goes on from here")
        return 1
    return _records(study, options)


def _live(study: Study, options: argparse.Namespace) -> Live:
    """wandb shows the runs while they train."""
    from study.hyperparameter import changed_seams, differing
    from study.tracking.live import Live, Watched
    from study.tracking.mirror import FREE_RATE

    of_study = tuple(changed_seams(study.runs)), tuple(differing(study.runs))
    places = options.runs, study.name, options.results
    return Live(Watched(study.runs, study.measures, *places, FREE_RATE, *of_study))


def _train(plan: Plan, options: argparse.Namespace, display: Display) -> tuple[bool, list[str]]:
    """Do shard after shard: whether all was done, and a line for each value that is recorded as missing."""
    from study.display import StoppedWaiting
    from study.run import run_shard
    from study.storage import lease

    failed: list[str] = []
    for shard in plan.to_do:
        keys = [run_key(config) for config in shard.runs]
        try:
            held = lease.acquire(options.runs, keys, f"study run {os.getpid()}", on_wait=display.waiting)
        except StoppedWaiting:
            if display.out_of_time:
                return False, failed
            raise
        with held:
            report = run_shard(
                shard.runs, plan.study.measures, runs_root=options.runs, device=options.device, guard=held.check,
                should_stop=display.stop_requested, progress=display, test_curve=options.test_curve,
            )  # fmt: skip
        failed += report.failed
        if report.interrupted:
            return False, failed
    return True, failed


def _records(study: Study, options: argparse.Namespace) -> int:
    from study.records import collect

    path, missing = collect(study, options.runs, options.results)
    n, not_done = len(study.runs), f", {missing} not done" if missing else ""
    print(f"{path}: {n - missing} of {n} runs{not_done} in {options.runs}")
    return 1 if missing else 0


def _publish(study: Study, options: argparse.Namespace) -> None:
    if options.replace:
        _replace(study, options)
        return
    if options.dry_run:
        raise ValueError("--dry-run: allowed with --replace")
    from study.publishing.publish import publish

    path, added = publish(study, options.results)
    print(f"{path}: {added} rows added of {options.results / study.name}; review and commit it")


def _replace(study: Study, options: argparse.Namespace) -> None:
    from study.publishing.comparison import text
    from study.publishing.replace import replacement

    new = replacement(study, options.results)
    print(f"{new.records}: the whole study of {options.results / study.name}\n\n{text(new.comparison)}\n")
    if options.dry_run:
        print("nothing is written (--dry-run)")
        return
    new.write()
    print(f"replaced: {', '.join(path.name for path in new.contents)}; review and commit them together")


def _keys(study: Study, options: argparse.Namespace) -> None:
    for shard in shards(study):
        for config in shard.runs:
            print(run_key(config), shard.id, config)


def _is_newer(slices: Path, weights: Path, key: str) -> bool:
    """Whether slices.csv is of this run, and was written after its weights; then it is not worth torch's import."""
    if not slices.exists() or slices.stat().st_mtime_ns < weights.stat().st_mtime_ns:
        return False
    lines = slices.read_text(encoding="utf-8").splitlines()
    return len(lines) > 1 and lines[1].startswith(f"{key},")


def _slice(study: Study, options: argparse.Namespace) -> None:
    from study.state import finished
    from study.storage.paths import RunPaths, slices_file

    config = finished(study.runs, options.runs, study.name)[0]
    paths, path = RunPaths(options.runs, run_key(config)), slices_file(study.name, options.results)
    if not _is_newer(path, paths.stop(config.stops[-1]).weights, paths.key):
        from study.slices import write_slices

        write_slices(study.name, config, options.runs, options.results)
    print(f"{path}: of run {paths.key} in {options.runs}")


def _audit(study: Study, options: argparse.Namespace) -> int:
    for option in ("networks", "images", "places"):
        if (given := getattr(options, option)) is not None and given < 1:
            raise ValueError(f"--{option}: {given}: allowed: an integer > 0")
    from study.audit.write import make, write
    from study.data.fetch import fetch

    plan = make(study, options.runs, options.networks, options.images, options.measures == "all", options.places)
    plan.show()
    fetch(config.dataset.name for config in plan.networks)
    path, refused = write(plan, options.runs, options.results)
    for line in refused:
        print(f"refused: {line}", file=sys.stderr)
    print(f"{path}: {len(plan.networks)} of {len(study.runs)} networks; table and figure: python -m analysis")
    return 1 if refused else 0


def _searches(study: Study, options: argparse.Namespace) -> None:
    from study.again.commands import searches

    searches(study, options)


def _repeats(study: Study, options: argparse.Namespace) -> None:
    from study.again.commands import repeats

    repeats(study, options)


COMMANDS = {
    "slice": _slice,
    "audit": _audit,
    "searches": _searches,
    "repeats": _repeats,
    "plan": _plan,
    "fetch": _fetch,
    "run": _run,
    "records": _records,
    "publish": _publish,
    "keys": _keys,
    "archive": _archive,
}
