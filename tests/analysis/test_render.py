"""One frame, four formats; figures with embedded fonts and the same bytes twice."""

from __future__ import annotations

import io
import re
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from analysis.drawing import figure_file, render, style, terminal
from analysis.drawing.ticks import linear, logarithmic
from analysis.manuscript.number import Number, printed
from analysis.page.element import table_html
from analysis.stopwise import lacking


@pytest.fixture
def table() -> pd.DataFrame:
    frame = pd.DataFrame(
        {"measure": ["relative_flatness", "new_measure"], "n": [3, 2], "tau_b": [0.5, np.nan],
         "tau_b.low": [-0.25, np.nan], "tau_b.high": [0.75, np.nan], "note": ["", "50% & more_"]}
    )  # fmt: skip
    frame.attrs |= {"title": "A title", "note": "n < 4 of τ_b"}
    return frame


def test_csv_gives_the_numbers_back(table):
    again = pd.read_csv(io.StringIO(render.to_csv(table)), keep_default_na=True)
    assert np.array_equal(again["tau_b"], table["tau_b"], equal_nan=True)
    assert list(again) == list(table)


def test_markdown_joins_value_and_interval(table):
    text = render.to_markdown(table)
    assert "| relative flatness | 3 | 0.50 [−0.25, 0.75] |" in text
    assert text.startswith("**A title**") and "n < 4 of τ_b" in text
    assert "| new measure | 2 | n/a |" in text


def test_latex_escapes_and_balances(table):
    text = render.to_latex(table)
    assert r"50\% \& more\_" in text and r"Kendall $\tau_b$" in text
    assert text.count(r"\begin{") == text.count(r"\end{") and r"\textless{} 4" in text
    assert not set("τ−<") & set(text)


def test_terminal_text_shows_every_row_without_markup(table):
    text = terminal.to_text(table, 100)
    assert "0.50 [−0.25, 0.75]" in text and "n/a" in text and "\x1b" not in text


def test_a_terminal_that_is_too_narrow_loses_no_number():
    words = "adaptive sharpness in its worst case with a long name"
    wide = pd.DataFrame(
        {"measure": [words] * 2, "nearest": [words] * 2, **{f"c{i}": [i + 0.25] * 2 for i in range(12)}}
    )
    text = terminal.to_text(wide, 80)
    assert all(text.count(f"{i}.25") >= 2 for i in range(12)) and len(set(map(len, text.splitlines()))) == 1
    assert words.split() == [w for line in text.splitlines()[1:] for w in line[:24].split() if w.isalpha()][:10]
    fits = wide[["measure", "nearest", "c1", "c2"]]
    assert max(map(len, terminal.to_text(fits, 80).splitlines())) == 80
    assert max(map(len, terminal.to_text(wide[["measure", "nearest"]].assign(note=words), 60).splitlines())) == 60


def test_a_lacking_table_says_so_in_every_format():
    table = lacking("Costs", "timings.csv")
    for text in (render.to_markdown(table), render.to_latex(table), terminal.to_text(table)):
        assert "timings.csv" in text
    assert render.to_csv(table).strip() == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.126, "0.13"),
        (0.0, "0.00"),
        (-0.0, "0.00"),
        (0.0012, "0.0012"),
        (-0.0012, "−0.0012"),
        (0.003, "0.0030"),
        (-0.005, "−0.01"),
        (np.inf, "∞"),
        (1234567.0, "1.2e+06"),
        (0.00012, "0.00012"),
        (True, "True"),
        (None, "n/a"),
    ],
)
def test_numbers_are_short_and_signed(value, text):
    assert render.number(value) == text


@pytest.mark.parametrize("column", ["q_bh", "q_bh_after", "tau_b_q", "pearson_q", "p_permutation"])
def test_a_q_beside_the_one_below_which_it_is_clear_is_on_its_side(column):
    assert [row[0] for row in render.cells(pd.DataFrame({column: [0.0462, 0.0538]}))[1]] == ["0.046", "0.054"]


def test_a_bound_beside_zero_shows_its_sign_in_every_format():
    table = pd.DataFrame({"tau_b": [0.31, 0.31], "tau_b.low": [0.0012, -0.0012], "tau_b.high": [0.58, 0.58]})
    for text in (render.to_markdown(table), terminal.to_text(table), table_html(table)):
        assert "0.31 [0.0012, 0.58]" in text and "0.31 [−0.0012, 0.58]" in text
    assert "[0.0012, 0.58]" in render.to_latex(table) and "[$-$0.0012, 0.58]" in render.to_latex(table)
    both = [Number(0.31, end, 0.58, shown="interval") for end in (0.0012, -0.0012)]
    assert [printed(x) for x in both] == ["[0.0012, 0.58]", "[−0.0012, 0.58]"]
    assert [printed(x, latex=True) for x in both] == ["[$0.0012$, $0.58$]", "[$-0.0012$, $0.58$]"]


