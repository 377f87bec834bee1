"""Numbers of texts: they are those of the committed records, and none is typed; what is wrong is one line."""

from __future__ import annotations

import pkgutil
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from analysis.load import InputError
from analysis.manuscript import layer_table, prose
from analysis.manuscript.coefficient import (
    across,
    at_stops,
    coefficient,
    difference,
    q_of_zero,
    value,
    within_setting,
)
from analysis.manuscript.facts import count, extreme, less, minutes, only, recorded, settings, span, without
from analysis.manuscript.number import Number, Numbers, grid, printed
from analysis.manuscript.vocabulary import (
    WORDS,
    agreement,
    claim,
    holds,
    order,
    published,
    published_claims,
    side,
    stops_where,
    which,
)
from analysis.manuscript.wording import in_words
from analysis.statistics.beside.published import WIDEST

KAPPA = "kappa_2019.fc3"


def filled(text: str, folder: Path, name: str = "text.md") -> str:
    (folder / f"{name}.j2").write_text(text)
    return prose.fill(folder / f"{name}.j2", folder)


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    frame = pd.read_csv("analysis/records/lenet5_cifar10.csv", low_memory=False)
    return frame[frame["train.converged"]]


def test_a_text_holds_the_records_numbers(tmp_path: Path, rows: pd.DataFrame) -> None:
    at_40 = rows[rows["stop"] == "epoch_40"]
    r = np.corrcoef(at_40[f"measure.{KAPPA}"], at_40["gap.loss"])[0, 1]
    asked = f'{{{{ value("lenet5_cifar10", "last_layer", "pearson", "{KAPPA}", stop="epoch_40") }}}}\n'
    first, second = filled(asked, tmp_path).splitlines()
    assert second == f"{r:.2f}" and "text.md.j2" in first
    assert filled(asked.replace("{{", "<<").replace("}}", ">>"), tmp_path, "a.tex").splitlines()[1] == f"${r:.2f}$"


def test_some_of_the_networks(rows: pd.DataFrame) -> None:
    few = rows[rows["hp.batch_size"] != 512]
    expected = []
    for stop in ("epoch_10", "epoch_20", "epoch_40", "epoch_60"):
        both = few.loc[few["stop"] == stop, [f"measure.{KAPPA}", "gap.loss", "hp.init"]]
        left = both[[f"measure.{KAPPA}", "gap.loss"]] - both.groupby("hp.init").transform("mean")
        expected.append(np.corrcoef(left.T)[0, 1])
    some = without("lenet5_cifar10", "hp.batch_size", 512)
    found = across(some, "permutation", "pearson", KAPPA, within="init", at="epoch")
    assert [x.point for x in found.values()] == pytest.approx(expected)


def test_r_within_a_setting_is_of_what_is_left_of_its_mean(rows: pd.DataFrame) -> None:
    at = rows[rows["stop"] == "loss_0.1"]
    both = at[[f"measure.{KAPPA}", "gap.error"]]
    for within, columns in (("init", ["hp.init"]), ("configuration", ["hp.init", "hp.batch_size", "hp.lr"])):
        left = both - both.groupby([at[column] for column in columns]).transform("mean")
        found = within_setting("lenet5_cifar10", KAPPA, within=within, stop="loss_0.1", target="gap.error")
        assert found.point == pytest.approx(np.corrcoef(left.T)[0, 1])
        assert found.low < found.point < found.high


def test_stops_at_which_a_verdict_begins_so() -> None:
    """The published r of .91 against each stop's own interval, one stop after the other."""
    stops = ("loss_0.1", "loss_0.01", "epoch_10", "epoch_20", "epoch_40", "epoch_60")
    ours = {stop: value("lenet5_cifar10", "last_layer", "pearson", KAPPA, stop=stop) for stop in stops}
    lower = [stop for stop, r in ours.items() if r.high < 0.91]
    inside = [stop for stop, r in ours.items() if r.low < 0.91 < r.high]
    assert lower and inside and len(lower) + len(inside) == len(stops)

    def those(what: str) -> str:
        return stops_where("lenet5_cifar10", "published", "verdict", what, KAPPA)

    assert those("ours is lower") == in_words(lower, stops)
    wide = [stop for stop in inside if ours[stop].high - ours[stop].low > WIDEST]
    assert those("agrees") == in_words([stop for stop in inside if stop not in wide], stops)
    assert those("ours is higher") == "no stop"


