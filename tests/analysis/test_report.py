"""`python -m analysis report`: the table, the files, the page and its path, from records alone."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from markupsafe import escape

from analysis import cache, commands, items
from analysis.__main__ import main
from analysis.columns import measures
from analysis.load import Source, load_study
from analysis.make import Made, make
from analysis.page.definitions import UNKNOWN, transforms_defined
from analysis.page.report import write_report
from analysis.tables import correlation, headline
from study.measures import MEASURES
from study.names import Label
from study.reference.definition import definition
from tests.support.synthetic import synthetic_records


def put(records: pd.DataFrame, root: Path) -> Path:
    """Results of a study called toy under `root`."""
    folder = root / "results" / "toy"
    folder.mkdir(parents=True)
    records.to_csv(folder / "records.csv", index=False)
    items = ("train", "evaluate", "relative_flatness", "hessian_trace")
    rows = [{"key": k, "stop": "loss_0.01", "item": i, "seconds": 0.25} for k in records["key"] for i in items]
    pd.DataFrame(rows).to_csv(folder / "timings.csv", index=False)
    return root / "results"


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    """The results folder after one report by the command line, and what it printed."""
    results = put(synthetic_records(), tmp_path_factory.mktemp("reported"))
    command = [sys.executable, "-m", "analysis", "report", "toy", "--results", str(results)]
    return results, subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "COLUMNS": "120"}
    ).stdout.splitlines()


def test_report_prints_the_table_and_last_the_page(reported):
    results, lines = reported
    assert lines[-1] == str(results / "toy" / "report.html") and Path(lines[-1]).is_file()
    flat = next(line for line in lines if line.startswith("relative flatness  "))
    trace = next(line for line in lines if line.startswith("Hessian trace"))
    first = [float(re.search(r"(−?\d\.\d\d) \[", line).group(1).replace("−", "-")) for line in (flat, trace)]
    assert first[0] > first[1] + 0.3
    assert re.search(r"not_converged [^;]*: 3;", " ".join(lines))


def test_report_writes_each_table_three_times_and_each_figure_twice(reported):
    folder = reported[0] / "toy"
    lacking = {"published", "last_layer_stops", "reparameterization", "sweep", "audit", "papers", "papers_sign_error"}
    lacking |= {"replication", "replication_measures", "shift_differences", "repeats"}
    for name in set(items.names("table")) - lacking:
        assert {p.suffix for p in (folder / "tables").glob(f"{name}.*")} == {".csv", ".md", ".tex"}
    for name in ("forest", "scatter", "granulated", "layers", "stability"):
        pdf = (folder / "figures" / f"{name}.pdf").read_bytes()
        assert pdf.startswith(b"%PDF") and b"/Type3" not in pdf
        assert (folder / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_page_holds_everything_and_asks_the_network_for_nothing(reported):
    page = (reported[0] / "toy" / "report.html").read_text(encoding="utf-8")
    for word in ("relative flatness", "not_converged", "0" * 40, "2.13.0", "stacked", "cpu", "total seconds"):
        assert word in page
    assert not re.findall(r"""src=["'](?!data:|#)[^"']*""", page)
    assert "http://" not in page.replace("http://www.w3.org", "") and "https://" not in page and "@import" not in page


def downloads(path: Path) -> list[str]:
    """What a page leads to outside itself, in its order."""
    return re.findall(r"""href=["'](?!data:|#)([^"']*)""", path.read_text(encoding="utf-8"))


def test_every_table_and_figure_has_its_file_beside_it_in_the_folder(reported):
    folder = reported[0] / "toy"
    found = downloads(folder / "report.html")
    there = {p.relative_to(folder).as_posix() for end in ("tables/*.csv", "figures/*.pdf") for p in folder.glob(end)}
    assert len(found) == len(set(found)) > 20 and set(found) == there


def test_a_page_of_several_studies_leads_into_the_folder_of_each(records, tmp_path):
    made = Made(tables={"headline": headline.build(records, 0)})
    pairs = [(Source(name, name, records, tmp_path / "records.csv"), made) for name in ("one", "two")]
    folders = {name: tmp_path / name for name in ("one", "two")}
    assert downloads(write_report(pairs, tmp_path / "report.html", folders)) == [
        "one/tables/headline.csv", "two/tables/headline.csv",
    ]  # fmt: skip


def test_headline_then_support_then_diagnostics_then_what_is_not_shown(reported):
    page = (reported[0] / "toy" / "report.html").read_text(encoding="utf-8")
    order = re.findall(r'<(?:section|h2) id="(?:toy-)?([a-z_-]*)"', page)
    assert order[:4] == ["headline", "table-headline", "explorer", "explorer-head"]
    assert order[4] == "support" and order[-3:] == ["measures", "provenance", "lacking"]
    support, behind = order[5 : order.index("diagnostic")], order[order.index("diagnostic") + 1 : -3]
    uses = {f"{part.kind}-{part.name}": item.use for item in map(items.Item, items.every()) for part in item.parts()}
    assert {uses[name] for name in support} == {"support"} and {uses[name] for name in behind} == {"diagnostic"}
    assert "table-exclusions" in behind and "figure-forest" in support


def test_what_a_studys_file_names_first_is_its_headline(records, tmp_path):
    made = Made(tables={n: headline.build(records, 0) for n in ("last_layer", "headline", "settings")})
    page = write_report([(Source("lenet5_cifar10", "L", records, tmp_path), made)], tmp_path / "a/report.html")
    order = re.findall(r'<(?:section|h2) id="lenet5_cifar10-([a-z_-]*)"', page.read_text(encoding="utf-8"))
    assert order[:5] == ["headline", "table-last_layer", "table-headline", "support", "table-settings"]


def test_every_measure_of_the_records_is_defined_once_and_led_to(records, tmp_path):
    records["measure.mine"] = records["measure.hessian_trace"]
    made = Made(tables={"headline": headline.build(records, 0)})
    path = write_report([(Source("toy", "Toy", records, tmp_path), made)], tmp_path / "toy/report.html")
    page = path.read_text(encoding="utf-8")
    labels = {Label.parse(label).measure for label in measures(records)}
    assert sorted(re.findall(r"id=\"measure-(\w+)\"", page)) == sorted(labels)
    assert sorted(re.findall(r"href='#measure-(\w+)'", page)) == sorted(labels)
    said = definition(MEASURES["hessian_trace"])
    for text in (said["Meaning"], said["Formula"], said["Source"], UNKNOWN):
        assert str(escape(text)) in page
    assert "without changing its function" not in page


def test_a_transform_is_defined_where_networks_were_measured_again(make_records):
    assert transforms_defined([make_records()]) == ""
    said = transforms_defined([make_records(transforms=("layerwise_1", "factor_1e-3"))])
    assert "layerwise by one factor of 5 to 25" in said and "factor by the one given" in said
    assert "neuronwise" not in said


@pytest.mark.slow
def test_the_same_records_give_the_same_bytes(reported, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    again = put(synthetic_records(), tmp_path)
    main(["report", "toy", "--results", str(again)])
    first, second = (
        {p.relative_to(r): p.read_bytes() for p in r.rglob("*") if p.is_file()} for r in (reported[0], again)
    )
    assert first.keys() == second.keys()
    for name, content in first.items():
        assert content == second[name], name


def test_nothing_is_made_again_unless_something_changed(tmp_path, capsys, monkeypatch):
    results = put(synthetic_records(), tmp_path)
    picture, page = results / "toy" / "figures" / "forest.png", results / "toy" / "report.html"
    builds = []

    def build(sources: list[Source], folders: dict[str, Path], path: Path) -> tuple[list[Path], str]:
        builds.append(len(sources[0].records))
        picture.parent.mkdir(exist_ok=True)
        picture.write_bytes(b"a picture")
        path.write_text("a page")
        return [picture, path], f"{len(sources[0].records)} rows \u03c4\n"

    monkeypatch.setattr(commands, "write_all", build)

    def again() -> tuple[str, int]:
        builds.clear()
        assert main(["report", "toy", "--results", str(results)]) == 0
        return capsys.readouterr().out, len(builds)

    printed, made = again()
    assert made == 1 and printed.endswith(f"rows \u03c4\n{page}\n")
    assert again() == (printed, 0)
    picture.write_bytes(b"scribbled over")
    assert again() == (printed, 1) and picture.read_bytes() == b"a picture"
    page.unlink()
    assert again() == (printed, 1) and page.is_file()
    for broken in ("{", "[]", '{"fingerprint": 1}'):
        (results / "toy" / "report.made.json").write_text(broken)
        assert again() == (printed, 1)
    records = pd.read_csv(results / "toy" / "records.csv")
    records.loc[0, "gap.loss"] *= 1.5
    records.to_csv(results / "toy" / "records.csv", index=False)
    assert again() == (printed, 1)
    assert again() == (printed, 0)
    (results / "toy" / "report.made.json").unlink()
    (results / "toy" / "report.made.json").mkdir()  # where no note can be kept, all is made again
    assert again() == (printed, 1)


def test_the_mark_knows_the_code_the_frames_and_the_options(records, tmp_path, monkeypatch):
    source = Source("toy", "Toy", records, tmp_path / "records.csv")
    mark = cache.fingerprint([source])
    assert mark == cache.fingerprint([replace(source, records=records.copy())])
    others = [replace(source, title="Another"), replace(source, timings=records), replace(source, committed=True)]
    others.append(
        replace(source, records=records.assign(**{"train.converged": records["train.converged"].astype(int)}))
    )
    marks = [cache.fingerprint([other]) for other in others]
    (tmp_path / "code.py").write_text("pass")
    monkeypatch.setattr(cache, "PACKAGE", tmp_path)
    marks.append(cache.fingerprint([source]))
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "code.cpython-311.pyc.140250").write_text("half of it, renamed in a moment")
    assert cache.fingerprint([source]) == marks[-1]
    assert len({mark, *marks}) == 1 + len(marks)


def test_what_a_study_lacks_is_printed(reported):
    (line,) = [line for line in reported[1] if line.startswith("not shown: ")]
    assert "; figure slices (needs slices.csv" in line and "table reparameterization (needs" in line
    page = (reported[0] / "toy" / "report.html").read_text(encoding="utf-8")
    assert page.count("figure slices: needs slices.csv") == 1 and 'id="toy-table-reparameterization"' not in page


def test_a_missing_study_is_one_line_and_status_2(tmp_path, capsys):
    assert main(["report", "nothing", "--results", str(tmp_path)]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: nothing: records: none found") and captured.err.count("\n") == 1


def test_every_stop_and_target_has_its_rows(make_records):
    table = correlation.build(make_records(stops=("loss_0.1", "loss_0.01", "epoch_20")), resamples=0)
    assert table["stop"].unique().tolist() == ["loss_0.1", "loss_0.01", "epoch_20"]
    assert table["target"].unique().tolist() == ["gap.loss", "gap.error", "test.error"]


def test_all_runs_excluded_is_said_rather_than_a_crash(records, tmp_path):
    records["train.converged"] = False
    (tmp_path / "toy").mkdir()
    records.to_csv(tmp_path / "toy" / "records.csv", index=False)
    made = make(load_study("toy", tmp_path))
    assert "table correlation" in made.lacking and "figure forest" in made.lacking
    assert main(["report", "toy", "--results", str(tmp_path)]) == 0


def test_analysis_starts_without_torch():
    code = "import sys, analysis.page.report, analysis.make; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_first_table_counts_only_what_its_own_stop_left_out(make_records):
    frame = make_records(stops=("loss_0.1", "loss_0.01"))
    late = (frame["stop"] == "loss_0.01") & (frame["hp.lr"] == 0.1)
    frame.loc[late, "train.converged"] = False
    table = correlation.build(frame, resamples=0)
    note = headline.build(frame, resamples=0).attrs["note"]
    assert "loss_0.01: 51 of 81 runs" in note and "loss_0.1:" not in note
    assert "loss_0.1: 78 of 81 runs" in table.attrs["note"]
