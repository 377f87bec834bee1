"""W&B's report of a study, built from its records: text, tables, scatter, parallel coordinates, run comparer.

python -m analysis.wandb_report configs/digits_mlp.yaml                     results/digits_mlp/wandb_report.json
python -m analysis.wandb_report configs/digits_mlp.yaml --save --entity me  the same, and saved on the server
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.columns import at_stop, axes, main_stop, targets
from analysis.drawing.render import to_markdown
from analysis.items import names
from analysis.load import InputError, Source, load_study
from analysis.make import build as build_item
from analysis.manuscript.appendix import ROWS, excerpt
from analysis.selection import trained
from analysis.studies.reader import read_shown
from analysis.vocabulary import hyperparameter_words, measure_words, target_axis
from study.arguments import Parser
from study.display import to_the_end
from study.names import wandb_name
from study.storage.atomic import read_json, write_json
from study.storage.folders import find_folders, usable
from study.storage.paths import results_root
from study.tracking.server import PROJECT, check, entity, project, require_server
from study.tracking.wandb_run import TrackingError

_CONVERGED = " and SummaryMetric('train__converged') = True"
WIDTH = 24  # columns of a W&B panel grid
EXAMPLE = """examples:
  python -m analysis.wandb_report configs/digits_mlp.yaml
  python -m analysis.wandb_report configs/digits_mlp.yaml --save --entity my-team