def test_every_published_claim_is_counted() -> None:
    files = [yaml.safe_load(path.read_text()) for path in Path("analysis/studies").glob("*.yaml")]
    counted = sum(len(source["claims"]) for file in files for source in file.get("published", ()))
    assert counted > 5 and published_claims().point == counted


def test_a_difference_has_the_interval_of_the_pairs() -> None:
    ours = difference("digits_mlp", "relative_flatness", "hessian_trace")
    table = value("digits_mlp", "differences", "delta_tau_b", "relative_flatness", than="hessian_trace")
    assert (ours.point, ours.low, ours.high) == (table.point, table.low, table.high)


def test_q_of_zero_is_of_all_measures_that_have_an_interval() -> None:
    found = q_of_zero("digits_library")
    assert len(found) == 101, "not the number of weights, which is one, nor what three networks have a value of"
    assert float(found.lowest) > 0.05


def test_a_coefficient_is_that_of_the_tables() -> None:
    ours = at_stops("lenet5_cifar10", coefficient, KAPPA, at="loss", column="pearson", target="gap.error")
    table = across("lenet5_cifar10", "last_layer", "pearson", KAPPA, at="loss", target="gap.error")
    assert ours == table and len(ours) == 2


def test_verdicts_are_the_intervals() -> None:
    above, holds, below = Number(0.3, 0.1, 0.5), Number(0.1, 0.0, 0.2), Number(-0.3, -0.5, -0.1)
    assert [side(x) for x in (above, holds, below, Number(0.1))] == [
        "above zero", "holds zero", "below zero", "without"]  # fmt: skip
    assert [order(x) for x in (above, holds, below)] == ["ahead", "undecided", "behind"]
    assert [agreement(above, x) for x in (0.4, 0.6, 0.05)] == ["agrees", "ours is lower", "ours is higher"]
    assert side(Number(0.1, 0.0, 0.2)) == "holds zero", "one that touches zero holds it"
    assert which(Numbers({"a": above, "b": holds, "c": above}), "above zero") == "a and c"


def test_a_layer_is_decided_by_q_over_all_that_is_asked_about(monkeypatch: pytest.MonkeyPatch) -> None:
    """p of .001, .02, .04 and .9 are q of .004, .04, .053 and .9: the third interval alone would have told."""
    p = {"fc1": 0.001, "fc2": 0.02, "fc3": 0.04, "": 0.9}
    x = {"fc1": Number(0.4, 0.2, 0.6), "fc2": Number(-0.4, -0.6, -0.2), "fc3": Number(0.3, 0.01, 0.5),
         "": Number(0.1, -0.2, 0.3)}  # fmt: skip
    layer = {f"kappa_2019{'.' * bool(name)}{name}": name for name in p}
    monkeypatch.setattr(layer_table, "paired_difference", lambda of, a, b, **asked: x[layer[a]])
    monkeypatch.setattr(layer_table, "p_of_difference", lambda of, a, b, *asked: p[layer[a]])
    asked = "digits_mlp", "kappa_2019", "hessian_trace"
    layer_table._verdicts.cache_clear()
    said = [layer_table.decided("digits_mlp", what, *asked[1:], at=["loss_0.01"]) for what in ("ahead", "behind")]
    cells = layer_table.layers_by_stop(*asked, at=["loss_0.01"]).iloc[:, 1].tolist()
    layer_table._verdicts.cache_clear()
    assert said == ["fc1", "fc2"]
    assert cells == ["0.40 [0.20, 0.60] *", "−0.40 [−0.60, −0.20] *", "0.30 [0.01, 0.50]", "0.10 [−0.20, 0.30]"]


def test_a_claim_is_held_by_all_that_it_rests_on() -> None:
    assert claim("more", True, True) == "more"
    for held in ((True, False), (False, True), ()):
        with pytest.raises(InputError, match="claim: more: the records no longer say so"):
            claim("more", *held)


