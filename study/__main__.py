"""Command line of the study: argument parsing only."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from study import plan as planning
from study.config import run_key
from study.display import to_the_end
from study.grid import Study, load_study, shards
from study.storage.folders import find_folders

EPILOG = """examples:
  python -m study plan configs/digits_mlp.yaml             what would run, what is done, how long it takes
  python -m study run configs/digits_mlp.yaml              train, evaluate and measure it here, one process
  python -m study records configs/digits_mlp.yaml          runs/ -> results/digits_mlp/records.csv
  python -m study publish configs/digits_mlp.yaml          merge those into analysis/records/, to be committed
  python -m study publish configs/digits_mlp.yaml --replace --dry-run      what a study made anew would change
  python -m slurm submit configs/digits_mlp.yaml --cluster local      the same on all cores, or on a cluster
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 when all is done, 2 for a user's mistake (one line), 1 where runs are missing."""
    parser = argparse.ArgumentParser(
        prog="python -m study", description="Train and measure the networks of a study.", epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (
        ("plan", "print runs, shards, done, to do and estimated minutes; run nothing"),
        ("run", "train, evaluate and measure what is missing, here, shard after shard"),
        ("records", "write results/<study>/records.csv and timings.csv from the finished runs"),
        ("slice", "write results/<study>/slices.csv: the loss along a direction at the first finished network"),
        ("publish", "merge the records into analysis/records/<study>.csv"),
        ("keys", "print the key and the fields of every run"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("config", type=Path, help="the study's yaml, e.g. configs/digits_mlp.yaml")
        if name != "keys":
            command.add_argument("--runs", type=Path, help="folder of all runs (default: where it was sent, else runs)")
            sent = "folder of results (default: where the study was sent, else results)"
            command.add_argument("--results", type=Path, help=sent)
        if name in ("plan", "run"):
            command.add_argument("--skip-published", action="store_true", help="count published runs as done")
        if name == "publish":
            command.add_argument(
                "--replace", action="store_true",
                help="the study was made anew, by other code or on another processor: show what changes, and replace "
                "the published records, timings and slices, all of them; refused unless every run is there",
            )  # fmt: skip
            command.add_argument("--dry-run", action="store_true", help="with --replace: show it, write nothing")
        if name == "run":
            command.add_argument("--device", default="cpu", help="cpu or cuda (default: %(default)s)")
            command.add_argument(
                "--wandb",
                choices=("online", "offline", "off"),
                default="offline",
                help="mirror to wandb (default: %(default)s)",
            )
    text = "bring the generated parts of configs/README.md and study/measures/README.md up to date"
    commands.add_parser("reference", help=text, description=text)
    options = parser.parse_args(arguments)
    try:
        if options.command == "reference":
            return _reference()
        study = load_study(options.config)
        if options.command != "keys":
            found = find_folders(study.name, options.runs, options.results)
            options.runs, options.results, options.folders = found.runs, found.results, found.words(study.name)
        return int(_COMMANDS[options.command](study, options) or 0)
    except BrokenPipeError:
        raise
    except (ValueError, OSError, RuntimeError) as error:
        print("error: " + " ".join(str(error).split()), file=sys.stderr)
        return 2


def _reference() -> int:
    from study.reference.pages import write

    for path in write():
        print(path)
    return 0


def _plan(study: Study, options: argparse.Namespace) -> int:
    _show(planning.make(study, options.runs, skip_published=options.skip_published), options)
    return 0


def _show(plan: planning.Plan, options: argparse.Namespace) -> None:
    planning.show(plan)
    print(f"  folders   {options.folders}", flush=True)


def _run(study: Study, options: argparse.Namespace) -> int:
    from study.display import Display
    from study.run import run_shard
    from study.storage import lease
    from study.tracking.mirror import mirror
    from study.tracking.server import check

    check(options.wandb)
    plan = planning.make(study, options.runs, skip_published=options.skip_published)
    _show(plan, options)
    interrupted, failed = False, []
    with Display(plan.n_to_do) as display:
        for shard in plan.to_do:
            keys = [run_key(config) for config in shard.runs]
            with lease.acquire(options.runs, keys, f"study run {os.getpid()}", on_wait=display.waiting) as held:
                report = run_shard(
                    shard.runs, study.measures, runs_root=options.runs, device=options.device, guard=held.check,
                    should_stop=display.stop_requested, progress=display,
                )  # fmt: skip
            failed += report.failed
            interrupted = report.interrupted
            if interrupted:
                break
    if failed:
        print(f"{len(failed)} values recorded as missing, the reason beside each; the first: {failed[0]}")
    mirrored = mirror(study.runs, study.measures, options.runs, study.name, options.wandb, options.results)
    for problem in mirrored.problems:
        print(f"wandb: {problem}", file=sys.stderr)
    if interrupted:
        print("stopped at a checkpoint; the same command goes on from here")
        return 1
    return _records(study, options)


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
    from study.publish import publish

    path, added = publish(study, options.results)
    print(f"{path}: {added} rows added of {options.results / study.name}; review and commit it")


def _replace(study: Study, options: argparse.Namespace) -> None:
    from study.comparison import text
    from study.replace import replacement

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
    lines = slices.read_text().splitlines()
    return len(lines) > 1 and lines[1].startswith(f"{key},")


def _slice(study: Study, options: argparse.Namespace) -> int:
    from study.state import run_state
    from study.storage.atomic import read_json
    from study.storage.paths import RunPaths, slices_file

    for config in study.runs:
        paths = RunPaths(options.runs, run_key(config))
        done = run_state(paths, config, ()) == "done"
        if done and read_json(paths.outcome)["status"] == "finished":
            path = slices_file(study.name, options.results)
            if not _is_newer(path, paths.stop(config.stops[-1]).weights, paths.key):
                from study.slices import write_slices

                write_slices(study.name, config, options.runs, options.results)
            print(f"{path}: of run {paths.key} in {options.runs}")
            return 0
    raise ValueError(f"{options.runs}: holds no finished run of {study.name}; allowed: run the study first")


_COMMANDS = {"slice": _slice, "plan": _plan, "run": _run, "records": _records, "publish": _publish, "keys": _keys}

if __name__ == "__main__":
    sys.exit(to_the_end(main))
