"""Tables of papers: what they hold passes its checks, is read strictly, and stands beside ours as loops have it."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.columns import measures
from analysis.drawing import figure_file, render
from analysis.figures import Lacking
from analysis.figures import papers as figure
from analysis.load import InputError
from analysis.statistics.beside.order import LEAST
from analysis.statistics.beside.papers import DRAWS, Paper, Row, beside, order_beside, shared_axes
from analysis.statistics.grid.sign_error import sign_error
from analysis.statistics.selection import baselines, canonical
from analysis.studies.paper import read_papers
from analysis.tables import papers, papers_granulated, papers_sign_error
from analysis.vocabulary import measure_words
from study.measures.naming import canonical as written
from study.measures.naming import sets
from study.storage.paths import published_folder, published_studies
from tests.reference import statistics as slow

JIANG, DZIUGAITE = read_papers()
AXES = {"batch": ("hp.batch_size",), "lr": ("hp.lr", "hp.lr_factor"), "optim": ("hp.optimizer+hp.momentum",)}
OWN = ("param_norm", "path_norm", "l2", "cross_entropy")
TOY = """
title: Toy 2020
source: Nobody
tag: {R: recalled}
target: gap.error
statistic: granulated
axes: {lr: [hp.lr]}
measures:
  norm: {label: l2, values: [0.1, 0.2, 0.3]}
"""


def grid(n_seeds: int = 1) -> pd.DataFrame:
    """Batch sizes and learning rates crossed, an optimizer with its momentum; gaps that a test set of 10,000 orders."""
    r = np.random.default_rng(3)
    rows = [
        {"key": f"{at:03d}", "stop": "loss_0.01", "hp.batch_size": batch, "hp.lr": lr, "hp.momentum": momentum,
         "hp.optimizer": "adam" if momentum == 0 else "sgd", "hp.seed": seed, "train.status": "finished",
         "train.converged": True, "gap.error": round(r.random() / 2, 2), "gap.loss": r.random(), "n.test": 10_000,
         **{f"measure.{label}": float(r.integers(0, 6)) for label in OWN}}
        for at, (batch, lr, momentum, seed) in enumerate(
            itertools.product((8, 32, 128), (0.1, 0.2), (0.0, 0.9), range(n_seeds)))
    ]  # fmt: skip
    frame = pd.DataFrame(rows)
    frame.loc[4, "measure.l2"] = np.nan
    return frame.drop(index=7).reset_index(drop=True)


def paper(statistic: str = "granulated", axes: dict[str, tuple[str, ...]] = AXES) -> Paper:
    """A paper of OWN, of an oracle and of the canonical ordering, and of a measure that we have not."""
    n = len(axes) + 2 if statistic == "granulated" else 2
    numbers = np.random.default_rng(5).random((len(OWN) + 3, n)).round(2).tolist()
    named = [{"label": label} for label in OWN]
    named += [{"baseline": "oracle(0.05)"}, {"baseline": "canonical_ordering"}, {"without": "theirs alone"}]
    rows = tuple(Row(f"r{at}", tuple(each), **of) for at, (each, of) in enumerate(zip(numbers, named, strict=True)))
    return Paper("Toy 2020", "Nobody", "R", "recalled", "gap.error", statistic, axes, rows)


def settings(frame: pd.DataFrame) -> list[dict]:
    """Each row's levels, of the optimizer and its momentum together."""
    both = frame["hp.optimizer"] + frame["hp.momentum"].astype(str)
    return frame[["hp.batch_size", "hp.lr"]].assign(**{"hp.optimizer+hp.momentum": both}).to_dict("records")


def test_both_papers_are_whole_and_psi_is_the_mean_of_its_axes():
    assert (len(JIANG.rows), JIANG.tag, len(DZIUGAITE.rows), DZIUGAITE.tag) == (23, "R", 24, "3")
    for row in JIANG.rows:
        assert len(row.numbers) == 9 and row.numbers[-1] == pytest.approx(np.mean(row.numbers[:7]), abs=0.001), row.name
    assert all(mean <= p90 for mean, p90 in (row.numbers for row in DZIUGAITE.rows))
    best = [max(JIANG.rows[at].numbers[-1] for at in range(23) if JIANG.rows[at].label)]
    assert best == [0.516] and [r.name for r in JIANG.rows if r.numbers[-1] == 0.516] == ["1/alpha' sharpness mag"]


def test_the_adjustment_for_sample_size_changes_no_order_of_a_published_study():
    networks_of_one_question = set(published_studies()) - {"invariance"}  # which has one network a data set
    for name in sorted(networks_of_one_question):
        n_train = pd.read_csv(published_folder() / f"{name}.csv", usecols=["n.train"])["n.train"]
        assert len(set(n_train)) == 1, name


