"""The parts of the paper: tables cut to pages, figures and headings; a fault is one line."""

from __future__ import annotations

import pandas as pd
import pytest

from analysis.drawing.render import to_latex
from analysis.load import InputError
from analysis.manuscript import appendix, paper
from analysis.manuscript.number import Number, printed


def test_a_long_table_is_cut_into_pages_with_its_note_last():
    table = pd.DataFrame({"a": range(100)})
    table.attrs |= {"title": "t", "note": "n"}
    parts = appendix.pieces(table, 40)
    assert [len(p) for p in parts] == [40, 40, 20] and [("note" in p.attrs) for p in parts] == [False, False, True]
    assert appendix.pieces(table, 100)[0].equals(table)


def test_a_table_is_cut_at_a_heading():
    table = pd.DataFrame([["one", ""], ["a", "1"], ["b", "2"], ["two", ""], ["a", "3"], ["b", "4"]], columns=["x", "y"])
    assert [list(p["x"]) for p in appendix.pieces(table, 4)] == [["one", "a", "b"], ["two", "a", "b"]]


def test_an_excerpt_is_of_one_stop_then_one_target_then_the_measures_asked_for():
    frame = pd.DataFrame(
        [
            {"stop": stop, "target": target, "measure": measure}
            for stop in ("loss_0.1", "epoch_5")
            for target in ("gap.loss", "gap.error")
            for measure in ("kappa_2019", "kappa_2019.fc2", "rho_max", "train_loss")
        ]
    )
    frame.attrs |= {"title": "t", "note": "all stops.", "note_at": {"epoch_5": "this stop."}}
    assert appendix.excerpt(frame, "epoch_5", 16) is frame
    assert len(appendix.excerpt(frame, "epoch_5", 8)) == 8
    few = appendix.excerpt(frame, "epoch_5", 2)
    assert list(few["measure"]) == ["kappa_2019", "train_loss"] and set(few["target"]) == {"gap.loss"}
    assert few.attrs["note"] == "this stop. 2 of 16 rows; the CSV has all."
    short, words = appendix.heading(few)
    assert list(short.columns) == ["measure"] and words == "t (epoch 5, loss gap)"


def test_rows_of_one_measure_stand_below_its_name():
    table = pd.DataFrame({"measure": ["kappa_2019"] * 2 + ["hessian_trace"] * 2, "layer": ["a", "b"] * 2, "n": [1] * 4})
    printed = appendix.grouped(table)
    assert list(printed["layer"]) == ["kappa 2019", "a", "b", "Hessian trace", "a", "b"]
    latex = to_latex(printed)
    assert r"\multicolumn{2}{@{}l}{\emph{kappa 2019}}" in latex and latex.count(r"\addlinespace") == 1
    alternating = pd.DataFrame({"measure": ["kappa_2019", "hessian_trace"] * 2, "n": [1] * 4})
    assert appendix.grouped(alternating) is alternating


def test_a_power_of_ten_is_one_in_latex():
    assert printed(Number(2.5e-07), latex=True) == r"$2.5 \cdot 10^{-7}$" and printed(Number(2.5e-07)) == "2.5e−07"
    assert printed(Number(12345), latex=True) == "$12{,}345$"


def test_an_item_that_a_study_lacks_is_one_line(tmp_path):
    with pytest.raises(InputError, match="figure: sweep: not available for mnist_mlp_layers: it needs"):
        appendix.draw("mnist_mlp_layers", "sweep", tmp_path)
    with pytest.raises(InputError, match=r"figure: nothing: allowed are .*forest"):
        appendix.draw("mnist_mlp_layers", "nothing", tmp_path)


def test_complaints_are_found_in_a_log():
    log = "Overfull \\hbox (3.5pt too wide)\nfine\nReference `x' on page 1 undefined on input line 7.\n! Bad\n"
    assert len(paper.complaints(log)) == 3
    assert paper.complaints("Underfull \\hbox\nOverfull \\hbox (0.4pt too wide)\n") == []


def test_a_missing_latex_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("analysis.manuscript.paper.shutil.which", lambda name: None)
    with pytest.raises(InputError, match="latexmk: not installed: needed are"):
        paper.build_pdf(tmp_path)
