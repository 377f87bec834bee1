"""`python -m analysis report`: the table, the files, the page and its path, from records alone."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from analysis.__main__ import main
from analysis.load import load_study
from analysis.make import make, parts


@pytest.fixture
def results(records, tmp_path):
    folder = tmp_path / "results" / "toy"
    folder.mkdir(parents=True)
    records.to_csv(folder / "records.csv", index=False)
    items = ("train", "evaluate", "relative_flatness", "hessian_trace")
    timings = pd.DataFrame(
        [{"key": k, "stop": "loss_0.01", "item": i, "seconds": 0.25} for k in records["key"] for i in items]
    )
    timings.to_csv(folder / "timings.csv", index=False)
    return tmp_path / "results"


def test_report_prints_the_table_and_last_the_page(results, capsys):
    assert main(["report", "toy", "--results", str(results)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == str(results / "toy" / "report.html") and Path(lines[-1]).is_file()
    flat = next(line for line in lines if line.startswith("relative flatness  "))
    trace = next(line for line in lines if line.startswith("Hessian trace"))
    first = [float(re.search(r"(−?\d\.\d\d) \[", line).group(1).replace("−", "-")) for line in (flat, trace)]
    assert first[0] > first[1] + 0.3
    assert "not_converged" in " ".join(lines) and ": 3;" in " ".join(lines)


def test_report_writes_each_table_three_times_and_each_figure_twice(results):
    main(["report", "toy", "--results", str(results)])
    for name in ("correlation", "layers", "exclusions", "cost"):
        assert {p.suffix for p in (results / "toy" / "tables").glob(f"{name}.*")} == {".csv", ".md", ".tex"}
    for name in ("forest", "scatter"):
        pdf = (results / "toy" / "figures" / f"{name}.pdf").read_bytes()
        assert pdf.startswith(b"%PDF") and b"/Type3" not in pdf
        assert (results / "toy" / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_page_holds_everything_and_asks_the_network_for_nothing(results):
    main(["report", "toy", "--results", str(results)])
    page = (results / "toy" / "report.html").read_text(encoding="utf-8")
    for word in ("relative flatness", "not_converged", "0" * 40, "2.13.0", "stacked", "cpu", "total seconds"):
        assert word in page
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#)[^"']*""", page)
    assert "http://" not in page.replace("http://www.w3.org", "") and "https://" not in page and "@import" not in page


def test_the_same_records_give_the_same_bytes(results):
    def everything() -> dict[str, bytes]:
        main(["report", "toy", "--results", str(results)])
        return {str(p): p.read_bytes() for p in (results / "toy").rglob("*") if p.is_file()}

    assert everything() == everything()


def test_a_study_without_timings_says_what_is_lacking(results, capsys):
    (results / "toy" / "timings.csv").unlink()
    main(["report", "toy", "--results", str(results)])
    assert "not shown: table cost: needs timings.csv" in capsys.readouterr().out


def test_a_missing_study_is_one_line_and_status_2(tmp_path, capsys):
    assert main(["report", "nothing", "--results", str(tmp_path)]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: nothing: records: none found") and captured.err.count("\n") == 1


def test_every_part_builds_from_records_of_several_stops(make_records, tmp_path):
    folder = tmp_path / "toy"
    folder.mkdir()
    make_records(stops=("loss_0.1", "loss_0.01", "epoch_20"), transforms=("layerwise_1",)).to_csv(
        folder / "records.csv", index=False
    )
    made = make(load_study("toy", tmp_path))
    assert set(made.tables) == {p.name for p in parts("tables")}
    table = made.tables["correlation"]
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
    code = "import sys, analysis.report, analysis.make; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