def test_every_label_is_a_measure_that_is_taken_with_its_options():
    named = [row.label for one in (JIANG, DZIUGAITE) for row in one.rows if row.label]
    others = [row.instead for one in (JIANG, DZIUGAITE) for row in one.rows if row.instead]
    assert [written(label) for label in named + others] == named + others and set(named) <= set(sets()["library"])
    assert all(row.ours or row.without for one in (JIANG, DZIUGAITE) for row in one.rows)


def test_a_label_that_few_networks_have_gives_way_to_the_one_that_stands_for_it():
    frame, toy = grid(), paper()
    rows = tuple(replace(row, instead="l2(eps=1)") if row.label == "l2" else row for row in toy.rows)
    at = [row.label for row in rows].index("l2")
    whole = beside(frame, toy)
    frame["measure.l2(eps=1)"] = frame["measure.path_norm"]
    kept = beside(frame, replace(toy, rows=rows))
    assert kept.paper.rows[at].ours == "l2" and kept.ours.equals(whole.ours), "it has values"
    frame["measure.l2"] = np.where(np.arange(len(frame)) < (len(frame) + 1) // 2, 1.0, np.nan)
    assert beside(frame, replace(toy, rows=rows)).paper.rows[at].ours == "l2", "half have it"
    frame.loc[0, "measure.l2"] = np.nan
    other = beside(frame, replace(toy, rows=rows))
    assert other.paper.rows[at].ours == "l2(eps=1)"
    assert other.ours.loc[at].equals(whole.ours.loc[OWN.index("path_norm")])
    assert other.paper.rows[at].note == "ours is l2(eps=1): fewer than half of the networks have l2"
    assert beside(frame.drop(columns="measure.l2(eps=1)"), replace(toy, rows=rows)).paper.rows[at].ours == "l2"
    frame["measure.l2(eps=1)"] = frame["measure.l2"]
    assert beside(frame, replace(toy, rows=rows)).paper.rows[at].ours == "l2", "as few have the other"


@pytest.mark.parametrize("n_seeds", [1, 2])
def test_psi_tau_and_their_mean_equal_loops(n_seeds):
    frame, toy = grid(n_seeds), paper()
    frame = frame[frame["hp.seed"] == 0].reset_index(drop=True) if n_seeds == 1 else frame
    two = beside(frame, toy)
    own = {"batch": "hp.batch_size", "lr": "hp.lr", "optim": "hp.optimizer+hp.momentum"}
    assert two.shared == {**own, "optim": "hp.momentum+hp.optimizer"} and two.target == "gap.error"
    gap, held = frame["gap.error"].tolist(), settings(frame)
    seeded = [setting | {"seed": seed} for setting, seed in zip(held, frame["hp.seed"], strict=True)]
    for at, label in enumerate(OWN):
        x = frame[f"measure.{label}"].tolist()
        psi = [slow.psi(x, gap, seeded, axis, "a")[0] for axis in own.values()]
        assert two.ours.loc[at, list(own)].tolist() == pytest.approx(psi)
        assert two.ours.loc[at, "psi_all"] == pytest.approx(slow.mean(psi))
        assert two.ours.loc[at, "tau_a"] == pytest.approx(slow.tau(*slow.complete(x, gap), "a"))
    noisy = baselines(frame, frame["gap.error"].to_numpy())["oracle(0.05)"][:DRAWS]
    along = [slow.psi(x.tolist(), gap, seeded, "hp.lr", "a")[0] for x in noisy]
    assert two.ours.loc[4, "lr"] == pytest.approx(slow.mean(along))
    rank = canonical(frame).tolist()
    assert two.ours.loc[5, "batch"] == pytest.approx(slow.psi(rank, gap, seeded, "hp.batch_size", "a")[0])
    assert two.ours.loc[6].isna().all(), "a measure that we have not"


def whole_mean(values):
    """NaN where one of the seeds has no value."""
    return values.mean(skipna=False)


@pytest.mark.parametrize("n_seeds", [2, 4])
def test_sign_errors_equal_loops_over_environments_of_seeds_or_of_means(n_seeds):
    frame, toy = grid(n_seeds), paper("sign_error", {"batch": ("hp.batch_size",), "lr": ("hp.lr",)})
    two = beside(frame, toy)
    assert two.of_means == (n_seeds == 2)
    names = ["hp.batch_size", "hp.lr", "hp.optimizer", "hp.momentum"]
    for at, label in enumerate(OWN):
        column = f"measure.{label}"
        of = frame.groupby(names, as_index=False)[[column, "gap.error"]].agg(whole_mean) if two.of_means else frame
        used = []
        for _, part in of.groupby("hp.optimizer"):  # their environments are not of the optimizer
            x, y = part[column].tolist(), part["gap.error"].tolist()
            each = part[["hp.batch_size", "hp.lr"]].to_dict("records")
            used += slow.environments(x, y, each, 10_000, 0 if two.of_means else 12)[0]
        assert two.ours.loc[at, "sign_error_mean"] == pytest.approx(slow.mean(used))
        assert two.ours.loc[at, "sign_error_p90"] == pytest.approx(np.quantile(used, 0.9))


def test_the_order_is_that_of_measures_alone_with_an_interval_over_them():
    two = beside(grid(), paper())
    found = order_beside(two).set_index("statistic")
    assert list(found.index) == ["psi_all", "tau_a", "batch", "lr", "optim"] and set(found["measures"]) == {4}
    theirs, ours = (table["lr"].tolist()[:4] for table in (two.published, two.ours))
    assert found.loc["lr", "tau_b"] == pytest.approx(slow.tau(theirs, ours, "b"))
    far = sorted(abs(a - b) for a, b in zip(theirs, ours, strict=True))
    assert found.loc["lr", "difference"] == pytest.approx((far[1] + far[2]) / 2)
    exact = replace(two, ours=two.published)
    assert set(order_beside(exact)["tau_b"]) == {1}


def test_what_is_0_in_both_by_construction_is_no_agreement():
    toy = paper()
    toy = replace(toy, rows=(replace(toy.rows[0], numbers=(0.0, 0.3, 0.0, 0.1, 0.1)), *toy.rows[1:]))
    one_value = beside(grid().assign(**{"measure.param_norm": 7.0}), toy)
    assert one_value.constant == {"param_norm"} and one_value.ours.iloc[0].tolist() == [0] * 5
    assert set(order_beside(one_value)["measures"]) == {3}, "three others vary"
    along = beside(grid().assign(**{"measure.param_norm": lambda f: f["hp.lr"]}), toy)
    found = order_beside(along).set_index("statistic")["measures"]
    assert along.constant == frozenset() and found[["batch", "lr", "tau_a"]].tolist() == [3, 4, 4]
    signs = paper("sign_error", {"batch": ("hp.batch_size",), "lr": ("hp.lr",)})
    none = beside(grid(2).assign(**{"measure.param_norm": 7.0}), signs)
    assert set(order_beside(none)["measures"]) == {3} and none.ours.iloc[0].tolist() == [0.5, 0.5]


def test_an_axis_that_is_changed_with_another_is_none_of_the_papers_and_psi_is_then_of_those_shared():
    frame = grid().assign(**{"hp.width": lambda f: f["hp.lr"] * 10})
    assert shared_axes(frame, paper()) == {"batch": "hp.batch_size", "optim": "hp.momentum+hp.optimizer"}
    two = beside(frame, paper())
    assert two.ours[["lr", "psi_all"]].isna().all(axis=None)
    for table in (two.published, two.ours):
        mean = table[["batch", "optim"]].mean(axis=1, skipna=False)
        pd.testing.assert_series_equal(table["psi_shared"], mean, check_names=False)
    only = beside(frame[(frame["hp.batch_size"] == 8) & (frame["hp.momentum"] == 0)].reset_index(drop=True), paper())
    assert only.shared == {} and list(only.ours.columns[only.ours.notna().any()]) == ["tau_a"]


def test_tables_print_theirs_under_its_tag_and_ours_below_and_say_what_has_none():
    frame, both = grid(), (paper(), paper("sign_error"))
    table = papers_granulated.build(frame, both)
    assert table["of"].tolist()[:2] == ["[R]", "ours"] and len(table) == 7 + 6
    assert "[R] of Toy 2020: recalled. Nobody." in table.attrs["note"]
    assert "r6 (theirs alone)" in table.attrs["note"] and "about the error gap" in table.attrs["note"]
    row = render.to_markdown(table).splitlines()[-3]
    assert row.startswith("| [R] | r6 |"), "and none of ours below it"
    assert table["name"].tolist()[:2] == ["r0", "param_norm"]
    signs = papers_sign_error.build(frame, both)
    assert signs["mean_ours"].notna().sum() == 6
    summary = papers.build(frame, both)
    assert summary["paper"].unique().tolist() == ["Toy 2020 [R]"] and len(summary) == 5 + 2
    assert summary["statistic"].tolist()[2:4] == ["ψ, batch", "ψ, lr"]
    assert summary["ours"].tolist()[2:4] == ["batch size", "learning rate"]


@pytest.mark.parametrize(
    ("n_seeds", "said"),
    [(1, ", of single networks, an environment being one pair"), (2, ", of means over seeds"), (4, "")],
)
def test_the_note_says_what_sign_errors_compare_and_over_how_many_environments(n_seeds, said):
    signs, own = paper("sign_error", {"batch": ("hp.batch_size",), "lr": ("hp.lr",)}), ["hp.batch_size", "hp.lr"]
    of = "means" if n_seeds < 4 else "runs"
    table = sign_error(grid(n_seeds), "gap.error", OWN, axes=own, of=of)
    used = table.loc[table["axis"] == "all", "used"].max()
    assert 18 < used <= 36, "18 pairs of 12 configurations, each in both orders"
    note = papers_sign_error.build(grid(n_seeds), (signs,)).attrs["note"]
    assert f"Ours: about the error gap{said}, {used} environments; axes" in note


def test_the_figure_has_a_panel_a_statistic_a_point_a_measure_and_grey_baselines():
    frame = grid()
    drawn = figure_file.settle(figure.build(frame, (paper(),)))
    panels = [axes for axes in drawn.axes if axes.get_title()]
    assert len(panels) == 5 and all(len(axes.lines) == 1 + 4 + 2 for axes in panels)
    two = beside(frame, paper())
    points = [tuple(float(v[0]) for v in line.get_data()) for line in panels[3].lines[1:]]
    assert points[0] == pytest.approx((two.published.loc[0, "lr"], two.ours.loc[0, "lr"]))
    assert [text.get_text() for text in drawn.legends[0].get_texts()] == list(map(measure_words, OWN))


def test_a_study_without_their_measures_says_what_it_needs(records):
    kept = records.drop(columns=[f"measure.{m}" for m in measures(records) if m != "relative_flatness"])
    for one in (papers, papers_granulated, papers_sign_error):
        assert "analysis/studies/papers" in one.build(kept, (JIANG, DZIUGAITE)).attrs["lacks"]
        assert one.build(kept.iloc[:0], (JIANG, DZIUGAITE)).attrs["lacks"]
    with pytest.raises(Lacking, match=f"{LEAST} measures"):
        figure.build(kept, (JIANG,))
    assert math.isnan(beside(kept, JIANG).ours["tau_a"].iloc[0])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("title: Toy 2020", "titel: Toy 2020", "titel: allowed are title, source"),
        ("source: Nobody\n", "", "source: not given: needed are title"),
        ("{R: recalled}", "R", "tag: 'R': allowed: tag: what it means"),
        ("{R: recalled}", "{R: recalled, 3: read}", "allowed is one, in words"),
        ("gap.error", "gap", "target: gap: allowed are gen.gap"),
        ("granulated", "median", "statistic: median: allowed are granulated, sign_error"),
        ("[hp.lr]", "[lr]", "axes.lr: lr: allowed is a list of ours"),
        ("{lr: ", "{tau_a: ", "axes: tau_a: allowed is a name other than psi_all"),
        ("label: l2", "label: l3", "measures.norm.label: 'l3': unknown measure, allowed: inverse_margin"),
        ("label: l2", "label: ece(bins=15)", r"measures.norm.label: ece\(bins=15\): allowed is ece"),
        ("label: l2", "baseline: guess", "measures.norm.baseline: guess: allowed are oracle"),
        ("label: l2", "label: l2, without: none", "measures.norm: label, without: allowed is one of label"),
        ("label: l2, ", "", "measures.norm: none: allowed is one of label, baseline, without"),
        ("label: l2", "without: none, instead: l2", "measures.norm.instead: l2: allowed is one beside a label"),
        ("label: l2", "label: l2, instead: l2", "measures.norm: l2: is that of norm, too: once is allowed"),
        ("label: l2", "label: l2, instead: l3", "measures.norm.instead: 'l3': unknown measure, allowed: "),
        ("0.3]", "a]", "measures.norm.values: 'a': a number is allowed"),
        (", 0.3]", "]", "allowed are 3 numbers from -1 to 1: lr, tau_a, psi_all"),
        ("0.3]", "1.5]", r"measures.norm.values: \[0.1, 0.2, 1.5\]: allowed are 3 numbers from -1 to 1"),
        ("0.3]}", "0.3]}\n  other: {label: l2, values: [0, 0, 0]}", "measures.other: l2: is that of norm, too"),
        ("0.3]}", "0.3]}\n  norm: {label: l2, values: [0, 0, 0]}", "norm: 'line 10': is given twice"),
    ],
)
def test_a_mistake_is_one_line_with_the_file_the_field_and_what_is_allowed(tmp_path: Path, old, new, message):
    path = tmp_path / "toy_2020.yaml"
    path.write_text(TOY)
    assert [one.title for one in read_papers(tmp_path)] == ["Toy 2020"]
    assert old in TOY
    path.write_text(TOY.replace(old, new, 1))
    with pytest.raises(InputError, match=message) as error:
        read_papers(tmp_path)
    assert str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value)
