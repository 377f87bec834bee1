"""The report page in a real browser: the selection decides picture and number; no network; keyboard; dark."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from analysis.columns import at_stop, layers, measures, values
from analysis.drawing import render
from analysis.drawing.groups import by_main_axis, groups
from analysis.load import Source
from analysis.make import Made
from analysis.page.report import write_report
from analysis.statistics.association.coefficients import coefficients, tau
from analysis.tables import exclusions, headline
from tests.support import chromium

pytestmark = pytest.mark.skipif(bool(chromium.missing()), reason=chromium.missing() or "present")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[chromium.Browser]:
    opened = chromium.Browser(tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


@pytest.fixture
def frame(make_records) -> pd.DataFrame:
    frame = make_records(stops=("loss_0.1", "loss_0.01"), transforms=("layerwise_1",))
    frame.loc[7, "measure.hessian_trace"] = np.inf
    return frame


@pytest.fixture
def page(frame, browser, tmp_path) -> chromium.Browser:
    write(tmp_path / "report.html", Source("toy", "A <toy> & co", frame, Path("toy.csv")))
    browser.open(tmp_path / "report.html")
    assert browser.complaints() == []
    return browser


def write(path: Path, *sources: Source) -> None:
    """A page with the explorer and one table: the others are no concern of the browser."""
    made = [
        Made(tables={"headline": headline.build(s.records, 0), "exclusions": exclusions.build(s.records)})
        for s in sources
    ]
    write_report(list(zip(sources, made, strict=True)), path)


def choose(page: chromium.Browser, name: str, value: str) -> None:
    script = (
        "const s = document.getElementById(arguments[0]); s.value = arguments[1]; s.dispatchEvent(new Event('change'));"
    )
    page.run(script + "if (s.value !== arguments[1]) throw new Error('no option ' + arguments[1]);", name, value)


def narrow(page: chromium.Browser, axis: str, value: str) -> None:
    """Only networks of one level."""
    script = "const s = document.querySelector(`[data-axis='${arguments[0]}']`); s.value = arguments[1];"
    page.run(script + "s.dispatchEvent(new Event('change'));", axis, value)


def shown(page: chromium.Browser) -> tuple[float, int, int]:
    """tau-b and n as the page says them, and the number of points drawn."""
    said = page.run("return document.getElementById('result').textContent")
    number, n = re.match(r"Kendall τ_b (\S+),.* (\d+) networks with both values", said).groups()
    assert page.run("return Number(document.getElementById('result').dataset.n)") == int(n)
    points = page.run("return document.querySelectorAll('#plot circle').length")
    exact = float(page.run("return String(document.getElementById('result').dataset.tauB)"))
    assert render.number(exact) == number or np.isnan(exact)
    return exact, int(n), points


def kept(frame: pd.DataFrame, stop: str = "loss_0.01") -> pd.DataFrame:
    rows = at_stop(frame, stop)
    return rows[rows["train.converged"]]


def test_every_measure_and_gap_gives_the_same_tau_as_the_tables(page, frame):
    names = [f"{m}.{layer}" if layer else m for m in measures(frame) for layer in ("", *layers(frame, m))]
    assert len(names) > 25
    for stop in ("loss_0.1", "loss_0.01"):
        rows = kept(frame, stop)
        choose(page, "stop", stop)
        for target in ("gap.loss", "gap.error", "test.error"):
            choose(page, "target", target)
            for name in names:
                choose(page, "measure", f"measure.{name}")
                x, y = values(rows, f"measure.{name}"), values(rows, target)
                there = ~np.isnan(x)
                exact, n, points = shown(page)
                assert exact == pytest.approx(tau(x, y), abs=1e-12) and n == there.sum()
                assert points == np.isfinite(x[there]).sum()


def test_pearson_of_values_of_any_size_is_that_of_the_tables(page):
    r = np.random.default_rng(0)
    x = r.normal(size=40)
    y = x + r.normal(size=40)
    for size, shift in itertools.product((5e-324, 1e-300, 1e-20, 1.0, 1e200, 1.7e308), (0.0, 1.0, 1e15)):
        far = (x + shift) / np.abs(x + shift).max() * size
        for first, second in ((far, y), (y, far), (far, far)):
            exact = coefficients(first, second, resamples=0).point["pearson"]
            found = page.run("return String(pearson(arguments[0], arguments[1]))", first.tolist(), second.tolist())
            assert float(found) == pytest.approx(exact, abs=1e-6 if shift > 1 else 1e-12, nan_ok=True), (size, shift)


def test_a_filter_changes_the_picture_and_the_number(page, frame):
    before = shown(page)
    narrow(page, "hp.lr", "0.03")
    rows = kept(frame)
    rows = rows[rows["hp.lr"] == 0.03]
    exact, n, points = shown(page)
    assert exact == pytest.approx(tau(rows["measure.relative_flatness"], rows["gap.loss"])) and exact != before[0]
    assert n == points == len(rows) == 27


def test_excluded_runs_come_back_when_asked(page, frame):
    assert shown(page)[1] == 78
    page.run("const c = document.getElementById('converged'); c.click();")
    assert shown(page)[1] == 81


def test_colour_follows_the_hyperparameter_and_has_a_legend(page):
    choose(page, "colour", "hp.batch_size")
    fills = page.run(
        "return [...new Set([...document.querySelectorAll('#plot circle')].map((c) => c.getAttribute('fill')))]"
    )
    assert len(fills) == 3
    assert page.run("return [...document.querySelectorAll('#legend li')].map((l) => l.textContent)") == [
        "8",
        "32",
        "128",
    ]


def legend(page: chromium.Browser) -> dict[str, str]:
    """Level -> colour of its points, which the swatch beside it has, too."""
    script = "return state.points.map((p) => [text(cell(p.row, arguments[0])), getComputedStyle(p.circle).fill]);"
    drawn = dict(page.run(script, page.run("return document.getElementById('colour').value")))
    swatches = (
        "return [...document.querySelectorAll('#legend li')].map((l) => "
        "[l.textContent, getComputedStyle(l.firstChild).backgroundColor]);"
    )
    assert dict(page.run(swatches)) == drawn
    return {level: to_hex([int(v) / 255 for v in re.findall(r"\d+", rgb)[:3]]) for level, rgb in drawn.items()}


def test_a_level_has_one_colour_that_of_the_figures_whatever_is_filtered_out(page, frame):
    figure = by_main_axis(kept(frame), "gap.loss", frame)
    assert list(figure.legend) == ["init gain"]
    gains = {f"{gain:g}": figure.look[key].colour for gain, key in frame[["hp.init_gain", "key"]].to_numpy()}
    choose(page, "colour", "hp.init_gain")
    assert legend(page) == gains and len(set(gains.values())) == 3
    narrow(page, "hp.init_gain", "2")
    assert legend(page) == {"2": gains["2"]}


def test_names_more_than_colours_and_a_grid_of_two_axes(frame, browser, tmp_path):
    """Of two axes the figures' colours are the cycle's, numbers or not; of many names each has its own all the same."""
    two = frame[frame["hp.init_gain"] == 1.0].assign(**{"hp.init": frame["hp.lr"].map("rate {}".format)})
    write(tmp_path / "two.html", Source("toy", "A toy", two, Path("toy.csv")))
    browser.open(tmp_path / "two.html")
    choose(browser, "colour", "hp.batch_size")
    look = groups(two).look
    assert legend(browser) == {str(b): look[k].colour.lower() for b, k in two[["hp.batch_size", "key"]].to_numpy()}
    names = frame.assign(**{"hp.init": [f"init {k % 9}" for k in range(len(frame))]})
    write(tmp_path / "names.html", Source("toy", "A toy", names, Path("toy.csv")))
    browser.open(tmp_path / "names.html")
    choose(browser, "colour", "hp.init")
    before = legend(browser)
    assert len(set(before.values())) == 9
    narrow(browser, "hp.init", "init 3")
    assert legend(browser) == {"init 3": before["init 3"]} and browser.complaints() == []


def test_points_are_coloured_by_the_axis_that_matters_and_numbers_have_minus_signs(frame, browser, tmp_path):
    frame["gap.loss"] += 5 * np.log10(frame["hp.lr"])
    frame["hp.batch_size"] = frame["hp.batch_size"].replace(8, -1)
    write(tmp_path / "report.html", Source("toy", "A toy", frame, Path("toy.csv")))
    browser.open(tmp_path / "report.html")
    assert browser.run("return document.getElementById('colour').value") == "hp.lr"
    choose(browser, "colour", "hp.batch_size")
    legend = browser.run("return [...document.querySelectorAll('#legend li')].map((l) => l.textContent)")
    assert legend == ["\u22121", "32", "128"]
    choices = browser.run(
        "return [...document.querySelector('[data-axis=\"hp.batch_size\"]').options].map((o) => o.text)"
    )
    assert choices == ["all", "\u22121", "32", "128"], "in the order of their size"
    search = "const s = document.getElementById('search'); s.value = arguments[0]; s.dispatchEvent(new Event('input'));"
    browser.run(search, "-1")
    count = browser.run("return document.getElementById('count').textContent")
    assert not count.startswith("0 of"), "a hyphen is what a keyboard has"


def test_logarithmic_axis_moves_points_but_not_the_rank_correlation(page):
    places = "return [...document.querySelectorAll('#plot circle')].map((c) => c.getAttribute('cx')).join()"
    before, tau_before = page.run(places), shown(page)[0]
    page.run("document.getElementById('logarithmic').click()")
    assert page.run(places) != before and shown(page)[0] == tau_before


def test_hovering_shows_the_run(page, frame):
    page.hover("#plot circle:nth-of-type(40)")
    tip = page.run("return document.getElementById('tip').textContent")
    key = tip.split(" ")[0]
    row = kept(frame).set_index("key").loc[key]
    assert f"learning rate {row['hp.lr']}" in tip and f"seed {row['hp.seed']}" in tip
    assert f"{row['measure.relative_flatness']:.4g}" in tip


def test_arrow_keys_walk_over_the_points(page):
    page.run("document.getElementById('plot').focus()")
    right, end, escape = "\ue014", "\ue010", "\ue00c"
    tips = []
    for key in (right, right, end):
        page.press(key)
        tips.append(page.run("return document.getElementById('tip').textContent"))
    assert len(set(tips)) == 3 and page.run("return document.querySelectorAll('circle.active').length") == 1
    page.press(escape)
    assert page.run("return document.querySelectorAll('circle.active').length") == 0


def test_tab_reaches_every_control_in_order(page):
    page.run("document.activeElement.blur(); document.getElementById('study').focus()")
    reached = [page.run("return document.activeElement.id")]
    for _ in range(16):
        page.press("\ue004")
        reached.append(page.run("return document.activeElement.id || document.activeElement.dataset.axis || ''"))
    for name in (
        "study",
        "stop",
        "measure",
        "target",
        "colour",
        "logarithmic",
        "converged",
        "hp.lr",
        "plot",
        "search",
        "runs",
    ):
        assert name in reached
    assert reached.index("measure") < reached.index("plot") < reached.index("search")
    unnamed = "return [...document.querySelectorAll('select, input')].filter((e) => !e.closest('label')).length"
    assert page.run(unnamed) == 0


def test_table_sorts_by_its_heads_and_filters_by_search(page, frame):
    column = "return [...document.querySelectorAll('#runs-body tr')].map((r) => r.children[arguments[0]].textContent)"
    heads = page.run("return [...document.querySelectorAll('#runs-head button')].map((b) => b.dataset.column)")
    at = heads.index("gap.loss")
    for wanted in ("ascending", "descending"):
        page.run("document.querySelector('#runs-head button[data-column=\"gap.loss\"]').click()")
        cells = [float(c) for c in page.run(column, at)]
        assert cells == sorted(cells, reverse=wanted == "descending") and len(cells) == 78
        assert page.run("return document.querySelectorAll('#runs-head th')[arguments[0]].ariaSort", at) == wanted
    key = kept(frame)["key"].iloc[3]
    page.run(
        "const s = document.getElementById('search'); s.value = arguments[0]; s.dispatchEvent(new Event('input'))", key
    )
    assert page.run(column, 0) == [key]


def test_nothing_is_fetched_and_both_schemes_are_readable(page):
    assert page.run("return performance.getEntriesByType('resource').map((r) => r.name)") == []
    script = (
        "const s = getComputedStyle(document.body); const t = getComputedStyle(document.querySelector('#plot text'));"
        "return [s.backgroundColor, s.color, t.fill]"
    )
    seen = {}
    for scheme in ("light", "dark"):
        page.prefer(scheme)
        paper, ink, dim = ([int(v) for v in re.findall(r"\d+", c)[:3]] for c in page.run(script))
        seen[scheme] = paper
        assert contrast(paper, ink) > 7 and contrast(paper, dim) > 4.5
    assert sum(seen["light"]) > 600 > 200 > sum(seen["dark"])
    page.prefer("light")


def test_nothing_is_wider_than_the_window(page):
    for width in (390, 1100):
        page.resize(width, 844)
        assert page.run("return document.documentElement.scrollWidth") <= width
        box = page.run("const b = document.querySelector('a.file').getBoundingClientRect(); return [b.left, b.right]")
        assert 0 < box[0] < box[1] <= width


def test_without_javascript_the_explorer_is_a_sentence_and_no_empty_controls(page, tmp_path):
    seen = "return [...document.querySelectorAll('#explorer > *')].filter((e) => e.getClientRects().length).map({})"
    tag = seen.format("(e) => e.localName")
    assert {"svg", "div", "ul"} <= set(page.run(tag))
    page.scripts(False)
    try:
        page.open(tmp_path / "report.html")
        assert page.run(tag) == ["h2", "noscript"]
        assert "needs JavaScript" in page.run("return document.querySelector('#explorer').innerText")
        assert page.run("return document.querySelectorAll('main table td').length") > 50
    finally:
        page.scripts(True)


def test_a_measure_in_a_table_leads_to_its_definition(page):
    page.run("document.querySelector('td a[href=\"#measure-kappa_2019\"]').click()")
    assert page.run("return document.querySelector(':target').textContent") == "kappa 2019 kappa_2019"
    assert page.run("return Math.abs(document.querySelector(':target').getBoundingClientRect().top) < 900")


def test_two_studies_are_explored_apart_and_together(make_records, browser, tmp_path):
    first, second = make_records(), make_records(seed=5).assign(**{"gap.error": np.nan})
    second["key"] = [f"b{k}" for k in second["key"]]
    sources = Source("one", "One", first, Path("1")), Source("two", "Two", second, Path("2"))
    write(tmp_path / "both.html", *sources)
    browser.open(tmp_path / "both.html")
    assert shown(browser)[1] == 156
    choose(browser, "colour", "study")
    assert browser.run("return document.querySelectorAll('#legend li').length") == 2
    choose(browser, "study", "two")
    rows = kept(second)
    assert shown(browser)[0] == pytest.approx(tau(rows["measure.relative_flatness"], rows["gap.loss"]))
    assert browser.run("return [...document.getElementById('target').options].map((o) => o.value)") == [
        "gap.loss",
        "test.error",
    ]
    assert browser.complaints() == []


def contrast(a: list[int], b: list[int]) -> float:
    """Contrast ratio of two colours, as WCAG defines it."""

    def luminance(colour: list[int]) -> float:
        parts = [c / 255 for c in colour]
        linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)
