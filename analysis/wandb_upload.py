"""A study's records to W&B, and back: exports what W&B does not have, uploads it within a rate of requests.

    python -m analysis.wandb_upload configs/digits_mlp.yaml                  with a free account: 50 requests a minute
    python -m analysis.wandb_upload configs/digits_mlp.yaml --rate 200       with a paid one
    python -m analysis.wandb_upload configs/digits_mlp.yaml --dry-run        how many runs, how long
    python -m analysis.wandb_upload configs/digits_mlp.yaml --read-back runs.csv

Safe to interrupt and start again: a run that the server has confirmed is not sent twice, one that has new measures
since is updated under its own id.
"""

from __future__ import annotations

import argparse
import fcntl
import math
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from analysis.load import InputError, Source, load_study, read_records
from study.arguments import Parser
from study.display import to_the_end
from study.records import write_table
from study.storage.folders import find_folders, usable
from study.storage.paths import RunPaths, records_file, results_folder
from study.storage.rows import Row, read_table
from study.tracking.delivery import deliver
from study.tracking.mirror import FREE_RATE
from study.tracking.offline import write_offline
from study.tracking.outbox import Outbox
from study.tracking.read_back import rows_on_server
from study.tracking.server import PROJECT, check, entity, project
from study.tracking.upload import REQUESTS_PER_RUN, UploadReport, estimate_seconds
from study.tracking.wandb_run import TrackingError, WandbRun, read_epochs, read_origin, varying, wandb_run


def wandb_runs(study: str, records: Path, runs_root: Path) -> list[WandbRun]:
    """Every run of a records file, with its curve where runs/ has it, as wandb shall show it.

    Raises ValueError where a run's epochs cannot be read.
    """
    by_key: dict[str, list[Row]] = {}
    for row in (rows := read_table(records)):
        by_key.setdefault(row["key"], []).append(row)
    varies, paths = varying(rows), {key: RunPaths(runs_root, key) for key in by_key}
    return [
        wandb_run(study, stops, read_epochs(paths[key]), varies, read_origin(paths[key]))
        for key, stops in by_key.items()
    ]


def read_back(study: str, file: Path, entity: str | None = None, project: str = PROJECT) -> pd.DataFrame:
    """Write the runs of a study that W&B has as a records file, and read that: the frame that every analysis takes.

    Raises TrackingError where the project holds no run of the study. Cost: one request for 200 runs.
    """
    write_table(file, rows_on_server(study, entity, project))
    return read_records(file)


# --- command line ----------------------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Export and upload, or read back; 0 when all is there, 1 where runs are missing, 2 for a user's error."""
    parser = Parser(
        prog="python -m analysis.wandb_upload",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("study", help="configs/<study>.yaml or the study's name")
    parser.add_argument("--rate", type=float, default=FREE_RATE, help="API requests a minute (default: %(default)g)")
    parser.add_argument("--parallel", type=int, default=4, help="upload processes at a time (default: %(default)s)")
    parser.add_argument("--entity", default=entity(), help="W&B user or team (default: the account's own)")
    parser.add_argument("--project", default=project(), help="W&B project (default: %(default)s)")
    parser.add_argument("--runs", type=Path, help="folder of all runs (default: where the study was sent)")
    parser.add_argument("--results", type=Path, help="folder of all results (default: where it was sent)")
    parser.add_argument("--committed", action="store_true", help="export analysis/records/, not fresh results")
    parser.add_argument("--dry-run", action="store_true", help="print the plan: write nothing, contact no server")
    parser.add_argument("--again", action="store_true", help="forget what was uploaded, e.g. to fill another project")
    parser.add_argument("--read-back", type=Path, metavar="FILE.csv", help="instead, write the runs W&B has as records")
    options = parser.parse_args(arguments)
    try:
        return _run(options)
    except BrokenPipeError:
        raise
    except (InputError, TrackingError, ValueError, OSError) as error:
        print("error: " + " ".join(str(error).split()), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 1


def _run(options: argparse.Namespace) -> int:
    if not (options.rate > 0 and math.isfinite(options.rate)):
        raise InputError(f"--rate: {options.rate}: a number of requests a minute > 0 is allowed")
    if options.parallel < 1:
        raise InputError(f"--parallel: {options.parallel}: an integer >= 1 is allowed")
    if not options.dry_run:
        check("online")
    if options.read_back:
        frame = read_back(Path(options.study).stem, options.read_back, options.entity, options.project)
        print(f"{options.read_back}: {len(frame)} rows")
        return 0
    source, runs = _found(options)
    results = results_folder(source.name, options.results)
    if options.dry_run:
        _show(source, runs, sum(not Outbox(results).is_sent(run.id, run.digest()) for run in runs), options.rate)
        return 0
    with _alone(results):
        if options.again:
            shutil.rmtree(results / "wandb", ignore_errors=True)
        done = write_offline(runs, results)
        for problem in done.problems:
            print(problem, file=sys.stderr)
        n = len(Outbox(results).waiting({run.id for run in runs}))
        _show(source, runs, n, options.rate)
        if not n:
            return int(bool(done.problems))
        report = _upload(runs, results, options)
    for line in report.failed:
        print(f"not uploaded: {line}", file=sys.stderr)
    refused = f"; the server refused {report.n_refused} requests for a while" if report.n_refused else ""
    print(f"{len(report.sent)} runs uploaded{refused}" + (", the same command tries again" if report.failed else ""))
    return int(bool(done.problems or report.failed))


def _found(options: argparse.Namespace) -> tuple[Source, list[WandbRun]]:
    """The study's records and its runs; the folders are where it was sent, unless the command line says others.

    Raises InputError where only published records are here, which may be somebody else's, and were not asked for.
    """
    found = find_folders(Path(options.study).stem, options.runs, options.results)
    options.runs, options.results = found.runs, usable("--results", found.results, write=not options.dry_run)
    source = load_study(options.study, options.results, options.committed)
    if source.committed and not options.committed:
        n, file = source.records["key"].nunique(), records_file(source.name, options.results)
        raise InputError(
            f"{file}: is not there; allowed: --results FOLDER, or"
            f" --committed for the {n} published runs of {source.path}"
        )
    return source, wandb_runs(source.name, source.path, options.runs)


def _show(source: Source, runs: Sequence[WandbRun], n: int, rate: float) -> None:
    minutes = estimate_seconds(n, rate) / 60
    whose = "published, " if source.committed else ""
    print(f"{source.name}: {len(runs)} runs of {whose}{source.path}, {len(runs) - n} uploaded before, {n} to upload: "
          f"about {minutes:.1f} min ({REQUESTS_PER_RUN} requests a run, {rate:g} a minute)")  # fmt: skip


def _upload(runs: Sequence[WandbRun], results: Path, options: argparse.Namespace) -> UploadReport:
    columns = (TextColumn("uploading"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns) as bar:
        task = bar.add_task("", total=None)
        return deliver(
            runs, results, rate=options.rate, parallel=options.parallel, entity=options.entity,
            project=options.project, progress=lambda sent, total: bar.update(task, completed=sent, total=total),
        )  # fmt: skip


@contextmanager
def _alone(results: Path) -> Iterator[None]:
    """One upload of a study at a time on a machine: two would send the same runs. Raises InputError for the second."""
    (results / "wandb").mkdir(parents=True, exist_ok=True)
    with (results / "wandb_upload.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"{results}: an upload of this study is running: one at a time is allowed") from None
        yield


if __name__ == "__main__":
    sys.exit(to_the_end(main))