def test_numbers_together_say_which_is_lowest_highest_furthest_and_how_they_differ() -> None:
    ours, other = Numbers({"a": Number(-3.0), "b": Number(1.0)}), Numbers({"a": Number(-2.0), "b": Number(1.0)})
    assert [float(x) for x in (ours.lowest, ours.highest, ours.furthest)] == [-3, 1, 3]
    assert printed(ours.range) == "−3.00 to 1.00" and printed(ours.digits(1).range) == "−3.0 to 1.0"
    assert not ours.below(other), "one of them is no smaller"
    assert ours.below(Numbers({"a": Number(-2.0), "b": Number(1.5)}))
    assert not ours.below(Numbers({"a": Number(9.0), "c": Number(9.0)})), "of other places"
    assert [float(x) for x in ours.differences(other).values()] == [-1, 0]
    two, half = Number(2.0), Number(0.5)
    assert [float(x) for x in (two - half, two + half, two / half, two - 1, abs(Number(0.5) - Number(2.5)))] == [
        1.5, 2.5, 4.0, 1.0, 2.0]  # fmt: skip


def test_facts_are_the_records(rows: pd.DataFrame) -> None:
    study, stop = "lenet5_cifar10", "epoch_20"
    there = rows[rows["stop"] == stop]
    for many, chosen in ((3, there.nlargest(3, "train.loss")), (-2, there.nsmallest(2, "train.loss"))):
        some = extreme(study, "train.loss", stop, many)
        assert float(count(some, stop=stop)) == len(chosen)
        ends = span(some, "train.loss", stop)
        assert (float(ends["low"]), float(ends["high"])) == (chosen["train.loss"].min(), chosen["train.loss"].max())
        rest = there[~there["key"].isin(chosen["key"])]
        left = span(less(study, some), "train.loss", stop)
        assert (float(left["low"]), float(left["high"])) == (rest["train.loss"].min(), rest["train.loss"].max())
    ratio = there[[f"measure.kappa_2019.fc{k}" for k in (1, 2, 3)]].div(there["gap.loss"], axis=0)
    ends = span(study, "measure.kappa_2019.fc?", stop, over="gap.loss")
    assert (float(ends["low"]), float(ends["high"])) == (ratio.min().min(), ratio.max().max())
    rates = sorted(rows["hp.batch_size"].unique())
    assert [float(x) for x in settings(study, "hp.batch_size")] == rates  # type: ignore[arg-type]
    assert float(count(only(study, "hp.batch_size", rates[0]), "key")) == rows.loc[
        rows["hp.batch_size"] == rates[0], "key"].nunique()  # fmt: skip
    timings = pd.read_csv(f"analysis/records/{study}.timings.csv")
    assert float(minutes(study)) == pytest.approx(timings["seconds"].sum() / 60)
    every = pd.read_csv(f"analysis/records/{study}.csv", low_memory=False)
    assert float(recorded(study, "gap.loss")) == every.loc[every["gap.loss"].notna(), "key"].nunique()


def test_a_published_number_keeps_the_digits_that_it_is_printed_with() -> None:
    """.70, whose zero a float has not: .695 to .705."""
    told = published("mnist_mlp_layers", "kappa_2019.fc2")
    assert isinstance(told, Number) and (float(told), told.decimals) == (0.7, 2)
    assert holds(Number(0.6, 0.4, 0.706), told) and not holds(Number(0.6, 0.4, 0.704), told)
    assert agreement(Number(0.6, 0.4, 0.704), told) == "uninformative"


def test_lists_of_stops_are_sentences() -> None:
    stops = ["loss_0.1", "loss_0.01", "epoch_20"]
    assert in_words(stops, stops) == "every stop" and in_words([], stops) == "no stop"
    assert in_words(stops[:2], stops) == "loss_0.1 and loss_0.01"
    assert in_words(["a", "b", "c"], [*"abcd"]) == "a, b and c" and in_words(["a"], ["a"]) == "a"


def test_how_numbers_are_printed() -> None:
    x = Number(-0.123, -0.5, 0.2)
    assert [printed(v) for v in (x, x.full, x.interval, x.digits(3), 10000, 0.000123, float("nan"))] == [
        "−0.12", "−0.12 [−0.50, 0.20]", "[−0.50, 0.20]", "−0.123", "10,000", "0.00012", "n/a"]  # fmt: skip
    assert [printed(v) for v in (-20.0, 19.9)] == ["−20", "19.90"]
    assert printed(x.full, latex=True) == "$-0.12$ [$-0.50$, $0.20$]" and printed(10000, latex=True) == "$10{,}000$"
    assert [printed(v, latex=True) for v in (-2.5e-7, 3.2e7)] == ["$-2.5 \\cdot 10^{-7}$", "$3.2 \\cdot 10^{7}$"]
    assert Number(0.1).full.shown == "full" and printed(Number(0.1).full) == "0.10 [no interval]"