def test_a_note_that_all_rows_share_is_said_once(table):
    table["note"] = "2 configurations; an interval needs 3"
    once = "Every row: 2 configurations; an interval needs 3."
    for text in (render.to_markdown(table), render.to_latex(table), table_html(table)):
        assert text.count("configurations") == 1 and once in text
        assert text.count("n < 4") + text.count("n &lt; 4") + text.count(r"n \textless{} 4") == 1
    assert once in " ".join(terminal.to_text(table).split())
    assert render.to_csv(table).count("an interval needs 3") == 2, "a cell a row, for machines"
    table.loc[1, "note"] = ""
    assert "Every row" not in render.to_markdown(table) and "| 2 configurations; an" in render.to_markdown(table)


def test_figure_bytes_do_not_depend_on_the_clock(tmp_path):
    def draw() -> Figure:
        with style.paper_style():
            figure = Figure(figsize=(2, 2))
            figure.subplots().plot([1, 2], [1, 2])
        return figure

    first = [p.read_bytes() for p in figure_file.write_figure(draw(), tmp_path / "a")]
    second = [p.read_bytes() for p in figure_file.write_figure(draw(), tmp_path / "b")]
    assert first == second
    assert b"Type3" not in first[0].replace(b" ", b"") and b"CreationDate" not in first[0]


RANGES = [(1e-6, 1e3), (0.02, 1.2), (900, 5500), (300, 2200), (330, 780), (510, 590), (2.7e-4, 5.5e-3), (1e-5, 4e-5)]
RANGES += [(10**low, 10 ** (low + wide)) for low, wide in np.random.default_rng(0).uniform([-5, 0.1], [4, 3], (16, 2))]


@pytest.mark.parametrize("columns", [1, 4, 8])
def test_a_logarithmic_axis_has_some_labels_over_any_range_and_none_runs_into_another(columns):
    for start in range(0, len(RANGES), columns):
        ranges = RANGES[start : start + columns]
        with style.paper_style():
            figure = Figure(figsize=(style.PAGE, 2))
            every = figure.subplots(1, columns, squeeze=False)[0]
            for axes, ends in zip(every, ranges, strict=True):
                axes.scatter(ends, [0.123, 0.456])
                logarithmic(axes)
            figure.draw_without_rendering()
        for axes, ends in zip(every, ranges, strict=True):
            low, high = axes.get_xlim()
            at = axes.get_xticks()
            labels = axes.get_xticklabels()
            texts = [label.get_text() for label in labels]
            assert (2 if columns == 1 else 1) <= len(at) <= 4 and low <= min(at) <= max(at) <= high, (ends, at)
            assert all(texts) and len(set(texts)) == len(texts), (ends, texts)
            read = [eval(re.sub(r"\$|\{|\}", "", t).replace(r"\times", "*").replace("^", "**")) for t in texts]
            assert read == pytest.approx(list(at), rel=1e-4), (ends, texts)
            places = [(box.x0, box.x1) for box in (label.get_window_extent() for label in labels)]
            assert all(before < after for (_, before), (after, _) in pairwise(places)), (ends, texts)


@pytest.mark.parametrize("values", [[5.0, 5.0], [5.0], [1000.0, 1000.01], []])
def test_a_logarithmic_axis_of_one_value_is_drawn(values):
    with style.paper_style():
        figure = Figure(figsize=(style.PAGE, 2))
        axes = figure.subplots()
        axes.scatter(values, values)
        logarithmic(axes)
        figure.draw_without_rendering()
    assert len(axes.get_xticks()) == len({label.get_text() for label in axes.get_xticklabels()}) >= 1


@pytest.mark.parametrize("ends", [(2_000, 34_000), (30_000, 105_000), (60_000, 240_000), (-9e5, 9e5), (500, 1_900)])
def test_long_numbers_on_a_linear_axis_stand_apart(ends):
    with style.paper_style():
        figure = Figure(figsize=(style.PAGE, 2))
        for axes in figure.subplots(1, 5, sharey=True):
            axes.scatter(ends, [0.123, 0.456])
            linear(axes)
        figure.draw_without_rendering()
    low, high = axes.get_xlim()
    shown = [t for t, at in zip(axes.get_xticklabels(), axes.get_xticks(), strict=True) if low <= at <= high]
    places = [(box.x0, box.x1) for box in (label.get_window_extent() for label in shown)]
    apart = 4 * figure.dpi / 72  # points
    assert len(places) > 1 and all(after - before > apart for (_, before), (after, _) in pairwise(places)), shown
