"""Command line: `python -m analysis report|figure|table|items|make|verify|...`; argument parsing only.

A user's error is one line on stderr and exit status 2.
"""

from __future__ import annotations

import argparse
import os
import sys
from importlib import import_module
from pathlib import Path

from study.arguments import Parser
from study.display import to_the_end

# Measures are spread over cores by ourselves; threads inside each matrix product would only get in each other's way.
os.environ.setdefault("OMP_NUM_THREADS", "1")

EXAMPLES = """examples:
  python -m analysis report digits_mlp                             everything, and a page that opens from disk
  python -m analysis items                                         which figures and tables there are
  python -m analysis figure digits_mlp forest --out forest.pdf
  python -m analysis figure lenet5_cifar10 scatter --stop epoch_20 --committed
  python -m analysis table digits_mlp correlation --format md
  python -m analysis table mine.csv granulated                     of a ledger of your own
  python -m analysis verify                                        published numbers beside ours

What a study shows, in which order: analysis/studies/<study>.yaml. `python -m analysis COMMAND --help` says more."""
_STUDY = "a study's name, or its yaml configs/<study>.yaml"


def parser() -> argparse.ArgumentParser:
    """The command line's arguments."""
    top = Parser(
        prog="python -m analysis", description="From records to tables, figures and the paper.", epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, does: str, run: str = "") -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=does, description=does[0].upper() + does[1:] + ".", allow_abbrev=False)
        added.set_defaults(run=run or name)
        return added

    report = command("report", "tables, figures and the page of a study; prints its first table and the page's path")
    report.add_argument("study", nargs="+", help=f"{_STUDY}; several share one page")
    figure = command("figure", "one figure of a study, by its name")
    table = command("table", "one table of a study, by its name")
    for one, kind in ((figure, "figure"), (table, "table")):
        one.add_argument("study", help=f"{_STUDY}; or a ledger, a CSV file")
        one.add_argument("name", help=f"a {kind}'s name; `python -m analysis items` lists them")
        one.add_argument("--target", help="about this target alone, e.g. gap.shift.blur_3.error or test.loss")
        one.add_argument("--stop", help="only rows of this stop, e.g. loss_0.01 (default: what the item says)")
    figure.add_argument("--out", type=Path, help="a .pdf or .png file (default: both, in <results>/<study>/figures)")
    table.add_argument(
        "--out", type=Path, help="a file; its suffix .txt, .md, .tex, .csv decides the format (default: print)"
    )
    table.add_argument("--format", choices=("text", "md", "tex", "csv"), help="default: text; csv has every digit")
    command("items", "every figure and table, a line each", "list_items")
    ledger = command("ledger", "the same as report for any ledger: hp.*, complexity.*, gen.gap, is.converged, seed")
    ledger.add_argument("file", type=Path, help="a CSV file; tables go to <results>/<its stem>/")
    make = command(
        "make", "tables and figures of the studies named; without any, of all committed records, and prose", "make_all"
    )
    make.add_argument("study", nargs="*", help=_STUDY)
    verify = command("verify", "published numbers beside ours, from the committed records alone")
    verify.add_argument("--all", action="store_true", help="a row a stop, with intervals (default: a row a statement)")
    command("prose", "the numbers of README, findings and paper, from the committed records")
    paper = command("paper", "tables, figures and text of paper/ from the committed records, and the PDF")
    paper.add_argument(
        "--no-pdf", dest="pdf", action="store_false", help="only what main.tex includes; no LaTeX needed"
    )
    command("reference", "the generated parts of analysis/README.md")
    for each in (report, figure, table, make, ledger):
        sent = "" if each is ledger else "where the study was sent, else "
        each.add_argument(
            "--results", type=Path, help=f"folder of all results (default: {sent}$STUDY_RESULTS or results)"
        )
        if each is not ledger:
            each.add_argument("--committed", action="store_true", help="read analysis/records/, not fresh results")
    return top


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return the exit status (0, or 2 for a user's error)."""
    options = parser().parse_args(arguments)
    from analysis.load import InputError

    try:
        getattr(import_module("analysis.commands"), options.run)(options)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        raise
    except OSError as error:
        if error.filename is None:
            raise
        allowed = "allowed is a folder, or a file in one, that can be read and written (--results, --out)"
        print(f"error: {error.filename}: {error.strerror}: {allowed}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(to_the_end(main))
