"""Command line: `python -m analysis report|make|verify|paper|ledger`; argument parsing only.

A user's error is one line on stderr and exit status 2.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from analysis.load import Source
    from analysis.make import Made

# Measures are spread over cores by ourselves; threads inside each matrix product would only get in each other's way.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def _report(options: argparse.Namespace) -> int:
    from analysis.load import load_study

    return _write([load_study(name, options.results, options.committed) for name in options.study], options)


def _ledger(options: argparse.Namespace) -> int:
    from analysis.load import load_ledger

    return _write([load_ledger(options.file)], options)


def _verify(options: argparse.Namespace) -> int:
    from analysis.drawing.render import to_text
    from analysis.verify import verify

    table = verify()
    sources = table["source"].unique()
    shown = table.drop(columns=["source", "measure"])
    shown.attrs |= table.attrs
    print(to_text(shown, width=_width(), colour=sys.stdout.isatty()), end="")
    print("\n".join(f"source: {source}" for source in sources))
    return 0


def _make(options: argparse.Namespace) -> int:
    from analysis.load import load_study
    from analysis.make import make, write
    from study.storage.paths import published_studies

    for name in options.study or published_studies():
        source = load_study(name, options.results, options.committed or not options.study)
        made = make(source, progress=_progress)
        written = write(made, _results(options) / source.name)
        for part, reason in made.lacking.items():
            print(f"{source.name}: not made: {part}: needs {reason}")
        print(f"{source.name}: {len(written)} files in {_results(options) / source.name}")
    return 0


def _paper(options: argparse.Namespace) -> int:
    from analysis.manuscript.paper import PAPER, build_pdf, generate

    generate(PAPER, progress=_progress)
    print(build_pdf(PAPER) if options.pdf else PAPER / "numbers.tex")
    return 0


def _write(sources: list[Source], options: argparse.Namespace) -> int:
    """Write everything; print each study's first table and, last, the path of the page (of all studies).

    What was already made of the same records by the same code is not made again.
    """
    from analysis import cache

    root = _results(options)
    path = (root / sources[0].name if len(sources) == 1 else root) / "report.html"
    note = path.with_name("report.made.json")
    mark = cache.fingerprint(sources)
    printed = cache.recall(note, mark)
    if printed is None:
        files, printed = _build(sources, root, path)
        cache.remember(note, mark, files, printed)
    else:
        print("nothing has changed since these were made; to make them again, remove the page", file=sys.stderr)
    print(printed, end="")
    print(path)
    return 0


def _build(sources: list[Source], root: Path, path: Path) -> tuple[list[Path], str]:
    """Make all files of the studies and the page at `path`; the files and what is to be printed."""
    from analysis.make import make, write
    from analysis.page.report import write_report

    pairs, files, printed = [], [path], ""
    for source in sources:
        made = make(source, progress=_progress)
        files += write(made, root / source.name)
        if len(sources) > 1:
            files.append(write_report([(source, made)], root / source.name / "report.html"))
        pairs.append((source, made))
        printed += _headline(source, made)
    write_report(pairs, path)
    return files, printed


def _headline(source: Source, made: Made) -> str:
    from analysis.columns import at_stop, main_stop, targets
    from analysis.drawing.render import to_text
    from analysis.tables.correlation import headline

    available = targets(at_stop(source.records))
    table = made.tables["correlation"]
    if available:
        table = headline(table, main_stop(source.records), available[0], made.tables["reparameterization"])
    lines = [f"not shown: {name}: needs {reason}\n" for name, reason in made.lacking.items()]
    return to_text(table, width=_width()) + "".join(lines)


def _progress(done: int, total: int, name: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{done}/{total} {name}", end="" if done < total else "\r\033[K", file=sys.stderr, flush=True)


def _results(options: argparse.Namespace) -> Path:
    from study.storage.paths import results_root

    return results_root(options.results)


def _width() -> int:
    import shutil

    return max(100, shutil.get_terminal_size((140, 24)).columns)


def parser() -> argparse.ArgumentParser:
    """The command line's arguments."""
    top = argparse.ArgumentParser(
        prog="python -m analysis", description="From records to tables, figures and the paper."
    )
    commands = top.add_subparsers(dest="command", required=True)
    report = commands.add_parser(
        "report", help="tables, figures and the page of one study; prints the page's path last"
    )
    report.add_argument("study", nargs="+", help="configs/<study>.yaml or a study's name; several share one page")
    report.set_defaults(run=_report)
    ledger = commands.add_parser(
        "ledger", help="the same for any ledger: hp.*, complexity.*, gen.gap, is.converged, seed"
    )
    ledger.add_argument("file", type=Path, help="a CSV file; tables go to <results>/<its stem>/")
    ledger.add_argument("--results", type=Path, help="folder of all results (default: $STUDY_RESULTS or results)")
    ledger.set_defaults(run=_ledger)
    make = commands.add_parser("make", help="every table and figure, of the studies named or of all committed records")
    make.add_argument("study", nargs="*", help="configs/<study>.yaml or a study's name")
    make.set_defaults(run=_make)
    verify = commands.add_parser("verify", help="published numbers beside ours, from the committed records alone")
    verify.set_defaults(run=_verify)
    paper = commands.add_parser(
        "paper", help="paper/: tables, figures and numbers of the committed records, and the PDF"
    )
    paper.add_argument(
        "--no-pdf", dest="pdf", action="store_false", help="only what main.tex includes; no LaTeX needed"
    )
    paper.set_defaults(run=_paper)
    for command in (report, make):
        command.add_argument("--results", type=Path, help="folder of all results (default: $STUDY_RESULTS or results)")
        command.add_argument("--committed", action="store_true", help="read analysis/records/, not fresh results")
    return top


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return the exit status (0, or 2 for a user's error)."""
    from analysis.load import InputError

    options = parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
