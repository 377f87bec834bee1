"""One figure or table by its name: as files, as text, of a stop, of a ledger; a wrong name is one line."""

from __future__ import annotations

import pandas as pd
import pytest

from analysis import items
from analysis.__main__ import main, parser
from analysis.drawing.render import to_markdown
from analysis.tables import granulated, headline


@pytest.fixture
def results(make_records, tmp_path):
    (tmp_path / "toy").mkdir()
    make_records(stops=("loss_0.1", "loss_0.01")).to_csv(tmp_path / "toy" / "records.csv", index=False)
    return tmp_path


def run(capsys, *arguments: object) -> tuple[int, str, str]:
    status = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_a_figure_is_written_where_it_is_asked_for(results, capsys):
    read = f"read      {results}/toy/records.csv\n"
    assert run(capsys, "figure", "toy", "forest", "--results", results) == (
        0, "".join(f"{results}/toy/figures/forest.{end}\n" for end in ("pdf", "png")), read,
    )  # fmt: skip
    out = results / "new" / "mine.png"
    assert run(capsys, "figure", "toy", "scatter", "--results", results, "--out", out) == (0, f"{out}\n", read)
    assert out.read_bytes().startswith(b"\x89PNG")
    status, _, error = run(capsys, "figure", "toy", "scatter", "--results", results, "--out", "mine.svg")
    assert status == 2 and error == "error: --out: mine.svg: allowed is a name that ends in .pdf or .png\n"


def test_a_study_given_twice_to_a_report_is_refused(results, capsys):
    """On the page its networks would count twice."""
    status, _, error = run(capsys, "report", "toy", "toy", "--results", results)
    assert (status, error) == (2, "error: study: toy: given twice, allowed: once\n")


def test_a_stop_chooses_its_rows(results, capsys, make_records):
    status, out, _ = run(
        capsys, "table", "toy", "headline", "--results", results, "--stop", "loss_0.1", "--format", "md"
    )
    assert status == 0 and out == to_markdown(
        headline.build(make_records(stops=("loss_0.1", "loss_0.01")).query("stop == 'loss_0.1'"))
    )
    status, out, _ = run(capsys, "figure", "toy", "forest", "--results", results, "--stop", "loss_0.1")
    assert out.splitlines()[0] == f"{results}/toy/figures/forest-loss_0.1.pdf"
    for arguments, said in (
        (("table", "toy", "headline", "--stop", "loss_1"), "--stop: loss_1: allowed are loss_0.1, loss_0.01"),
        (("figure", "toy", "slices", "--stop", "loss_0.1"), "--stop: loss_0.1: allowed with items of the records"),
    ):
        status, _, error = run(capsys, *arguments, "--results", results)
        assert status == 2 and error.startswith(f"error: {said}") and error.count("\n") == 1


@pytest.mark.parametrize(
    ("end", "begins"), [("md", "**"), ("tex", r"\begin{fittable}"), ("csv", "stop,rule"), ("txt", "Runs")]
)
def test_a_table_has_the_format_of_its_files_suffix_or_the_one_that_is_asked(results, capsys, end, begins):
    out = results / f"table.{end}"
    assert run(capsys, "table", "toy", "exclusions", "--results", results, "--out", out)[:2] == (0, f"{out}\n")
    assert out.read_text().startswith(begins)
    asked = "text" if end == "txt" else end
    status, text, _ = run(capsys, "table", "toy", "exclusions", "--results", results, "--format", asked)
    assert status == 0 and text.startswith(begins)


def test_a_table_of_an_unknown_suffix_is_refused(results, capsys):
    out = results / "table.docx"
    status, _, error = run(capsys, "table", "toy", "exclusions", "--results", results, "--out", out)
    assert status == 2 and error == f"error: --out: {out}: allowed is a name that ends in .txt or .md or .tex or .csv\n"
    assert not out.exists()
    asked = ("--out", out, "--format", "csv")
    assert run(capsys, "table", "toy", "exclusions", "--results", results, *asked)[0] == 0 and out.exists()


@pytest.mark.parametrize("name", ["mine.csv", "PLAIN.CSV"])
def test_a_table_of_a_ledger(name, make_ledger, tmp_path, capsys):
    path = tmp_path / name
    make_ledger(n_rows=40, n_measures=2).to_csv(path, index=False)
    status, out, _ = run(capsys, "table", path, "correlation", "--format", "csv")
    assert status == 0 and out.startswith("stop,target,measure,")


@pytest.mark.parametrize("kind", ["figure", "table"])
def test_an_unknown_or_unavailable_item_is_one_line(kind, results, capsys):
    status, _, error = run(capsys, kind, "toy", "forrest", "--results", results)
    assert status == 2 and error == f"error: {kind}: forrest: allowed are {', '.join(items.names(kind))}\n"
    status, _, error = run(capsys, kind, "toy", "sweep", "--results", results)
    assert status == 2 and error.startswith(f"error: toy: {kind} sweep: not available: it needs measures of networks")


def test_items_are_listed_a_line_each(capsys):
    status, out, _ = run(capsys, "items")
    lines = out.splitlines()
    assert status == 0 and len(lines) == len(items.names("figure")) + len(items.names("table"))
    assert any(line.split()[:3] == ["figure", "forest", "Forest"] for line in lines) and max(map(len, lines)) < 160


def test_help_gives_examples_that_parse(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    lines = [line.strip() for line in capsys.readouterr().out.splitlines() if line.strip().startswith("python -m")]
    commands = [line.split("   ")[0].removeprefix("python -m analysis ") for line in lines]
    assert len(commands) >= 6
    for command in commands:
        assert parser().parse_args(command.split()).command == command.split()[0]


def test_make_says_what_is_missing_and_what_is_not_shown_and_removes_what_is_old(results, capsys):
    old = results / "toy" / "tables" / "sweep.csv"
    old.parent.mkdir()
    old.write_text("of an earlier study")
    (old.parent / "notes.txt").write_text("mine")
    status, out, _ = run(capsys, "make", "toy", "--results", results)
    assert status == 0 and out.splitlines()[-1].startswith(
        "toy: not shown: figure reparameterization, table reparameterization (needs"
    )
    assert not old.exists() and (old.parent / "notes.txt").exists()
    frame = pd.read_csv(results / "toy" / "tables" / "granulated.csv")
    assert len(frame) == len(granulated.build(pd.read_csv(results / "toy" / "records.csv")))
