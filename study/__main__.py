"""Command line of the study: argument parsing only."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from study.arguments import Parser
from study.commands import COMMANDS, ledger, reference, restore
from study.display import to_the_end
from study.grid import load_study
from study.storage.folders import find_folders, usable
from study.storage.paths import results_root, runs_folder

_WRITING = {
    "run",
    "records",
    "slice",
    "audit",
    "searches",
    "repeats",
}  # commands that are told of a folder that cannot be written before they work

EPILOG = """examples:
  python -m study plan configs/digits_mlp.yaml             what would run, what is done, how long it takes
  python -m study run configs/digits_mlp.yaml              train, evaluate and measure it here, one process
  python -m study run configs/digits_mlp.yaml --minutes 8  so much of it, saved; the same command goes on from there
  python -m study records configs/digits_mlp.yaml          runs/ -> results/digits_mlp/records.csv
  python -m study audit configs/digits_mlp.yaml            which measure survives which change that keeps the function
  python -m study repeats configs/library_cifar10.yaml     what other images and other noise would have given
  python -m study publish configs/digits_mlp.yaml          merge those into analysis/records/, to be committed
  python -m study publish configs/digits_mlp.yaml --replace --dry-run      what a study made anew would change
  python -m study archive configs/digits_mlp.yaml digits_mlp.tar    its networks as one file; `restore` puts them back
  python -m study ledger models.yaml                       measure networks that were trained elsewhere
  python -m slurm submit configs/digits_mlp.yaml --cluster local      the same on all cores, or on a cluster
"""


def parser() -> argparse.ArgumentParser:
    """The command line's arguments."""
    top = Parser(
        prog="python -m study", description="Train and measure the networks of a study.", epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    commands = top.add_subparsers(dest="command", required=True)

    def command(name: str, does: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=does, description=does, allow_abbrev=False)

    def of_study(name: str, does: str, folders: bool = True) -> argparse.ArgumentParser:
        added = command(name, does)
        added.add_argument("config", type=Path, help="the study's yaml, e.g. configs/digits_mlp.yaml")
        if folders:
            added.add_argument("--runs", type=Path, help="folder of all runs (default: where it was sent, else runs)")
            sent = "folder of results (default: where the study was sent, else results)"
            added.add_argument("--results", type=Path, help=sent)
        return added

    plan = of_study("plan", "print runs, shards, done, to do and estimated minutes; run nothing")
    of_study(
        "fetch", "download the data sets of its runs, once, and check them; run and submit do so too", folders=False
    )
    run = of_study("run", "train, evaluate and measure what is missing, here, shard after shard")
    for each in (plan, run):
        each.add_argument("--skip-published", action="store_true", help="count published runs as done")
        each.add_argument("--device", default="cpu", help="cpu, cuda or cuda:<n> (default: %(default)s)")
    _of_run(run)
    of_study("records", "write results/<study>/records.csv and timings.csv from the finished runs")
    of_study("slice", "write results/<study>/slices.csv: the loss along a direction at the first finished network")
    _of_audit(of_study(
        "audit", "write results/<study>/audit.csv: each measure before and after every change that keeps the function"
    ))  # fmt: skip
    searches = of_study(
        "searches", "write results/<study>/searches.csv: how far twice the steps move each search, on some networks"
    )
    text = "how many of the finished networks, from all over the grid (default: %(default)s)"
    searches.add_argument("--networks", type=int, default=8, help=text)
    repeats = of_study(
        "repeats", "write results/<study>/repeats.csv: every measure again, on other images and with other noise"
    )
    text = "how many of the finished networks, from all over the grid (default: all)"
    repeats.add_argument("--networks", type=int, default=None, help=text)
    text = "at these stops (default: every one of the study)"
    repeats.add_argument("--stops", nargs="+", default=(), metavar="STOP", help=text)
    _of_publish(of_study("publish", "merge the records into analysis/records/<study>.csv"))
    of_study("keys", "print the key and the fields of every run", folders=False)
    archive = of_study("archive", "pack the trained networks into one file, of which any measure can be taken later")
    archive.add_argument("target", type=Path, help="the archive to be written, e.g. digits_mlp.tar")
    restoring = command("restore", "put the runs of an archive where they were, after all of it was checked")
    restoring.add_argument("archive", type=Path, help="what `archive` wrote")
    restoring.add_argument("--runs", type=Path, default=runs_folder(), help="folder of all runs (default: %(default)s)")
    _of_ledger(command(
        "ledger", "measure checkpoints of anybody's networks, as a models.yaml says, into results/<name>/ledger.csv"
    ))  # fmt: skip
    command("reference", "bring the generated parts of the READMEs of configs, measures and ledgers up to date")
    return top


def _of_run(run: argparse.ArgumentParser) -> None:
    text = "end after this time, saved, with exit status 0; wandb is left to the last such call"
    run.add_argument("--minutes", type=float, default=None, help=text)
    run.add_argument("--test-curve", action="store_true", help="test loss and error of every epoch, too")
    text = "mirror to wandb (default: %(default)s)"
    run.add_argument("--wandb", choices=("online", "offline", "off"), default="offline", help=text)


def _of_audit(audit: argparse.ArgumentParser) -> None:
    text = "how many of the finished networks, the first (default: %(default)s)"
    audit.add_argument("--networks", type=int, default=1, help=text)
    text = "training images that they are measured on, at most (default: %(default)s)"
    audit.add_argument("--images", type=int, default=200, help=text)
    text = "places of each kind of change, at most, from the first layers to the last (default: all)"
    audit.add_argument("--places", type=int, default=None, help=text)
    text = "all of the catalogue and the study's own, or the study's alone (default: %(default)s)"
    audit.add_argument("--measures", choices=("all", "study"), default="all", help=text)


def _of_publish(publish: argparse.ArgumentParser) -> None:
    publish.add_argument(
        "--replace", action="store_true",
        help="the study was made anew, by other code or on another processor: show what changes, and replace "
        "the published records and all beside them (timings, slices, audit, searches, repeats); refused unless every "
        "run is there",
    )  # fmt: skip
    publish.add_argument("--dry-run", action="store_true", help="with --replace: show it, write nothing")


def _of_ledger(ledger: argparse.ArgumentParser) -> None:
    ledger.add_argument("models", type=Path, help="the yaml; its sections: study/ledger/README.md")
    ledger.add_argument("--results", type=Path, default=results_root(), help="folder of results (default: %(default)s)")
    ledger.add_argument("--device", default="cpu", help="cpu, cuda or cuda:<n> (default: %(default)s)")
    ledger.add_argument("--dry-run", action="store_true", help="check everything, print the plan, measure nothing")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 when all is done, 2 for a user's mistake (one line), 1 where runs are missing."""
    options = parser().parse_args(arguments)
    try:
        if options.command == "reference":
            return reference()
        if options.command == "restore":
            return restore(options.archive, usable("--runs", options.runs, write=True))
        if options.command == "ledger":
            usable("--results", options.results, write=True)
            return ledger(options)
        study = load_study(options.config)
        if "runs" in options:
            found = find_folders(study.name, options.runs, options.results)
            options.runs, options.results, options.folders = found.runs, found.results, found.words(study.name)
        if options.command in _WRITING:
            usable("--runs", options.runs, write=True)
            usable("--results", options.results, write=True)
        return int(COMMANDS[options.command](study, options) or 0)
    except BrokenPipeError:
        raise
    except (ValueError, OSError, RuntimeError) as error:
        print("error: " + " ".join(str(error).split()), file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(to_the_end(main))
