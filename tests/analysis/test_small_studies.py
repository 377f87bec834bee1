"""Every table and figure of the first small studies, and of a ledger of many axes, is made or says what it needs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from analysis import items
from analysis.drawing import figure_file, render, terminal
from analysis.figures import scatter
from analysis.load import Source
from analysis.make import build
from analysis.statistics.grid.matched_pairs import neighbours
from analysis.statistics.grid.sign_error import pair_weights
from analysis.statistics.resampling.design import NONE
from analysis.studies.reader import read_shown
from analysis.tables import correlation, permutation, settings, sign_error

EVERY = [(kind, name) for kind in items.KINDS for name in items.names(kind)]


def named(figures: str, tables: str) -> set[tuple[str, str]]:
    """Items by their names."""
    return {("figure", name) for name in figures.split()} | {("table", name) for name in tables.split()}


# What can be made of one network, what more of two, and what more of two configurations.
ONE = named("last_layer loss_curves reparameterization sweep", "cost exclusions")
TWO = named(
    "forest layers layers_stops redundancy scatter scatter_layers selection",
    "correlation differences headline intervals last_layer last_layer_stops layers partial permutation redundancy "
    "reparameterization scopes selection sweep variants",
)
GRID = named("granulated", "granulated information settings sign_error")
OF_LAYERS = named("layers layers_stops scatter_layers", "last_layer last_layer_stops layers")
OF_SEVERAL_MEASURES = named("redundancy", "differences partial reparameterization sweep")
KEPT = ["key", "stop", "hp.lr", "hp.batch_size", "hp.seed", "gap.loss", "measure.m"]


def small(n_configurations: int, n_seeds: int) -> Source:
    """Configurations on one axis, two stops, a measure of two layers that was taken again, and one of the network."""
    r = np.random.default_rng(0)
    rows = [
        {
            "key": f"{place}{seed}", "stop": stop, "hp.dataset": "digits", "hp.model": "mlp", "hp.lr": lr,
            "hp.seed": seed, "train.status": "finished", "train.converged": True, "train.loss": r.random(),
            **{c: r.random() for c in ("test.error", "gap.loss", "gap.error")},
            **{f"measure.hessian_trace{at}{layer}": r.random() + 1
               for at in ("", "@layerwise_1", "@factor_20") for layer in ("", ".fc1", ".fc2")},
            "measure.distance_from_init": r.random(),
        }
        for place, lr in enumerate((0.01, 0.03, 0.1)[:n_configurations])
        for seed in range(n_seeds) for stop in ("loss_0.1", "loss_0.01")
    ]  # fmt: skip
    records = pd.DataFrame(rows) if rows else small(1, 1).records.iloc[:0]
    keys = records["key"].unique()
    timings = pd.DataFrame({"key": keys, "stop": "", "item": "train", "seconds": 1.0})
    curves = pd.DataFrame([{"key": k, "epoch": e, "train.loss": 2.0 / e} for k in keys for e in (1, 2)])
    return Source("toy", "A toy", records, Path("toy.csv"), timings=timings, curves=curves)


def many_axes(n_axes: int = 24) -> Source:
    """A ledger: a start, and two steps from it along each axis."""
    r = np.random.default_rng(0)
    settings = [np.zeros(n_axes), *(step * row for row in np.eye(n_axes) for step in (1.0, 2.0))]
    frame = pd.DataFrame(settings, columns=[f"hp.option_{at}" for at in range(n_axes)])
    frame = frame.assign(**{"hp.seed": 0, "gen.gap": r.random(len(frame)), "stop": "ledger", "measure.m": 1.0})
    frame["measure.m"], frame["key"] = r.random(len(frame)), [f"row{at}" for at in range(len(frame))]
    return Source("mine", "Mine", frame, Path("mine.csv"))


def made_of(source: Source) -> set[tuple[str, str]]:
    """The items that are made of a study, each of which can be printed; the others say what they need."""
    made = {item: build(*item, source, read_shown("toy"), draws=5) for item in EVERY}
    for one in made.values():
        if isinstance(one, pd.DataFrame):
            assert len(one) and terminal.to_text(one) and render.to_latex(one)
        else:
            assert one, "a figure, or what it needs"
    return {item for item, one in made.items() if not isinstance(one, str)}


@pytest.mark.parametrize("n_seeds", [1, 2])
@pytest.mark.parametrize(
    ("n_configurations", "made"), list(enumerate((set(), ONE, ONE | TWO | GRID, ONE | TWO | GRID)))
)
def test_every_item_of_a_small_study_is_made_or_says_what_it_needs(n_configurations, made, n_seeds):
    more = {(1, 2): TWO, (3, 2): named("", "seeds")}.get((n_configurations, n_seeds), set())
    assert made_of(small(n_configurations, n_seeds)) == made | more


def test_every_item_of_a_ledger_of_24_axes_is_made_or_says_what_it_needs():
    source = many_axes()
    of_one_measure = (TWO | GRID) - OF_LAYERS - OF_SEVERAL_MEASURES
    assert made_of(source) == of_one_measure | named("stability", "exclusions")
    heat_map = build("figure", "granulated", source)
    assert isinstance(heat_map, Figure)
    figure_file.settle(heat_map)
    assert len(heat_map.axes[0].get_xticklabels()) == 25


def test_a_ledger_whose_models_differ_in_many_options_says_what_it_has_none_of():
    source = many_axes()
    r = np.random.default_rng(1)
    for name in source.records.columns[:24]:  # two levels each, and no two rows that differ in one alone
        source.records[name] = r.integers(0, 2, len(source.records))
    assert build("figure", "granulated", source) == "two networks kept that differ in one hyperparameter alone"
    assert build("table", "granulated", source) == "two networks kept that differ in one hyperparameter alone"
    table = build("table", "correlation", source, draws=5)
    assert isinstance(table, pd.DataFrame) and set(table["note"]) == {f"no interval: {NONE}"}


def test_a_headline_says_that_it_is_of_the_main_stop():
    source = small(1, 2)
    source.records.loc[1, "train.converged"] = False  # one of two networks, at the main stop alone
    assert build("table", "headline", source) == "two networks with a gap at the main stop"
    assert isinstance(build("table", "correlation", source, draws=5), pd.DataFrame)


def test_a_sign_error_of_nothing_says_why():
    note = sign_error.build(small(3, 2).records).attrs["note"]
    assert "No environment is used at loss_0.1: it has 4 pairs of seeds at most; 4 seeds" in note
    surely = small(3, 2).records.assign(**{"n.test": 1})
    enough = pd.concat([surely, surely.assign(**{"hp.seed": surely["hp.seed"] + 2})], ignore_index=True)
    assert "the test set orders the gaps of too few pairs surely" in sign_error.build(enough).attrs["note"]
    orders = enough.assign(**{"n.test": 10**6, "gap.error": enough["hp.lr"] * 9})
    assert "No environment" not in sign_error.build(orders).attrs["note"]


def test_values_far_from_one_have_every_coefficient(records):
    near = records.assign(**{"measure.m": records["measure.relative_flatness"] - 2})
    for power in (700, -700):
        far = near.assign(**{"measure.m": near["measure.m"] * 2.0**power})
        for one, draws in ((correlation, {}), (permutation, {"permutations": 20}), (settings, {})):
            both = [one.build(frame[KEPT], resamples=5, **draws).drop(columns="measure") for frame in (near, far)]
            pd.testing.assert_frame_equal(*both, rtol=1e-9)
        assert len(scatter.build(far[KEPT]).axes[0].lines) == 3, "two rugs and the line"


def test_a_gap_of_any_size_orders_two_networks_surely():
    frame = small(2, 2).records.query("stop == 'loss_0.1'").assign(**{"gap.error": [1e200, 1e200, -1e200, -1e200]})
    pairs = neighbours(frame, "hp.lr", same_seed=True)
    assert pair_weights(frame["gap.error"].to_numpy(), np.full(4, 100.0), pairs).tolist() == [0.5, 0.5]


def test_values_that_differ_by_rounding_alone_have_no_pearson(records):
    records["measure.m"] = 1.0 + np.arange(len(records)) % 2 * 2.3e-16
    table = correlation.build(records[KEPT], resamples=5)
    assert table["pearson"].isna().all() and table["tau_b"].notna().all()
    assert table["note"].str.contains("Pearson NaN: the values differ by rounding alone").all()
    assert settings.build(records[KEPT], resamples=5)["pearson_without"].isna().all()
