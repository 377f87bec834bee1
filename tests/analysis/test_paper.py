"""The paper's tables, figures and appendix are made of committed records alone; LaTeX is content."""

from __future__ import annotations

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


def test_a_missing_latex_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("analysis.manuscript.paper.shutil.which", lambda name: None)
    with pytest.raises(InputError, match="latexmk: not installed: needed are"):
        paper.build_pdf(tmp_path)
