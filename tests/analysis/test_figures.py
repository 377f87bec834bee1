"""What a reader can tell in a figure: whose line, which level, how many networks; the same type in all of them."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import chain, combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text

from analysis import items
from analysis.columns import codes
from analysis.drawing import figure_file, render, style, terminal
from analysis.drawing.groups import by_main_axis
from analysis.drawing.looks import Look, looks_of
from analysis.drawing.pages import printed, split
from analysis.figures import forest, granulated, loss_curves, scatter, selection, stability, sweep
from analysis.load import Source
from analysis.make import Made, build
from analysis.manuscript import appendix
from analysis.page.report import page
from analysis.statistics.grid.explained import explained
from analysis.studies import coverage
from analysis.studies.reader import read_shown
from analysis.tables import differences, headline, layer_differences
from analysis.vocabulary import MEASURES, family, level_words, measure_words, ordered
from study.measures.naming import sets
from study.storage.paths import published_studies
from tests.reference.statistics import share_explained
from tests.support.synthetic import synthetic_audit, synthetic_records

OWN = ["edges", "path", "spectral", "margin"]


def ledger(n_rates: int = 4, n_seeds: int = 3) -> pd.DataFrame:
    """A ledger of measures that no vocabulary knows, on two axes; the gap goes with the learning rate."""
    r = np.random.default_rng(0)
    rows = [
        {"key": f"{rate}{width}{seed}", "stop": "ledger", "hp.lr": 10.0 ** (rate - 3), "hp.width": width,
         "hp.seed": seed, "gen.gap": rate + 0.3 * r.normal(), **{f"measure.{m}": r.normal() for m in OWN}}
        for rate in range(n_rates) for width in (-1, 64, 128) for seed in range(n_seeds)
    ]  # fmt: skip
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def everything() -> dict[str, Figure]:
    """Every figure, of a study that has what each needs."""
    transforms = ("layerwise_1", "factor_10")
    records = synthetic_records(2, ("loss_0.1", "loss_0.01"), transforms)
    records = records[records["hp.init_gain"] == 0.5]  # a grid of two axes
    records = records.drop(columns=[c for c in records if re.match(r"measure\.(relative_flatness_n|dist|inv)", c)])
    papers = ("param_norm", "path_norm", "fisher_rao_norm")
    records = records.assign(**{f"measure.{label}": records["gap.error"] ** at for at, label in enumerate(papers, 1)})
    curves = pd.DataFrame([{"key": k, "epoch": e, "train.loss": 2.0 / (e + k)} for k in range(3) for e in (1, 2, 3)])
    slices = pd.DataFrame(
        [{"key": "a", "transform": t, "normalization": n, "alpha": a, "loss": 0.1 + a * a}
         for t in ("none", "layerwise_1") for n in ("raw", "per layer") for a in (-1.0, 0.0, 1.0)]
    )  # fmt: skip
    source = Source("toy", "A toy", records, Path("toy.csv"), curves=curves, slices=slices, audit=synthetic_audit())
    shown = replace(read_shown("toy"), beside=(published_studies()[0],))
    made = {name: build("figure", name, source, shown) for name in items.names("figure")}
    assert not [reason for reason in made.values() if isinstance(reason, str)]
    return {name: figure_file.settle(figure) for name, figure in made.items() if isinstance(figure, Figure)}


def texts(figure: Figure) -> list[Text]:
    return [t for t in figure.findobj(Text) if isinstance(t, Text) and t.get_visible() and t.get_text().strip()]


def look(handle: object) -> Look:
    assert isinstance(handle, Line2D)
    return Look(to_hex(handle.get_color()).upper(), str(handle.get_marker()))


def test_any_number_of_measures_is_told_apart_and_the_first_seven_by_colour_and_by_marker_alone():
    own = looks_of([f"m{k:03d}" for k in range(200)])
    assert len({own.of(label) for label in [*MEASURES, *(f"m{k:03d}" for k in range(200))]}) == 200 + len(MEASURES)
    first = [own.of(f"m{k:03d}") for k in range(7)]
    assert len({one.colour for one in first}) == len({one.marker for one in first}) == 7
    few = looks_of(["hessian_trace", "lambda_max", "lambda_max(k=2)", "zeta"])
    assert few.of("hessian_trace@layerwise_1.fc1") == few.of("hessian_trace") == own.of("hessian_trace")
    assert few.of("lambda_max(k=2)").colour == few.of("lambda_max").colour, "one family, one colour"
    assert few.of("lambda_max(k=2)").marker not in {few.of(m).marker for m in ("hessian_trace", "lambda_max")}


def test_a_ledgers_own_measures_look_alike_in_every_figure_and_like_no_other():
    frame = ledger()
    (key,) = stability.build(frame).legends
    shown = {t.get_text(): look(h) for t, h in zip(key.get_texts(), key.legend_handles, strict=True)}
    assert len(shown) == len({one.colour for one in shown.values()}) == len({one.marker for one in shown.values()}) == 4
    rows = forest.build(frame).axes[0]
    points = [look(line) for line in rows.lines if line.get_marker() not in ("None", "")]
    names = [t.get_text() for t in rows.get_yticklabels()]
    assert dict(zip(names, points, strict=True)) == shown


def test_a_measure_that_less_than_half_of_the_networks_have_is_left_out_and_named():
    frame = ledger()
    frame.loc[17:, "measure.edges"] = frame.loc[18:, "measure.margin"] = np.nan  # 17 and 18 of 36
    said = "left out, since less than half of the 36 networks have a value: edges (17)"
    figure = forest.build(frame)
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == ["margin", "path", "spectral"]
    assert figure_file.caption(figure, "Forest") == f"Forest; {said}"
    table = headline.build(frame, resamples=0)
    assert table["measure"].tolist() == ["margin", "path", "spectral"] and said[1:] in table.attrs["note"]
    picked = selection.build(frame.assign(**{"test.loss": frame["gen.gap"]}), resamples=0)
    assert "edges" not in [t.get_text() for t in picked.axes[0].get_yticklabels()] and picked.get_label() == said
    alone = frame.drop(columns=["measure.margin", "measure.path", "measure.spectral"])
    whole = headline.build(alone, resamples=0)
    assert whole["measure"].tolist() == ["edges"], "where no measure is left, all stay"


def test_more_rows_than_a_page_holds_are_pages_in_print_a_family_together():
    library = [str(label) for label in sets()["library"]]
    numbers = np.linspace(-0.9, 0.9, len(library))
    table = pd.DataFrame(
        {"measure": ordered(library), "n": 9, "tau_b": numbers, "tau_b.low": np.nan, "tau_b.high": 1.0}
    )
    figure = figure_file.settle(forest.draw(table, "gap.loss", looks_of(library)))
    pages = [[t.get_text() for t in place.axes[0].get_yticklabels()] for place in printed(figure)]
    assert len(pages) == 2 and sorted(chain(*pages)) == sorted(map(measure_words, library))
    families = [{family(label) for label in library if measure_words(label) in page} for page in pages]
    assert not set.intersection(*families) and "norm" in families[1]
    inside = [place.bbox.padded(1) for place in printed(figure)]
    for box, place in zip(inside, printed(figure), strict=True):
        shown = [t for a in place.axes for t in [*a.get_yticklabels(), a.xaxis.label]] + [place._suptitle]
        assert all(box.contains(*corner) for t in shown for corner in t.get_window_extent().get_points())
    sizes = re.findall(rb"/MediaBox \[ ?0 0 ([\d.]+) ([\d.]+) ?\]", figure_file.pdf(figure))
    assert [float(w) / 72 for w, _ in sizes] == pytest.approx([style.PAGE] * 2, abs=0.01)
    assert max(float(h) / 72 for _, h in sizes) <= style.HEIGHT
    short = Figure(figsize=(style.PAGE, style.HEIGHT - 1))
    assert r"\includegraphics[height=9.0in]{figures/toy-audit}" in "".join(
        appendix._side_by_side([("audit", Figure(figsize=(style.PAGE, style.HEIGHT)))], "toy", "Toy")
    )
    assert r"\includegraphics{figures/toy-audit}" in "".join(appendix._side_by_side([("audit", short)], "toy", "Toy"))
    heads = "\n".join(appendix._side_by_side([("forest", figure)], "toy", "Toy"))
    assert "{figures/toy-forest}" in heads and r"\includegraphics[page=2]{figures/toy-forest}" in heads


def test_a_heat_map_of_a_library_is_pages_too_without_what_few_networks_have():
    library = [str(label) for label in sets()["library"]]
    frame = ledger()
    r = np.random.default_rng(7)
    more = {f"measure.{label}": r.random(len(frame)) for label in library}
    frame = pd.concat([frame.drop(columns=[c for c in frame.columns if c in more]), pd.DataFrame(more)], axis=1)
    frame.loc[frame.index[len(frame) // 3 :], "measure.temperature"] = np.nan
    figure = figure_file.settle(granulated.build(frame))
    pages = [[t.get_text() for t in place.axes[0].get_yticklabels()] for place in printed(figure)]
    assert len(pages) == 2 and set(map(measure_words, library)) - set(chain(*pages)) == {"best temperature"}
    assert "best temperature" in figure.get_label()
    for place in printed(figure):
        heads = place.axes[0].get_xticklabels()
        assert all(place.bbox.padded(1).contains(*at) for t in heads for at in t.get_window_extent().get_points())
        assert min(t.get_window_extent().y0 for t in heads) > place.axes[1].get_window_extent().y1, "above the bar"
    sizes = re.findall(rb"/MediaBox \[ ?0 0 [\d.]+ ([\d.]+) ?\]", figure_file.pdf(figure))
    assert len(sizes) == 2 and max(float(h) / 72 for h in sizes) <= style.HEIGHT


def test_rows_that_fit_stay_in_their_order_and_a_family_longer_than_a_page_is_cut():
    few = ["train_loss", "relative_flatness", "entropy"]
    assert split(few) == [[0, 1, 2]]
    own = split([f"m{k:03d}" for k in range(200)])
    assert [len(page) for page in own] == [78, 78, 44] and list(chain(*own)) == list(range(200))
    assert len(printed(forest.build(ledger()))) == 1


# Machado, Oliveira, Fernandes 2009, severity 1: what linear RGB becomes to a reader without one kind of cone.
BLIND = {
    "none": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def cielab(colour: str, seen: object) -> np.ndarray:
    rgb = np.array(to_rgb(colour))
    linear = np.clip(np.asarray(seen) @ np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4), 0, 1)
    to_xyz = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.072175], [0.0193339, 0.119192, 0.9503041]]
    x, y, z = np.array(to_xyz) @ linear / (0.95047, 1, 1.08883)
    x, y, z = (np.cbrt(v) if v > 0.008856 else 7.787 * v + 16 / 116 for v in (x, y, z))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("kind", BLIND)
def test_readers_with_any_common_colour_blindness_tell_the_colours_apart_and_from_paper(kind):
    for a, b in combinations([*style.CYCLE, "#ffffff"], 2):
        assert np.linalg.norm(cielab(a, BLIND[kind]) - cielab(b, BLIND[kind])) > 15, (a, b)


@pytest.mark.parametrize("name", items.names("figure"))
def test_every_figure_is_of_one_or_two_columns_in_type_of_two_sizes_with_minus_signs(everything, name):
    figure = everything[name]
    assert figure.get_figwidth() in (style.COLUMN, style.PAGE)
    shown = texts(figure)
    assert {t.get_fontsize() for t in shown} <= {style.TEXT, style.SMALL}
    hyphens = [t.get_text() for t in shown if re.search(r"(?<![\w])-\d", re.sub(r"\$[^$]*\$", "", t.get_text()))]
    assert not hyphens
    inside = figure.bbox.padded(1)
    at_ticks = {t for a in figure.axes for axis in (a.xaxis, a.yaxis) for t in axis.get_ticklabels(which="both")}
    for t in set(shown) - at_ticks:  # matplotlib does not draw those beyond the axes' ends
        box = t.get_window_extent()
        assert inside.contains(box.x0, box.y0) and inside.contains(box.x1, box.y1), f"{t.get_text()}: cut off"


def test_a_heat_map_and_a_level_have_minus_signs(everything):
    cells = [t.get_text() for t in everything["granulated"].axes[0].texts]
    assert any(cell.startswith("\u2212") for cell in cells)
    assert style.two(-0.004) == "0.00" and style.two(-0.126) == "\u22120.13" and style.two(float("nan")) == "n/a"
    assert [level_words(v) for v in (-1, np.float64(1e-5), "a-1", float("nan"), True)] == [
        "\u22121", "1e\u221205", "a-1", "none", "True",
    ]  # fmt: skip


def test_networks_and_epochs_are_counted_in_whole_numbers():
    nine = ledger(n_rates=3, n_seeds=1)
    curves = pd.DataFrame([{"key": k, "epoch": e, "train.loss": 2.0 / (e + k)} for k in range(3) for e in (1, 2, 3)])
    for figure in (stability.build(nine), loss_curves.build(curves)):
        axes = figure_file.settle(figure).axes[0]
        low, high = axes.get_xlim()
        at = [tick for tick in axes.get_xticks() if low <= tick <= high]
        assert len(at) > 1 and all(tick == round(tick) for tick in at)


def test_what_colours_the_curves_stands_beside_them(everything):
    curves, bar = everything["loss_curves"].axes
    assert bar.get_ylabel() == "at the last epoch"
    (lines,) = curves.collections
    assert lines.norm.vmin == pytest.approx(2 / 5) and lines.norm.vmax == pytest.approx(2 / 3)


def test_lines_of_a_sweep_that_coincide_are_told_apart_and_one_alone_is_a_line():
    frame = ledger(2, 1)
    for name, power in zip(OWN, (0, 0, 2, 1), strict=True):
        for factor in (0.1, 10, 100):
            frame[f"measure.{name}@factor_{factor:g}".replace("0.1", "1e-1")] = frame[f"measure.{name}"] * factor**power
    frame["measure.path@factor_100"] *= 1.001
    axes = figure_file.settle(sweep.build(frame)).axes[0]
    marks = [line for line in axes.lines if line.get_marker() not in ("None", "")]
    places = [line.get_transform().transform(line.get_xydata())[0] for line in marks]
    apart = [np.hypot(*(at - other)) for at, other in combinations(places, 2)]
    assert len(marks) == 12 and min(apart) > 4 * axes.figure.dpi / 72, "points"
    assert {float(line.get_xdata()[0]) for line in marks} == {0.1, 10.0, 100.0}, "none at the network itself"
    for line, at in zip(marks, places, strict=True):
        assert at[1] == pytest.approx(axes.transData.transform(line.get_xydata())[0, 1]), "never up or down"
    for start in (0.1, 1.0, 10.0):
        stretches = [line for line in axes.lines if len(line.get_xdata()) == 2 and line.get_xdata()[0] == start]
        flat = [line for line in stretches if line.get_ydata()[1] == pytest.approx(line.get_ydata()[0], rel=0.01)]
        assert len(flat) == 2 and flat[0].get_linestyle() != "-" and len(stretches) == 4
        assert len({line._unscaled_dash_pattern[0] for line in flat}) == 2, "one where the other is not"
        assert [line.get_linestyle() for line in stretches if line not in flat] == ["-", "-"]


def test_a_scatter_is_coloured_by_the_axis_that_explains_most_of_the_gaps_ranks_and_says_so():
    frame = ledger()
    shares = explained(frame, "gen.gap")
    assert list(shares) == ["hp.lr", "hp.width"] and shares["hp.lr"] > 0.8
    for axis, share in shares.items():
        assert share == pytest.approx(share_explained(frame[axis].tolist(), frame["gen.gap"].tolist()))
    figure = scatter.build(frame)
    (key,) = figure.legends
    assert [t.get_text() for t in key.get_texts()] == ["learning rate:", "0.001", "0.01", "0.1", "1"]
    told = by_main_axis(frame, "gen.gap")
    level = codes(frame, ["hp.lr"])
    drawn = np.concatenate([c.get_offsets() for c in figure.axes[0].collections])
    assert len(drawn) == len(frame) and len({told.look[k] for k in frame["key"]}) == 4
    assert len(set(zip([told.look[k] for k in frame["key"]], level, strict=True))) == 4
    assert "axis whose levels explain the largest part of the variance of the gap's ranks" in figure.get_label()
    title = figure_file.caption(figure, scatter.TITLE)
    assert title.startswith(scatter.TITLE) and "R² adjusted" in title


def test_an_axis_of_many_levels_is_not_ahead_for_having_many():
    r = np.random.default_rng(0)
    frame = pd.DataFrame({"hp.many": np.arange(60) // 2, "hp.two": np.arange(60) % 2, "gap.loss": r.normal(size=60)})
    frame["gap.loss"] += frame["hp.two"]
    frame["hp.each"] = np.arange(60)
    assert list(explained(frame)) == ["hp.two", "hp.many"], "an axis of a network a level is not judged"
    assert explained(frame.assign(**{"gap.loss": 1.0})) == {}


@pytest.mark.parametrize("n_levels", [2, 8, 30])
def test_levels_go_from_dark_to_light_and_a_legend_names_what_it_has_room_for(n_levels):
    level = np.repeat(np.arange(n_levels), 3)
    frame = pd.DataFrame({"key": [f"k{i}" for i in range(len(level))], "stop": "ledger", "hp.depth": level + 1,
                          "gen.gap": level + 0.01, "measure.m": 1.0 + level})  # fmt: skip
    told = by_main_axis(frame, "gen.gap")
    light = [float(np.dot(to_rgb(told.look[f"k{3 * i}"].colour), (0.2126, 0.7152, 0.0722))) for i in range(n_levels)]
    assert light == sorted(light) and len(set(light)) == n_levels
    names = [handle.get_label() for handle in told.legend["depth"]]
    assert names == [str(i + 1) for i in range(n_levels)] if n_levels <= 8 else names[0] == "1" and names[-1] == "30"


def test_levels_that_are_names_are_all_named_and_too_many_give_way_to_another_axis():
    level = np.repeat(np.arange(30), 4)
    frame = pd.DataFrame({"key": [f"k{i}" for i in range(len(level))], "stop": "ledger",
                          "hp.optimizer": [f"n{k // 2:02d}" for k in level], "hp.depth": np.tile([1, 2, 3, 4], 30),
                          "hp.augment": [f"a{k}" for k in level], "gen.gap": level * 1.0})  # fmt: skip
    assert next(iter(explained(frame, "gen.gap"))) == "hp.augment"
    told = by_main_axis(frame, "gen.gap")
    points = told.legend["optimizer"]
    assert [point.get_label() for point in points] == [f"n{k:02d}" for k in range(15)]
    assert len({look(point) for point in points}) == 15 and "axis of at most 24 names whose" in told.caption


def test_of_many_points_no_level_lies_on_all_others():
    frame = pd.DataFrame({"key": [f"k{i}" for i in range(4000)], "stop": "ledger", "hp.depth": np.arange(4000) // 2000,
                          "gen.gap": np.arange(4000) * 1.0, "measure.m": 1.0 + np.arange(4000)})  # fmt: skip
    clouds = scatter.build(frame).axes[0].collections
    shades = [to_hex(cloud.get_facecolors()[0][:3]) for cloud in clouds]
    assert len(set(shades)) == 2 and shades[:2] == shades[-2:] and sum(len(c.get_offsets()) for c in clouds) == 4000


def test_captions_of_the_paper_say_what_the_colours_are():
    figure = scatter.build(ledger())
    (block,) = appendix._side_by_side([("scatter", figure)], "toy", "A toy")
    assert "a colour is a level of learning rate" in block


def test_nothing_that_is_printed_of_a_ledger_speaks_of_a_stop():
    frame = ledger(2, 2)
    frame["train.converged"] = np.arange(len(frame)) < 2
    assert coverage.missing(Source("mine", "Mine", frame, Path("mine.csv"))) == [
        "2 of 12 networks are used: 10 did not reach it within the epoch limit."
    ]
    frame = frame.drop(columns="train.converged")
    source = Source("mine", "Mine", frame, Path("mine.csv"))
    html = page([(source, Made())], {"mine": ""})
    assert "12 networks, a row each." in html and "at ledger" not in html
    for name in ("headline", "differences", "granulated", "sign_error", "settings", "permutation"):
        table = build("table", name, source, draws=5)
        assert isinstance(table, pd.DataFrame) and "ledger" not in render.to_markdown(table) + terminal.to_text(table)
        assert name == "headline" or (table["stop"] == "ledger").all(), "the CSV keeps it"
    assert any("\u22121" in row for row in render.cells(build("table", "settings", source, draws=5))[1])


def test_differences_are_titled_with_both_measures(make_records):
    frame = make_records()
    table = differences.build(frame, resamples=5)
    assert table.attrs["title"].startswith("τ_b of relative flatness less that of each other measure")
    headings = appendix.grouped(table).iloc[:, 0].tolist()
    assert "loss gap, relative flatness less" in headings and "less" in appendix.grouped(table)
    layerwise = appendix.grouped(layer_differences.build(frame, resamples=5)).iloc[:, 0].tolist()
    assert "loss gap, kappa 2019 less Hessian trace" in layerwise
