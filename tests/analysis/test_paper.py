"""The paper is made of committed records alone; each number of its text is generated; LaTeX is content."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from analysis.load import InputError
from analysis.manuscript import paper
from tests.support.synthetic import synthetic_lenet, synthetic_mnist

ROOT = Path(__file__).parents[2] / "paper"
needs_latex = pytest.mark.skipif(shutil.which("latexmk") is None, reason="latexmk is not installed (see README)")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, module_records) -> Path:
    """A copy of paper/ with everything generated from synthetic records of every study that its text has room for."""
    root = tmp_path_factory.mktemp("paper")
    committed = root / "records"
    committed.mkdir()
    module_records.to_csv(committed / "digits_mlp.csv", index=False)
    mnist = synthetic_mnist(2)
    mnist[mnist["stop"].str.contains("loss")].to_csv(committed / "mnist_mlp_layers.csv", index=False)
    for name, seed in (("lenet5_cifar10", 0), ("lenet5_fashion", 1)):
        few = synthetic_lenet(2, ("loss_0.01", "epoch_40"), seed)
        few[[c for c in few if "factor" not in c and "wise_2" not in c]].to_csv(committed / f"{name}.csv", index=False)
    for name in ("main.tex", "references.bib"):
        shutil.copy(ROOT / name, root / name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STUDY_RECORDS", str(committed))
        paper.generate(root)
    return root


def test_every_number_of_the_text_is_generated(folder):
    text = re.sub(r"(?m)%.*$", "", (folder / "main.tex").read_text())
    asked = set(re.findall(r"\\val\{([^}]+)\}", text)) - {"#1"}
    lenet = ("lenet5_cifar10", "lenet5_fashion")
    asked = {name.replace("#1", study) for name in asked for study in (lenet if "#1" in name else ("",))}
    defined = set(re.findall(r"\\setval\{([^}]+)\}", (folder / "numbers.tex").read_text()))
    assert len(asked) > 90 and asked <= defined


def test_no_result_is_typed_by_hand(folder):
    body = (
        re.sub(r"(?m)%.*$", "", (folder / "main.tex").read_text())
        .split(r"\section{Results}")[1]
        .split(r"\section{Dev")[0]
    )
    body = re.sub(r"\\(val|ref|label|input|includegraphics(\[[^]]*\])?)\{[^}]*\}", "", body)
    assert re.findall(r"\d*\.\d+", body) == []


def test_numbers_are_those_of_the_records(folder, module_records):
    from analysis.statistics.correlation import correlate

    kept = module_records[module_records["train.converged"]]
    ours = correlate(kept).set_index("measure").loc["relative_flatness"]
    numbers = (folder / "numbers.tex").read_text()
    assert rf"\setval{{digits_mlp.relative_flatness.tau_b}}{{${ours['tau_b']:.2f}$}}" in numbers
    assert r"\setval{digits_mlp.kept}{78}" in numbers and r"\setval{digits_mlp.excluded.not_converged}{3}" in numbers


def test_a_long_table_is_cut_into_pages_with_its_note_last():
    table = pd.DataFrame({"a": range(100)})
    table.attrs |= {"title": "t", "note": "n"}
    parts = paper.pieces(table, 40)
    assert [len(p) for p in parts] == [40, 40, 20] and [("note" in p.attrs) for p in parts] == [False, False, True]
    assert paper.pieces(table, 100)[0] is table


def test_complaints_are_found_in_a_log():
    log = "Overfull \\hbox (3.5pt too wide)\nfine\nReference `x' on page 1 undefined on input line 7.\n! Bad\n"
    assert len(paper.complaints(log)) == 3 and paper.complaints("Underfull \\hbox\n") == []


@needs_latex
@pytest.mark.slow
def test_the_pdf_builds_without_complaints(folder):
    pdf = paper.build_pdf(folder)
    assert pdf.read_bytes().startswith(b"%PDF") and b"/Type3" not in pdf.read_bytes()
    assert paper.complaints((folder / "main.log").read_text(errors="replace")) == []


@needs_latex
@pytest.mark.slow
def test_a_number_that_is_not_generated_stops_the_build(folder, tmp_path):
    broken = tmp_path / "paper"
    shutil.copytree(folder, broken)
    text = (broken / "main.tex").read_text()
    (broken / "main.tex").write_text(text.replace(r"\section{Limits}", r"\section{Limits} \val{digits_mlp.nothing}"))
    with pytest.raises(InputError, match=r"Number digits_mlp\.nothing is not in numbers\.tex"):
        paper.build_pdf(broken)


def test_a_missing_latex_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("analysis.manuscript.paper.shutil.which", lambda name: None)
    with pytest.raises(InputError, match="latexmk: not installed: needed are"):
        paper.build_pdf(tmp_path)
