"""Measures have one order and one name everywhere."""

from __future__ import annotations

from analysis.drawing.looks import looks_of
from analysis.selection import few
from analysis.vocabulary import MEASURES, family, hyperparameter_words, measure_words, ordered
from study.measures import MEASURES as REGISTERED
from study.measures.naming import sets


def test_known_measures_stand_first_and_unknown_ones_are_shown_as_they_are():
    labels = [
        "zeta",
        "train_loss",
        "hessian_trace@factor_20",
        "hessian_trace@layerwise_1",
        "hessian_trace",
        "relative_flatness",
    ]
    assert ordered(labels) == [
        "relative_flatness",
        "hessian_trace",
        "hessian_trace@layerwise_1",
        "hessian_trace@factor_20",
        "train_loss",
        "zeta",
    ]
    assert measure_words("hessian_trace.fc1") == "Hessian trace, fc1"
    assert measure_words("hessian_trace@layerwise_1") == "Hessian trace @layerwise_1"
    assert measure_words("new_measure") == "new measure"
    assert measure_words("hessian_trace_last_layer") == "Hessian trace, last layer"
    assert (
        measure_words("sharpness_max(rho=0.05)@layerwise_1.fc3")
        == "adaptive sharpness, worst case (rho=0.05) @layerwise_1, fc3"
    )
    assert ordered(["zeta", "lambda_max(k=2)", "train_loss"]) == ["lambda_max(k=2)", "train_loss", "zeta"]


def test_every_measure_is_listed_and_none_that_there_is_not():
    assert set(MEASURES) == set(REGISTERED)


def test_of_the_whole_library_a_colour_is_a_family_and_no_two_measures_look_alike():
    library = sets()["library"]
    own = looks_of(library)
    looks = [own.of(label) for label in library]
    assert len(set(looks)) == len(library) > 90
    of_family = {(family(label), look.colour) for label, look in zip(library, looks, strict=True)}
    assert len(of_family) == len({name for name, _ in of_family}) == len({colour for _, colour in of_family})


def test_a_figure_with_room_for_few_shows_what_is_asked_or_one_of_each_family():
    there = ["zeta", "train_loss", "kappa_2019", "hessian_trace", "lambda_max", "relative_flatness_normalized"]
    assert few(["lambda_max", "absent", "zeta"], there, 2) == ["lambda_max", "zeta"]
    assert few((), there, 9) == ["relative_flatness_normalized", "kappa_2019", "hessian_trace", "train_loss", "zeta"]
    assert len({family(label) for label in few((), there, 3)}) == 3


def test_options_of_a_choice_are_words_too():
    assert hyperparameter_words("hp.model.depth+hp.lr") == "model depth & learning rate"
    assert hyperparameter_words("hp.objective.label_noise") == "objective label noise"
