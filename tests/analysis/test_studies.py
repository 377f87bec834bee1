"""What a study shows is read strictly from its file; what its records lack is said; a few runs crash nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from analysis import items
from analysis.drawing import figure_file, render, terminal
from analysis.load import InputError, Source, load_study
from analysis.make import build, make
from analysis.studies.coverage import missing
from analysis.studies.reader import read_shown, studies_with_files
from study.config import run_key
from study.grid import load_study as planned
from study.storage.paths import CONFIGS
from tests.support.finished_runs import make_runs
from tests.support.synthetic import synthetic_lenet

STANDARD = "items: [headline, forest]\n"
CLAIM = "{item: a, measure: kappa_2019.fc3, coefficient: pearson, published: 0.9}"


def written(folder: Path, text: str, name: str = "toy") -> Path:
    (folder / "standard.yaml").write_text(STANDARD)
    (folder / f"{name}.yaml").write_text(text)
    return folder


def test_a_study_without_a_file_shows_every_item_those_that_matter_first():
    shown = read_shown("nobody_knows")
    assert [item.name for item in shown.items][:2] == ["headline", "forest"]
    assert sorted(item.name for item in shown.items) == items.every()
    assert list(shown.rules) == ["default", "all"] and shown.published == ()


def test_a_new_item_stands_behind_those_of_the_standard(tmp_path):
    shown = read_shown("toy", written(tmp_path, "question: q\n"))
    assert [item.name for item in shown.items][:3] == ["headline", "forest", "audit"]
    assert len(shown.items) == len(items.every()) and shown.question == "q"


def test_every_file_is_read_and_belongs_to_a_study():
    names = studies_with_files()
    assert set(names) >= {"digits_mlp", "lenet5_cifar10", "lenet5_fashion", "mnist_mlp_layers"}
    for name in names:
        shown = read_shown(name)
        assert (CONFIGS / f"{name}.yaml").is_file() and shown.items and shown.question.endswith("?"), name


def test_order_options_and_rules_are_those_of_the_file_and_of_the_one_it_extends(tmp_path):
    written(
        tmp_path,
        "items: [granulated, last_layer: {measures: [kappa_2019]}]\n"
        "rules: {mine: [diverged, {above: {column: train.error, value: 0.1}}]}\n"
        f"published: [{{source: s, target: gap.loss, rules: [default, mine], claims: [{CLAIM}]}}]\n",
    )
    shown = read_shown("toy", tmp_path)
    assert [(item.name, item.options) for item in shown.items] == [
        ("granulated", {}), ("last_layer", {"measures": ["kappa_2019"]}),
    ]  # fmt: skip
    assert {name: [str(rule) for rule in rules] for name, rules in shown.rules.items()} == {
        "default": ["not_converged", "diverged"],
        "mine": ["diverged", "above(column=train.error,value=0.1)"],
        "all": [],
    }
    assert shown.published[0].rules == ("default", "mine") and shown.published[0].claims[0].published == 0.9
    written(tmp_path, "extends: toy\nitems: [scatter]\n", "child")
    child = read_shown("child", tmp_path)
    assert [item.name for item in child.items] == ["scatter"] and child.rules == shown.rules and not child.published


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("colour: blue", "colour: 'blue': allowed are question, extends, items"),
        ("items: [forest, forrest]", "items: forrest: allowed are audit, correlation, cost"),
        ("items: [forest, forest]", "items: forest: is given twice"),
        ("items: forest", "items: 'forest': allowed: a list of items"),
        ("items: [{forest: {measures: [a]}}]", "items.forest: measures: allowed are no options"),
        ("items: [{last_layer: {measures: kappa_2019}}]", "items.last_layer.measures: 'kappa_2019': allowed: a list"),
        ("items: [{last_layer: {measures: ['a@']}}]", "items.last_layer.measures: 'a@': allowed: measure"),
        ("items: [{forest: 1, scatter: 2}]", "items: .*: allowed is a name, or name: {option: value}"),
        ("rules: {default: []}", "rules: default: allowed is a name of its own"),
        ("rules: {mine: [typo]}", "rules.mine: typo: allowed are not_converged"),
        ("rules: {mine: [{above: {column: a, value: b}}]}", "rules.mine: above.value: b: a float is allowed"),
        ("published: [{source: s, target: gap.loss}]", r"published\[1\]: claims: not given"),
        (
            "published: [{source: s, target: gap, claims: []}]",
            r"published\[1\].target: gap: allowed are gen.gap, gap.loss",
        ),
        ("published: [{source: s, target: gap.loss, rules: [mine], claims: []}]", r"rules: mine: allowed are default"),
        (
            "published: [{source: s, target: gap.loss, claims: [{item: a, measure: m, coefficient: r, published: 1}]}]",
            r"published\[1\].claims\[1\].coefficient: r: allowed are pearson",
        ),
        ("extends: nobody", "extends: nobody: allowed are"),
        ("extends: toy", "extends: toy: allowed are"),
        ("items: [forest\n", "broken YAML"),
        ("items: [forest]\nitems: [scatter]", "items: 'line 2': is given twice"),
    ],
)
def test_a_mistake_is_one_line_with_the_file_the_field_and_what_is_allowed(tmp_path, text, message):
    with pytest.raises(InputError, match=message) as error:
        read_shown("toy", written(tmp_path, text))
    assert str(error.value).startswith(str(tmp_path / "toy.yaml")) and "\n" not in str(error.value)


def test_files_that_extend_each_other_are_refused(tmp_path):
    written(tmp_path, "extends: other\n")
    with pytest.raises(InputError, match=r"other.yaml: extends: toy: allowed are $"):
        read_shown("toy", written(tmp_path, "extends: toy\n", "other"))


def test_what_is_made_stands_in_the_order_of_the_file(tmp_path, records):
    shown = read_shown("toy", written(tmp_path, "items: [scatter, sweep, exclusions, headline, cost]\n"))
    made = make(Source("toy", "A toy", records, Path("toy.csv")), shown=shown)
    assert list(made.tables) == ["exclusions", "headline"] and list(made.figures) == ["scatter"]
    assert list(made.lacking) == ["figure sweep", "table sweep", "table cost"]
    assert "a place among the study's items" in made.table("correlation").attrs["lacks"]


def test_options_of_the_file_decide_what_a_figure_shows(tmp_path):
    frame = synthetic_lenet(2, ("loss_0.01",))
    shown = read_shown("toy", written(tmp_path, "items: [last_layer: {measures: [lambda_max, rho_max]}]\n"))
    figure = build("figure", "last_layer", Source("toy", "", frame, Path("toy.csv")), shown)
    assert isinstance(figure, Figure)
    heads = [axes.get_xlabel().replace("\n", " ") for axes in figure.axes if axes.get_xlabel()]
    assert heads == ["largest Hessian eigenvalue, fc3", "neuron-wise flatness, max, fc3"]


# --- half a sweep ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def half() -> Source:
    """The first seed of the laptop study, and one run of the second."""
    source = load_study("digits_mlp", committed=True)
    seed = source.records["hp.seed"]
    return replace(source, records=source.records[(seed == 0) | (seed[seed == 1].index[0] == seed.index)])


def test_a_complete_study_misses_nothing():
    assert missing(load_study("digits_mlp", committed=True)) == []


def test_runs_stops_and_measures_that_are_missing_are_counted(half, monkeypatch, tmp_path):
    monkeypatch.setenv("STUDY_RUNS", str(tmp_path / "none"))
    monkeypatch.setenv("STUDY_RESULTS", str(tmp_path / "none"))  # here it may have been sent, to other folders
    assert missing(half) == ["28 of 108 runs are in the records."]
    frame = half.records.copy()
    frame.loc[frame.index[:5], "measure.hessian_trace"] = np.nan
    frame.loc[frame.index[0], "key"] = "another"
    said = missing(replace(half, records=frame.drop(columns="measure.lambda_max@layerwise_1")))
    assert said[0] == "27 of 108 runs are in the records."
    assert said[1].startswith("1 of the records' runs are not of ")
    assert any("no value of measures of reparameterized networks (1)" in line for line in said)
    assert any(line.endswith("have no value of hessian_trace.") for line in said)


def test_a_stop_that_runs_have_no_row_of_is_named():
    source = load_study("mnist_mlp_layers", committed=True)
    rows = source.records[(source.records["stop"] != "epoch_200") | (source.records["hp.seed"] == 0)]
    assert missing(replace(source, records=rows)) == ["epoch_200: 4 of 80 of these runs have a row."]


def test_how_far_the_other_runs_are_is_read_from_their_folders(half, monkeypatch, tmp_path):
    there = set(half.records["key"])
    keys = [run_key(c) for c in planned(CONFIGS / "digits_mlp.yaml").runs if run_key(c) not in there]
    (tmp_path / keys[0][:2] / keys[0]).mkdir(parents=True)
    (tmp_path / keys[0][:2] / keys[0] / "config.json").write_text("{}")
    monkeypatch.setenv("STUDY_RUNS", str(tmp_path))
    monkeypatch.setenv("STUDY_RESULTS", str(tmp_path / "none"))
    assert missing(half) == ["28 of 108 runs are in the records; of the others 1 begun, 79 not begun."]
    make_runs(tmp_path / "other", 1, 2)  # runs of another study do not count
    assert len(missing(half)) == 1


def test_without_a_plan_nothing_is_said(half):
    assert missing(replace(half, plan=None)) == []


def test_a_stop_that_few_networks_reach_is_said_first(half):
    frame = half.records.iloc[:4].assign(**{"train.converged": [True, False, False, False], "hp.max_epochs": 60})
    said = missing(replace(half, records=frame))
    assert said[0] == "1 of 4 networks is used at loss_0.01: 3 did not reach it within 60 epochs."
    assert said[1] == "4 of 108 runs are in the records." or said[1].startswith("4 of 108 runs are in the records;")
    frame = frame.assign(**{"train.status": ["finished", "diverged", "finished", "finished"]})
    frame.loc[frame.index[2], "hp.max_epochs"] = 30
    assert missing(replace(half, records=frame, plan=None)) == [
        "1 of 4 networks is used at loss_0.01: 2 did not reach it within the epoch limit, 1 ended in a NaN or an "
        "infinity."
    ]
    assert (
        missing(replace(half, records=frame.assign(**{"train.converged": True, "train.status": "finished"})))
        == said[1:]
    )


def test_with_fewer_than_two_networks_every_item_lacks_just_that(half):
    frame = half.records.iloc[:4].assign(**{"train.converged": [True, False, False, False]})
    made = make(replace(half, records=frame), shown=read_shown("digits_mlp"))
    two = "two networks with a gap at one stop"
    assert len(made.needs()[two]) > 15 and {"table granulated", "figure forest"} < set(made.needs()[two])
    assert not {
        reason for reason in made.lacking.values() if reason != two and "csv" not in reason and "yaml" not in reason
    }


def few(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """What a sweep that has just begun, or went wrong, may have in its records."""
    keys = frame["key"].unique()
    two, three = frame[frame["key"].isin(keys[:2])], frame[frame["key"].isin(keys[::40][:3])]
    holes = three.copy()
    columns = [c for c in holes if c.startswith("measure.")]
    holes[columns[::3]] = np.nan
    holes.loc[holes.index[0], columns[1::3]] = np.nan
    gone = two.assign(**{"train.status": "diverged", "train.converged": False, "gap.loss": np.nan, "gap.error": np.nan})
    return {
        "one row": frame.iloc[:1], "two runs": two, "three runs": three, "holes": holes, "all diverged": gone,
        "one stop": three[three["stop"] == three["stop"].iloc[-1]], "no loss gap": two.assign(**{"gap.loss": np.nan}),
    }  # fmt: skip


@pytest.mark.parametrize(
    "case", ["one row", "two runs", "three runs", "holes", "all diverged", "one stop", "no loss gap"]
)
def test_a_few_runs_crash_no_item(case):
    frame = few(synthetic_lenet(2, ("loss_0.1", "loss_0.01", "epoch_20")))[case].reset_index(drop=True)
    source = Source("lenet5_cifar10", "A toy", frame, Path("toy.csv"))
    shown = read_shown("lenet5_cifar10")
    for item in shown.items:
        for part in item.parts():
            built = build(part.kind, part.name, source, shown, draws=10)
            if isinstance(built, Figure):
                figure_file.settle(built)
            elif not isinstance(built, str):
                assert terminal.to_text(built) and render.to_latex(built)


def test_the_appendix_is_of_the_items_their_figures_or_tables_alone(tmp_path):
    text = "items: [layers, sweep]\nappendix: [layers, {sweep: figure}]\n"
    shown = read_shown("toy", written(tmp_path, text)).appendix
    assert [(one.kind, one.name) for one in shown] == [("figure", "layers"), ("table", "layers"), ("figure", "sweep")]
    for wrong, reason in (
        ("[forest]", "appendix: forest: allowed are layers, sweep"),
        ("[{sweep: page}]", "appendix.sweep: page: allowed are figure, table"),
        ("layers", "appendix: 'layers': allowed: a list of items"),
    ):
        with pytest.raises(InputError, match=reason):
            read_shown("toy", written(tmp_path, f"items: [layers, sweep]\nappendix: {wrong}\n"))