def test_a_grid_is_a_table() -> None:
    table = printed(grid(["measure", "r"], [["kappa", Number(0.5, 0.1, 0.7).full]]))
    assert table.splitlines()[-1] == "| kappa | 0.50 [0.10, 0.70] |"
    with pytest.raises(ValueError, match=r"a row of 1 cells \(kappa\): allowed are 2"):
        grid(["measure", "r"], [["kappa"]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{{ value("digits", "layers", "tau_b", "x") }}', "study: digits: allowed are digits_library,"),
        ('{{ value("digits_mlp", "layer", "tau_b", "x") }}', "table: layer: allowed are audit, correlation,"),
        ('{{ value("digits_mlp", "correlation", "tau", "hessian_trace") }}', "column: tau: allowed are stop,"),
        ('{{ value("digits_mlp", "correlation", "tau_b", "hessian") }}', "measure: hessian: allowed are relative_"),
        ('{{ value("digits_mlp", "correlation", "tau_b", "lambda_max", stop="loss_1") }}', "stop: loss_1: allowed are"),
        ('{{ value("digits_mlp", "layers", "tau_b", "lambda_max") }}', "layer: not given: allowed are all, fc1"),
        ('{{ without("digits_mlp", "hp.lr", 0.2) }}', "typed by hand"),
        ('{{ without("digits_mlp", "hp.lr", 2) }}', "hp.lr: 2: allowed are 0.01"),
        ("{{ valu() }}", "'valu' is undefined: allowed are value,"),
        ("{{ value( }}", "expected ')': allowed is Jinja"),
        ('{{ claim("more", 1 > 2) }}', "claim: more: the records no longer say so"),
        ("It has 0.43.", "0.43: typed by hand: fill it in"),
        ("{{ 43 }}", "43: typed by hand"),
        ("It has .43.", ".43: typed by hand"),
        ('{{ "by " ~ value("digits_mlp", "correlation", "tau_b", "lambda_max") }}', "a number joined to words, by ~"),
        (
            '{{ [value("digits_mlp", "correlation", "tau_b", "lambda_max")]|join(", ") }}',
            "a number joined to words, by ~",
        ),
        ('{{ claim("of 144 networks", 2 > 1) }}', "144: typed by hand"),
        ("{# typed\n2019: the year\n#}\n\nnothing", "2019: declared, but not in the text"),
    ],
)
def test_a_fault_is_one_line_with_its_place(text: str, message: str, tmp_path: Path) -> None:
    line = 3 if "declared, but" not in message else 4
    with pytest.raises(InputError) as error:
        filled(f"one\ntwo\n{text}\n", tmp_path)
    assert str(error.value).startswith(f"text.md.j2: line {line}: ") and message in str(error.value)
    assert "\n" not in str(error.value)


def test_numerals_that_are_names_code_or_declared_stand() -> None:
    names = "LeNet5, CIFAR-10 at loss_0.1 in 2019, `x = 3` [a](b/2.png) layerwise_1"
    label = "{{ measure_words('sharpness_max(norm=linf,rho=0.001)@factor_1e3.fc1') }}"
    text = f"{{# typed\n2019: year\n#}}\n{names} {label}\n```\n4.5\n```\n"
    environment = prose._environment(Path(), latex=False)
    assert list(prose.typed.complaints(text, environment)) == []


def test_every_word_is_in_its_document() -> None:
    told = (prose.TEXT / "README.md").read_text()
    assert [word for word in WORDS if not re.search(rf"`[^`]*\b{word}\b[^`]*`", told)] == []


@pytest.mark.parametrize("template", prose.templates(), ids=lambda path: path.name)
def test_the_sources_of_typed_numbers_exist(template: Path) -> None:
    """A file that a declaration names is there; a name in the code, too."""
    head = template.read_text().partition("#}")[0].partition("#>")[0]
    for name in re.findall(r"[\w/]+\.(?:yaml|toml|py|csv|json|cff|md|bib)\b", head):
        assert (prose.ROOT / name).exists(), name
    for dotted in re.findall(r"\b(?:analysis|study|slurm)(?:\.\w+)+", head):
        pkgutil.resolve_name(dotted)
