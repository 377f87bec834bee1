"""How a study names measures: options in labels, sets of many; mistakes are one line."""

from pathlib import Path

import pytest

from study.choice import ConfigError
from study.grid import load_study
from study.measures import MEASURES, canonical, members
from study.measures.naming import sets
from study.names import Label

STUDY = "fixed: {hidden: [4]}\nmeasures:\n"


def listed(folder: Path, *lines: str, more: str = "") -> tuple[str, ...]:
    path = folder / "tiny.yaml"
    path.write_text(STUDY + "".join(f"- {line}\n" for line in lines) + more)
    return load_study(path).measures


def test_a_label_is_written_in_one_way() -> None:
    assert canonical("ece") == canonical("ece(bins=15,binning=width)") == canonical("ece(binning = width)") == "ece"
    assert canonical("ece(bins=10,binning=mass)") == "ece(binning=mass,bins=10)"


def test_options_are_measures_of_their_own(tmp_path: Path) -> None:
    labels = listed(
        tmp_path, "ece", "ece(bins=10,binning=mass)", more="reparameterize: {layerwise_1: ['ece(bins=15)']}\n"
    )
    assert labels == ("ece", "ece(binning=mass,bins=10)", "ece@layerwise_1")


def test_a_set_is_its_members_and_what_is_listed_too_is_taken_once(tmp_path: Path) -> None:
    labels = listed(tmp_path, "hessian_trace", "set:flatness", "set:petzka2021", "rho_max")
    assert labels[0] == "hessian_trace" and len(set(labels)) == len(labels)
    assert set(labels) == {*sets()["flatness"], *sets()["petzka2021"]}
    more = "reparameterize: {layerwise_1: [set:flatness]}\n"
    assert len(listed(tmp_path, "set:flatness", more=more)) == 2 * len(sets()["flatness"])


def test_every_set_is_of_measures_each_once() -> None:
    for name, labels in sets().items():
        assert len(set(members(f"set:{name}"))) == len(labels)
    terms = {Label.parse(label).measure for label in sets()["bound2021"]}
    assert terms and set(sets()["all"]) == set(MEASURES) - terms


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("set:flat", r"measures: 'set:flat': unknown set, allowed: set:"),
        ("sharpness", r"measures: 'sharpness': unknown measure, allowed: .*relative_flatness.* or a set: set:"),
        ("{set: flatness}", r"measures: .*unknown measure, allowed: .* set:flatness"),
        ("ece(bin=3)", r"measures: 'ece\(bin=3\)': 'option bin: |option bin: allowed, each once: bins, binning"),
        ("ece(bins=0)", r"option bins: '0': allowed: an integer >= 1"),
        ("ece(bins=many)", r"option bins: 'many': allowed: an integer >= 1"),
        ("ece(binning=both)", r"option binning: 'both': allowed: width, mass"),
        ("ece(bins=3,bins=4)", r"option bins: allowed, each once"),
        ("train_loss(a=1)", r"option a: allowed, each once: none"),
        ("'ece(bins=3'", r"measures: 'ece\(bins=3': allowed: measure\(option=value\), .*in quotes"),
        ("ece@layerwise_1", r"measures: 'ece@layerwise_1': unknown measure"),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        listed(tmp_path, line)
    assert "\n" not in str(caught.value)


def test_a_label_given_twice_is_refused_however_it_is_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="ece is given twice, allowed: each once"):
        listed(tmp_path, "ece", "ece(bins=15)")
