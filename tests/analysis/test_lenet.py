"""Records of the LeNet5 study's shape: loss stops and epoch stops apart, the last layer alone, before and after."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from analysis.columns import about, at_stop, axes, measures
from analysis.drawing import style
from analysis.drawing.groups import groups
from analysis.drawing.style import CYCLE
from analysis.exclude import exclude
from analysis.figures import Lacking
from analysis.figures import last_layer as scatter
from analysis.figures import last_layer_stops as beside
from analysis.figures import permutation as within
from analysis.selection import trained, transforms, with_last_layer
from analysis.statistics.association.coefficients import coefficients, tau
from analysis.statistics.association.correlation import correlate
from analysis.statistics.association.partial import partial as partial_rank
from analysis.statistics.association.partial import partial_tau
from analysis.statistics.resampling.design import design
from analysis.studies.reader import read_shown
from analysis.tables import (
    correlation,
    last_layer,
    last_layer_stops,
    partial,
    permutation,
    reparameterization,
    settings,
    variants,
)
from tests.support.synthetic import LENET_STOPS, TRANSFORMS, synthetic_lenet

KAPPA = ["kappa_2019"]


@pytest.fixture(scope="module")
def lenet() -> pd.DataFrame:
    return synthetic_lenet()


@pytest.fixture(scope="module")
def kept(lenet) -> pd.DataFrame:
    return exclude(at_stop(lenet))[0]


def test_the_shape_is_that_of_the_study(lenet):
    assert len(lenet) == 144 * 6 and len(lenet.columns) > 300
    assert axes(at_stop(lenet)) == ["hp.init", "hp.lr+hp.batch_size"]
    assert len(trained(lenet)) == 13 and len(measures(lenet)) > 100
    assert with_last_layer(lenet)[:2] == ["relative_flatness", "relative_flatness.fc3"]
    assert transforms(lenet)["kappa_2019"] == list(TRANSFORMS) and len(transforms(lenet, sweep=True)["kappa_2019"]) == 7


def test_tables_of_trained_networks_hold_no_reparameterized_ones(lenet):
    few = lenet[lenet["stop"].isin(["loss_0.01", "epoch_20"])]
    for table in (correlation.build(few, 0), partial.build(few, 0), settings.build(few, 0), variants.build(few, 0)):
        assert not table["measure"].str.contains("@").any() and "kappa_2019.fc3" in set(table["measure"])


def test_loss_stops_come_first_and_epoch_stops_after_each_with_its_own_networks(lenet):
    table = last_layer.build(lenet, 0)
    assert table["stop"].unique().tolist() == list(LENET_STOPS)
    n = table.drop_duplicates("stop").set_index("stop")["n"]
    assert n["loss_0.1"] == 143 and n["loss_0.01"] == 142  # one diverged; one did not reach the lower loss
    assert "loss_0.01: 142 of 144 runs" in table.attrs["note"]


def test_the_last_layer_is_correlated_as_trained_reparameterized_and_with_others_held_fixed(lenet, kept):
    every = last_layer.build(lenet, 200)
    table = every[every["target"] == "gap.loss"].set_index(["stop", "measure"])
    row = table.loc[("loss_0.01", "hessian_trace.fc3")]
    gap, grid = kept["gap.loss"], design(kept)
    before = coefficients(kept["measure.hessian_trace.fc3"], gap, grid, 200)
    after = coefficients(kept["measure.hessian_trace@layerwise_1.fc3"], gap, grid, 200)
    assert row["pearson"] == pytest.approx(before.point["pearson"]) and row["tau_b.low"] == before.interval("tau_b").low
    assert row["pearson_after"] == pytest.approx(after.point["pearson"]) and abs(row["pearson_after"]) < row["pearson"]
    held = [kept["train.loss"]]
    given_loss = partial_tau(kept["measure.hessian_trace.fc3"], gap, held)
    given_norm = partial_tau(kept["measure.hessian_trace.fc3"], gap, [kept["measure.weight_norm_squared.fc3"]])
    assert row["partial_given_loss"] == pytest.approx(given_loss)
    assert row["partial_given_norm"] == pytest.approx(given_norm)
    ranked = partial_rank(kept, "gap.loss", ["hessian_trace.fc3"], 200).set_index("given")["partial_spearman"]
    assert row["spearman_given_loss"] == ranked["training loss"]
    assert row["spearman_given_norm"] == ranked["squared weight norm"]
    kappa = table.loc[("loss_0.01", "kappa_2019.fc3")]
    assert kappa["pearson_after"] == kappa["pearson"] > 0.5
    (error,) = every[
        (every["stop"] == "loss_0.01") & (every["measure"] == "kappa_2019.fc3") & (every["target"] == "gap.error")
    ].to_dict("records")
    assert error["tau_b"] == pytest.approx(tau(kept["measure.kappa_2019.fc3"], kept["gap.error"]))


def test_before_and_after_of_every_draw_for_both_gaps_and_for_the_layers_that_change(lenet, kept):
    table = reparameterization.build(lenet, 0)
    assert set(table["target"]) == {"gap.loss", "gap.error"} and set(table["layer"]) == {"all", "fc2", "fc3"}
    assert table["transform"].unique().tolist() == ["none", *TRANSFORMS]
    rows = table[(table["stop"] == "loss_0.01") & (table["target"] == "gap.error")]
    rows = rows.set_index(["measure", "layer", "transform"])
    for transform in ("none", "layerwise_2"):
        column = "measure.lambda_max" + ("" if transform == "none" else f"@{transform}") + ".fc3"
        assert rows.loc[("lambda_max", "fc3", transform), "tau_b"] == pytest.approx(
            tau(kept[column], kept["gap.error"])
        )
    assert rows.loc[("rho_max", "all", "neuronwise_1"), "largest_change"] == 0


def test_within_each_pair_and_within_each_init(lenet, kept):
    table = settings.build(lenet, 0)
    assert set(table["target"]) == {"gap.loss", "gap.error"}
    table = table[(table["stop"] == "loss_0.01") & (table["target"] == "gap.loss")]
    assert table.groupby("axis")["setting"].nunique().to_dict() == {"init": 4, "learning rate & batch size": 4}
    one = table[(table["setting"] == "0.008, 32") & (table["measure"] == "kappa_2019.fc3")].iloc[0]
    rows = kept[kept["hp.lr"] == 0.008]
    assert one["n"] == len(rows) == 35 or one["n"] == len(rows) == 36
    assert one["tau_b"] == pytest.approx(tau(rows["measure.kappa_2019.fc3"], rows["gap.loss"]))
    rest = kept[kept["hp.lr"] != 0.008]
    assert one["pearson_without"] == pytest.approx(np.corrcoef(rest["measure.kappa_2019.fc3"], rest["gap.loss"])[0, 1])


def test_a_relation_that_turns_within_the_settings_is_shown_turned():
    """The gap falls with the measure in each pair of batch size and rate, and rises from pair to pair."""
    lenet = synthetic_lenet()
    place = lenet["hp.lr"].rank(method="dense").to_numpy()
    noise = np.random.default_rng(0).normal(size=len(lenet))
    lenet["measure.kappa_2019.fc3"], lenet["gap.error"] = 10 * place + noise, 10 * place - noise
    table = permutation.build(lenet, 50)
    table = table[(table["stop"] == "epoch_20") & (table["measure"] == "kappa_2019.fc3")]
    r = table[table["target"] == "gap.error"].set_index("within")["pearson"]
    assert list(r.index) == ["data set and model", "init", "learning rate & batch size", "configuration"]
    assert (r.iloc[:2] > 0.9).all() and (r.iloc[2:] < -0.9).all()


def test_the_authors_exclusions_are_a_named_variant_that_drops_the_three_smallest_gaps(lenet, kept):
    rules = read_shown("lenet5_cifar10").rules
    table = variants.build(lenet, 0, rules).set_index(["stop", "rules", "measure"])
    smaller = kept.drop(kept["gap.loss"].nsmallest(3).index)
    ours = correlate(smaller, labels=["kappa_2019.fc3"], resamples=0).iloc[0]
    theirs = table.loc[("loss_0.01", "authors_2021", "kappa_2019.fc3")]
    assert theirs["n"] == ours["n"] == 139 and theirs["pearson"] == pytest.approx(ours["pearson"])
    held = partial_rank(smaller, labels=["kappa_2019.fc3"], resamples=0).set_index("given")
    assert theirs["spearman_given_loss"] == held.loc["training loss", "partial_spearman"]
    assert table.loc[("loss_0.01", "all", "kappa_2019.fc3"), "n"] == 143  # the one that diverged has no values
    assert "authors_2021" not in correlation.build(lenet, 0).attrs["note"]


def test_the_source_papers_scatter_shows_three_measures_before_and_after(lenet, kept):
    figure = scatter.build(lenet)
    every = [a for a in figure.axes if a.get_title()]
    assert len(every) == 12, "two rows at the lowest loss, two at the last epoch"
    assert [part.get_suptitle() for part in figure.subfigs] == [
        "training loss 0.01: 142 networks", "end of epoch 60: 143 networks",
    ]  # fmt: skip
    panels = every[:6]
    assert [a.get_xlabel().replace("\n", " ") for a in panels[3:]] == [
        "relative flatness, fc3", "kappa 2019, fc3", "Hessian trace, fc3",
    ]  # fmt: skip
    points = [np.sort(np.concatenate([c.get_offsets()[:, 0] for c in a.collections])) for a in panels]
    assert np.array_equal(points[1], np.sort(kept["measure.kappa_2019.fc3"])) and np.array_equal(points[1], points[4])
    assert np.array_equal(points[5], np.sort(kept["measure.hessian_trace@layerwise_1.fc3"]))
    (key,) = figure.legends
    words = [t.get_text() for t in key.get_texts()]
    assert words[:4] == ["init:", "learning rate & batch size:", "kaiming_uniform", "0.001, 4"], "an axis a line"
    assert len(panels[1].collections) == 4, "a marker an init"


def test_colour_and_marker_tell_the_settings(lenet, kept):
    look = [groups(kept).look[key] for key in kept["key"]]
    told = {"hp.lr": [colour for colour, _ in look], "hp.init": [marker for _, marker in look]}
    for axis, signs in told.items():
        assert len(set(signs)) == len(set(zip(signs, kept[axis], strict=True))) == 4, axis
    assert groups(kept[kept["hp.init"] == "normal_0.1"]) is None, "a grid of one axis"


def test_a_setting_looks_the_same_where_another_is_left_out():
    lenet = synthetic_lenet()
    gone = (lenet["hp.lr"] == lenet["hp.lr"].min()) & (lenet["stop"] == "loss_0.1")
    lenet.loc[gone, "train.converged"] = False
    for figure, panel in ((beside.build(lenet, KAPPA), 0), (beside.build(lenet, KAPPA), 1)):
        drawn = {tuple(c) for part in figure.axes[panel].collections for c in part.get_facecolors()[:, :3]}
        named = [to_rgb(h.get_color()) for h in figure.legends[0].legend_handles if h.get_marker() == "o"]
        assert len(drawn) == 3 + panel and drawn <= set(named)
        assert (to_rgb(CYCLE[0]) in drawn) == bool(panel), "the first setting's colour is not another's"


def test_both_gaps_at_every_stop_stand_in_one_figure(lenet, kept):
    figure = beside.build(lenet, KAPPA)
    assert len(figure.axes) == 12
    below = figure.axes[6 + 1]  # the error gap at the second stop
    points = np.concatenate([c.get_offsets() for c in below.collections])
    assert np.array_equal(np.sort(points[:, 1]), np.sort(kept["gap.error"]))
    r = np.corrcoef(kept["measure.kappa_2019.fc3"], kept["gap.error"])[0, 1]
    assert below.get_title() == f"$r$ {style.two(r)}"
    with pytest.raises(Lacking, match="a grid of two axes at several stops"):
        beside.build(lenet[lenet["stop"] == "loss_0.01"])


def test_of_a_frame_about_a_gap_figures_of_both_are_of_that_one(lenet):
    other = about(lenet.assign(**{"gap.shift.mean.loss": 2 * lenet["gap.loss"]}), "gap.shift.mean.loss")
    figure = beside.build(other, KAPPA)
    assert len(figure.axes) == 6 and "shifted" in figure.axes[0].get_ylabel()
    bare = lenet[[c for c in lenet if not c.startswith("gap.")]].assign(**{"gap.shift.mean.loss": 1.0})
    for one in (beside, within):
        with pytest.raises(Lacking):
            one.build(bare, KAPPA)
    drawn = within.build(other, KAPPA)
    assert len(drawn.axes) == 1 and "shifted" in drawn.axes[0].get_ylabel()


def test_stop_beside_stop_is_the_last_layers_table_turned(lenet):
    few = lenet[lenet["stop"].isin(["loss_0.01", "epoch_20"])]
    long, turned = last_layer.build(few, 50), last_layer_stops.build(few, 50)
    names = {
        "pearson": "Pearson r",
        "pearson_after": "r after rescaling",
        "spearman_given_loss": "ρ given training loss",
    }
    ends = ("", ".low", ".high")
    for row in long.to_dict("records"):
        for column, words in names.items():
            same = (turned[["target", "measure", "coefficient"]] == [row["target"], row["measure"], words]).all(axis=1)
            shown = turned.loc[same, [f"{row['stop']}{end}" for end in ends]].to_numpy()
            asked = [row[f"{column}{end}"] for end in ends]
            assert np.allclose(shown, asked, equal_nan=True) if len(shown) else np.isnan(row[column])
    assert "distance_from_init" in set(turned["measure"])
    parts = permutation.build(few, 0)
    assert parts["p_permutation"].isna().all()
    parts = parts[(parts["stop"] == "epoch_20") & (parts["within"] == "init")]
    shown = turned[turned["coefficient"] == "r within init"].set_index(["target", "measure"])["epoch_20"]
    assert len(shown) and np.array_equal(shown, parts.set_index(["target", "measure"])["pearson"].reindex(shown.index))
    assert list(dict.fromkeys(turned["target"])) == ["gap.loss", "gap.error"]