"""


def build(source: Source, entity: str, project: str = PROJECT) -> Any:
    """The report (wandb_workspaces.reports.v2.Report) of a study; needs no connection.

    Shows the last stop, as the wandb runs do. Raises ValueError where the records hold no gap or no measure.
    """
    wr = _reports()
    frame = at_stop(source.records)
    labels, wanted = trained(frame), targets(frame)
    if not labels or not wanted:
        raise InputError(f"{source.path}: columns: no measure with a target: needed are measure.* and gap.* columns")
    runs = wr.Runset(
        name=source.name, filters=f"Group = '{source.name}'" + (_CONVERGED if "train.converged" in frame else ""),
        pinned_columns=["run:displayName"], visible_columns=list(_columns(frame, labels, wanted)),
    )  # fmt: skip
    blocks: list[Any] = [
        wr.H1(source.title),
        wr.MarkdownBlock(_introduction(source, frame, project)),
        wr.TableOfContents(),
        wr.H2("Each measure against the gap"),
        wr.PanelGrid(runsets=[runs], panels=_scatters(wr, labels, wanted)),
        wr.H2("Tables"),
        *[
            wr.MarkdownBlock(to_markdown(excerpt(table, main_stop(source.records), 2 * ROWS)))
            for table in _tables(source)
        ],
        wr.H2("Hyperparameters, gap and measures together"),
        wr.PanelGrid(runsets=[runs], panels=[_parallel(wr, frame, labels, wanted)]),
        wr.H2("Training curves, and runs side by side"),
        wr.PanelGrid(runsets=[runs], panels=_details(wr)),
    ]
    title = f"{source.name}: which measure predicts generalization?"
    return wr.Report(
        project=project, entity=entity, title=title, description=source.title, blocks=blocks, width="fluid"
    )


def _reports() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the package's own, about its use of pydantic
        import wandb_workspaces.reports.v2 as wr
    return wr


def to_json(report: Any) -> dict[str, Any]:
    """The report as W&B stores it, without what differs from one build to the next (random ids)."""
    text = report._to_model().model_dump_json(by_alias=True, exclude_none=True)
    return _without_ids(json.loads(text))


def save(report: Any, file: Path) -> str:
    """Save the report on the server, in place of the one that `file` remembers; its address.

    Raises TrackingError without a key or a server, InputError with the reason where it is refused.
    """
    check("online")
    require_server()
    if file.exists():
        report.id = read_json(file).get("saved_as", "")
    try:
        report.save()
    except Exception as error:  # wandb_workspaces raises bare Exceptions
        raise InputError(f"wandb: {report.entity}/{report.project}: not saved: {error}") from error
    write_json(file, {**to_json(report), "saved_as": report.id})
    return str(report.url)


# --- the report's parts ----------------------------------------------------------------------------------------------


def _introduction(source: Source, frame: pd.DataFrame, project: str) -> str:
    commits = ", ".join(sorted(frame["prov.commit"].astype(str).unique())) if "prov.commit" in frame else "unknown"
    met = ""
    if "train.converged" in frame:
        met = f", the {int(frame['train.converged'].astype(bool).sum())} that met it shown"
    return (
        f"{len(frame)} networks, measured at `{main_stop(source.records)}`{met}; code {commits}. The runs are those of "
        f"group `{source.name}` in project `{project}`; runs of one `configuration` differ in their seed only. W&B is "
        "a mirror: the numbers of record, with their exclusions and intervals, are the files of the repository."
    )


def _columns(frame: pd.DataFrame, labels: Sequence[str], wanted: Sequence[str]) -> Iterator[str]:
    """Columns of the table of runs, as W&B addresses them."""
    yield from (f"config:{wandb_name(axis.removeprefix('hp.'))}.value" for axis in axes(frame))
    yield from (f"summary:{wandb_name(target)}" for target in wanted)
    yield from (f"summary:{wandb_name('measure.' + label)}" for label in labels)


def _tables(source: Source) -> Iterator[pd.DataFrame]:
    for item in read_shown(source.name).items:
        if item.name in names("table"):
            table = build_item("table", item.name, source)
            if isinstance(table, pd.DataFrame):
                yield table


def _scatters(wr: Any, labels: Sequence[str], wanted: Sequence[str]) -> list[Any]:
    """One panel a measure, three in a row, against the first target."""
    panels = []
    for i, label in enumerate(labels):
        place = wr.Layout(x=WIDTH // 3 * (i % 3), y=8 * (i // 3), w=WIDTH // 3, h=8)
        x, y = wr.SummaryMetric(wandb_name(f"measure.{label}")), wr.SummaryMetric(wandb_name(wanted[0]))
        title = f"{measure_words(label)} against {target_axis(wanted[0])}"
        panels.append(wr.ScatterPlot(title=title, x=x, y=y, regression=True, layout=place))
    return panels


def _parallel(wr: Any, frame: pd.DataFrame, labels: Sequence[str], wanted: Sequence[str]) -> Any:
    def column(metric: Any, words: str) -> Any:
        return wr.ParallelCoordinatesPlotColumn(metric=metric, display_name=words)

    columns = [column(wr.Config(wandb_name(a.removeprefix("hp."))), hyperparameter_words(a)) for a in axes(frame)]
    columns += [column(wr.SummaryMetric(wandb_name(f"measure.{label}")), measure_words(label)) for label in labels]
    columns += [column(wr.SummaryMetric(wandb_name(target)), target_axis(target)) for target in wanted]
    return wr.ParallelCoordinatesPlot(columns=columns, layout=wr.Layout(x=0, y=0, w=WIDTH, h=12))


def _details(wr: Any) -> list[Any]:
    curves = [
        wr.LinePlot(
            title=words, x="epoch", y=[name], log_y=log, max_runs_to_show=100, groupby=wr.Config("configuration"),
            layout=wr.Layout(x=WIDTH // 2 * i, y=0, w=WIDTH // 2, h=10),
        )
        for i, (name, words, log) in enumerate(
            (("train_loss", "training loss, mean over seeds", True), ("train_error", "training error", False))
        )
    ]  # fmt: skip
    return [*curves, wr.RunComparer(diff_only="split", layout=wr.Layout(x=0, y=10, w=WIDTH, h=12))]


def _without_ids(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_ids(v) for name, v in value.items() if name not in ("id", "__id__", "name_id")}
    return [_without_ids(v) for v in value] if isinstance(value, list) else value


# --- command line ----------------------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Build the report, save it where asked; 0, or 2 for a user's error (one line)."""
    parser = Parser(
        prog="python -m analysis.wandb_report", description="W&B's report of a study: as JSON, or saved on the server.",
        epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    parser.add_argument("study", help="configs/<study>.yaml or the study's name")
    parser.add_argument(
        "--entity", default=entity(), help="W&B user or team; needed with --save (default: $WANDB_ENTITY)"
    )
    parser.add_argument("--project", default=project(), help="W&B project (default: %(default)s)")
    parser.add_argument("--results", type=Path, help="folder of all results (default: where the study was sent)")
    parser.add_argument("--committed", action="store_true", help="read analysis/records/, not fresh results")
    parser.add_argument("--save", action="store_true", help="save it on the server; again: in place of the one before")
    options = parser.parse_args(arguments)
    try:
        return _run(options)
    except BrokenPipeError:
        raise
    except (ValueError, TrackingError, ImportError, OSError) as error:
        print("error: " + " ".join(str(error).split()), file=sys.stderr)
        return 2


def _run(options: argparse.Namespace) -> int:
    if options.save and not options.entity:
        raise InputError("--save: entity: none: --entity NAME is needed, your W&B user or team")
    name = Path(options.study).stem
    root = results_root(options.results) if options.committed else find_folders(name, None, options.results).results
    file = usable("--results", root, write=True) / name / "wandb_report.json"
    source = load_study(options.study, root, options.committed)
    report = build(source, options.entity or "your-entity", options.project)
    if options.save:
        print(save(report, file))
    else:
        known = read_json(file).get("saved_as", "") if file.exists() else ""
        write_json(file, to_json(report) | ({"saved_as": known} if known else {}))
    print(file)
    print(f"read      {source.path}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(to_the_end(main))
