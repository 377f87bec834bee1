"""Command line of the launcher: argument parsing only."""

from __future__ import annotations

import argparse
import dataclasses
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from study.arguments import Parser
from study.display import to_the_end

EPILOG = """examples:
  python -m slurm submit configs/digits_mlp.yaml --cluster local       all cores of this machine; waits for the end
  python -m slurm submit configs/digits_mlp.yaml --cluster mysite      one job a shard, by slurm/clusters/mysite.yaml
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. 0: all is well; 1: something failed or is missing; 2: a user's mistake, in one line."""
    parser = Parser(
        prog="python -m slurm", description="Launch a study and see what has become of it.", epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (
        ("submit", "send what has neither a result nor a job"),
        ("status", "show what has become of each shard"),
        ("watch", "show it again and again until no job is left"),
        ("logs", "print the end of the jobs' logs, those that failed first"),
        ("retry", "send again what failed, was stopped or got lost; release what the scheduler holds"),
        ("cancel", "end all jobs of the study; what they have saved stays"),
        ("collect", "write results/<study>/records.csv from what is done"),
    ):
        sends = name in ("submit", "retry")
        command = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        command.add_argument("config", type=Path, help="the study's yaml, e.g. configs/digits_mlp.yaml")
        command.add_argument("--runs", type=Path, help="folder of all runs (default: the cluster's, else runs)")
        command.add_argument("--results", type=Path, help="folder of results (default: the cluster's, else results)")
        clusters = "inline, local, a name in slurm/clusters/, or a yaml's path"
        last = "" if name == "submit" else " (default: where the study was sent last, else local)"
        command.add_argument("--cluster", required=name == "submit", default=None, help=clusters + last)
        if sends:
            command.add_argument("--device", choices=("cpu", "cuda"), default="", help="default: the cluster's")
            command.add_argument("--wandb", choices=("online", "offline", "off"), default="offline")
            command.add_argument("--test-curve", action="store_true", help="test loss and error of every epoch, too")
            command.add_argument("--allow-dirty", action="store_true", help="run code that is not committed")
            command.add_argument("--skip-published", action="store_true", help="count published runs as done")
            command.add_argument("--dry-run", action="store_true", help="print the plan, send nothing")
            command.add_argument("--no-wait", action="store_true", help="local: go on in the background")
        if name not in ("watch", "collect"):
            command.add_argument("--key", nargs="+", default=[], help="shards that hold these runs, or their own ids")
            command.add_argument("--where", nargs="+", default=[], metavar="FIELD=VALUE", help="e.g. lr=0.1 seed=0")
        if name == "logs":
            command.add_argument("--failed", action="store_true", help="shards that failed or got lost")
            command.add_argument("--lines", type=int, default=50, help="of each file (default: %(default)s)")
        if name == "status":
            command.add_argument("--json", action="store_true", help="for scripts: everything, one object")
        if name == "watch":
            command.add_argument("--every", type=float, default=5.0, metavar="SECONDS", help="default: %(default)s")
    options = parser.parse_args(arguments)
    try:
        _check_numbers(options)
        return _COMMANDS[options.command](options)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        raise
    except (ValueError, OSError, RuntimeError) as error:
        print("error: " + " ".join(str(error).split()), file=sys.stderr)
        return 2


def _check_numbers(options: argparse.Namespace) -> None:
    if vars(options).get("lines", 1) < 1:
        raise ValueError(f"--lines: {options.lines}: allowed: an integer > 0")
    if not 0 < vars(options).get("every", 1) <= threading.TIMEOUT_MAX:  # so, and not the other way round, for NaN
        raise ValueError(f"--every: {options.every}: allowed: a number of seconds > 0")


def _submit(options: argparse.Namespace) -> int:
    from slurm.filter import Filter
    from slurm.request import Options
    from slurm.submit import submit

    given = {**vars(options), "chosen": Filter(options.key, options.where)}
    fields = {f.name: given[f.name] for f in dataclasses.fields(Options) if f.name in given}
    return submit(Options(**fields, wait=not options.no_wait, retry=options.command == "retry"))


def _look(options: argparse.Namespace) -> int:
    from slurm import commands
    from slurm.filter import Filter
    from slurm.launch import find_place

    place = find_place(options.config, options.cluster, options.runs, options.results)
    if options.command == "watch":
        return commands.watch(place, options.every)
    if options.command == "collect":
        return commands.collect(place)
    chosen = Filter(options.key, options.where, ("failed", "lost") if vars(options).get("failed") else ())
    if options.command == "status":
        return commands.status(place, chosen, json=options.json)
    if options.command == "logs":
        return commands.logs(place, chosen, options.lines)
    return commands.cancel(place, chosen)


_COMMANDS = {"submit": _submit, "retry": _submit}
_COMMANDS |= dict.fromkeys(("status", "watch", "logs", "cancel", "collect"), _look)

if __name__ == "__main__":
    sys.exit(to_the_end(main))
