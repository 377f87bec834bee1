"""Every table and figure is built from what has what it needs, and says what is lacking otherwise; ledgers too."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from scipy import stats

from analysis import items
from analysis.__main__ import main
from analysis.columns import configurations
from analysis.exclude import exclude
from analysis.figures import Lacking, sweep
from analysis.figures import audit as audit_figure
from analysis.figures import slices as slices_figure
from analysis.load import InputError, Source, load_study
from analysis.make import make, write
from analysis.statistics.association.coefficients import tau
from analysis.statistics.association.differences import difference, p_of_no_difference, paired
from analysis.statistics.invariance import invariance
from analysis.statistics.reparameterization import before_and_after, median_ratio
from analysis.statistics.stability import _quantile, stability
from analysis.studies.reader import read_shown
from analysis.tables import audit as audit_table
from analysis.tables import (
    cost,
    layer_differences,
    reparameterization,
    repeats,
    settings,
)
from analysis.tables import sweep as sweep_table
from study.storage.paths import published_studies
from tests.support.synthetic import synthetic_audit


def source(records: pd.DataFrame, **frames: pd.DataFrame) -> Source:
    return Source("toy", "A toy", records, Path("toy.csv"), **frames)


def training_curves(records: pd.DataFrame) -> pd.DataFrame:
    rows = [{"key": k, "epoch": e, "train.loss": 2.0 / e} for k in records["key"].unique() for e in (1, 2, 5)]
    return pd.DataFrame(rows)


def loss_slices() -> pd.DataFrame:
    rows = [
        {"key": "a", "transform": t, "normalization": n, "alpha": a, "loss": 0.01 + (s if n == "raw" else 1) * a * a}
        for t, s in (("none", 1), ("layerwise_1", 9)) for n in ("raw", "per layer") for a in np.linspace(-1, 1, 11)
    ]  # fmt: skip
    return pd.DataFrame(rows)


@pytest.mark.slow
def test_a_study_with_everything_lacks_nothing(make_records, tmp_path):
    records = make_records(transforms=("layerwise_1", "factor_20"), stops=("loss_0.1", "loss_0.01"))
    records = records[records["hp.init_gain"] == records["hp.init_gain"].iloc[0]]  # a grid of two axes
    papers = {
        f"measure.{label}": records["gap.loss"] ** power for power, label in enumerate(("param_norm", "path_norm"), 1)
    }
    shifted = {f"gap.shift.mean.{unit}": records[f"gap.{unit}"] ** 3 for unit in ("loss", "error")}
    again = {"again.hessian_trace": 2 * records["measure.hessian_trace"]}
    records = records.assign(**papers, **shifted, **again, **{"n.test": 10**6})
    timings = pd.DataFrame({"key": records["key"], "stop": "", "item": "train", "seconds": 1.0})
    frames = {
        "timings": timings,
        "curves": training_curves(records),
        "slices": loss_slices(),
        "audit": synthetic_audit(),
    }
    made = make(source(records, **frames), shown=replace(read_shown("toy"), beside=(published_studies()[0],)))
    assert set(made.lacking) == {"table published"}
    assert set(items.names("figure")) == set(made.figures)
    for path in write(made, tmp_path):
        assert path.stat().st_size > 0
        if path.suffix == ".pdf":
            assert b"/Type3" not in path.read_bytes()


def test_what_was_measured_again_is_laid_beside_the_first_values(make_records, tmp_path):
    """From the file to the table: how far values move, whether the order stays, and the correlation of either."""
    records = make_records(stops=("loss_0.01",))
    label, random = "hessian_trace", np.random.default_rng(0)
    again = records[f"measure.{label}"] * (1 + 0.2 * random.normal(size=len(records)))
    rows = pd.DataFrame({"key": records["key"], "stop": records["stop"], "measure": label})
    rows = rows.assign(value=records[f"measure.{label}"], again=again)[3:][::-1]
    (tmp_path / "toy").mkdir()
    records.to_csv(tmp_path / "toy" / "records.csv", index=False)
    rows.to_csv(tmp_path / "toy" / "repeats.csv", index=False)
    read = load_study("toy", tmp_path).records
    found = repeats.build(read, resamples=0)
    kept = exclude(read)[0]
    there = kept["again." + label].notna()
    first, second = kept.loc[there, f"measure.{label}"], kept.loc[there, f"again.{label}"]
    row = found[found["target"] == "gap.loss"].iloc[0]
    assert (row["measure"], row["n"]) == (label, there.sum()) and len(found) == 2
    assert row["change"] == pytest.approx(((second - first) / first).abs().median())
    assert row["repeat_tau_b"] == pytest.approx(stats.kendalltau(first, second).statistic)
    gap = kept.loc[there, "gap.loss"]
    for name, values in (("tau_b", first), ("again_tau_b", second)):
        assert row[name] == pytest.approx(stats.kendalltau(values, gap).statistic)
    assert "study repeats" in repeats.build(records).attrs["lacks"]
    pd.concat([rows, rows[:1]]).to_csv(tmp_path / "toy" / "repeats.csv", index=False)
    with pytest.raises(InputError, match="hessian_trace: is there twice, allowed: once"):
        load_study("toy", tmp_path)
    rows.assign(value=1.0).to_csv(tmp_path / "toy" / "repeats.csv", index=False)
    with pytest.raises(InputError, match="repeats of hessian_trace are not of these records, allowed: those of the"):
        load_study("toy", tmp_path)


def test_a_study_with_the_least_says_what_each_part_lacks(records):
    keep = [c for c in records if not c.startswith("measure.") or c == "measure.train_loss"]
    made = make(source(records[keep]))
    for name in ("table reparameterization", "figure layers", "figure loss_curves", "figure slices", "table cost"):
        assert made.lacking[name]
    assert "figure scatter" not in made.lacking and len(made.tables["correlation"]) == 3


def test_the_cost_of_a_measure_is_told_in_passes_of_its_own_network():
    seconds = {
        "a": {"pass": 0.1, "evaluate": 0.2, "train_loss": 0.3, "sharpness_flatness": 4.0, "reparameterized: x": 9.0},
        "b": {"pass": 0.4, "evaluate": 0.4, "train_loss": 0.8, "sharpness_flatness": 4.0, "shift(of=blur)": 7.0},
    }
    rows = [(key, "loss_0.1", item, value) for key, items in seconds.items() for item, value in items.items()]
    frame = pd.DataFrame([*rows, ("a", "", "train", 5.0)], columns=["key", "stop", "item", "seconds"])
    table = cost.build(frame).set_index("item")
    assert list(table.index[:5]) == ["train", "evaluate", "pass", "all measures", "all but searches"]
    passes = table["median_passes"]
    assert np.isnan(passes["train"]) and passes["evaluate"] == pytest.approx((2 + 1) / 2)
    assert passes["train_loss"] == passes["all but searches"] == pytest.approx((3 + 2) / 2)
    assert passes["all measures"] == pytest.approx((43 + 12) / 2)
    assert table.loc["all measures", "total_seconds"] == pytest.approx(9.1)
    older = cost.build(frame[(frame["item"] != "pass") | (frame["key"] == "a")])
    assert "Of 1 of 2 networks at a stop no pass was timed" in older.attrs["note"] and "Of 1" not in table.attrs["note"]
    assert older.set_index("item").loc["train_loss", "median_passes"] == pytest.approx(3)
    without = cost.build(frame[frame["item"] != "pass"])
    assert "median_passes" not in without and "all measures" not in set(without["item"])


def test_every_part_survives_one_network(records):
    made = make(source(records.iloc[:1]))
    assert "table correlation" in made.lacking and "figure scatter" in made.lacking


def test_reparameterization_leaves_the_invariant_measure_and_moves_the_trace(make_records):
    table = reparameterization.build(make_records(transforms=("layerwise_1",)), resamples=0)
    assert table["layer"].unique().tolist() == ["all", "fc1", "fc2", "fc3"]
    table = table[(table["layer"] == "all") & (table["target"] == "gap.loss")].set_index(["measure", "transform"])
    assert table.loc[("relative_flatness", "layerwise_1"), "largest_change"] == 0
    before, after = (table.loc[("hessian_trace", t), "tau_b"] for t in ("none", "layerwise_1"))
    assert table.loc[("hessian_trace", "layerwise_1"), "largest_change"] > 1 and abs(after) < abs(before)


def test_the_largest_change_is_over_the_value_before_and_the_median_ratio_of_what_has_one():
    before = [2.0, -4.0, 1.0, 8.0, np.nan, 1.0]
    frame = pd.DataFrame({"stop": "loss_0.1", "hp.a": range(6), "gap.loss": range(6), "measure.m": before})
    frame["measure.m@factor_2"] = [1.0, 8.0, 3.0, 12.0, 5.0, 0.0]
    table = before_and_after(frame, "gap.loss", {"m": ["factor_2"]}, resamples=0)
    assert table["largest_change"].tolist() == [0, 3] and table["n"].tolist() == [5, 6]
    assert median_ratio(frame, "measure.m", "measure.m@factor_2") == 1.5, "of .5, 3 and 1.5: neither -2, 0 nor NaN"
    frame.loc[1, "measure.m@factor_2"] = -8.0
    assert median_ratio(frame, "measure.m", "measure.m@factor_2") == 1.75, "of .5, 1.5, 2 and 3"


def test_the_note_of_reparameterization_says_how_far_outputs_moved_and_of_how_many_networks(make_records):
    frame = make_records(transforms=("layerwise_1",))
    assert "Outputs" not in reparameterization.build(frame, resamples=0).attrs["note"]
    frame["reparameterized.layerwise_1.difference"] = np.where(np.arange(len(frame)) == 3, 4e-7, np.nan)
    note = reparameterization.build(frame, resamples=0).attrs["note"]
    counted = f"(recorded for 1 of {frame['key'].nunique()} networks)"
    assert f"Outputs moved by at most 4e\u221207 of the largest {counted}" in note


def test_the_audit_tells_what_is_the_same_what_ends_what_grows_and_what_is_lost():
    found = invariance(synthetic_audit()).set_index(["measure", "transform"])
    kinds = {label: found.loc[(label, "layer-wise"), "kind"] for label in ("same", "ends", "grows", "logs", "lost")}
    assert kinds == {"same": "same", "ends": "bounded", "grows": "arbitrary", "logs": "arbitrary", "lost": "lost"}
    assert found.loc[("ends", "layer-wise"), "change"] == pytest.approx(1000 / 1001 / 2)
    assert found.loc[("same", "permutation"), "kind"] == "bounded", "without a factor nothing grows"
    table = audit_table.build(synthetic_audit()).set_index("measure")
    assert list(table["layer-wise"]) == ["bounded 0.5", "arbitrary", "arbitrary", "no value after", "n/a", "same"]
    assert list(table["permutation"]) == ["bounded 0.25", "n/a", "n/a", "n/a", "n/a", "bounded 0.25"]
    assert (
        "1 network (mlp) on 9 training images; outputs moved by at most 3e−16"
        in audit_table.build(synthetic_audit()).attrs["note"]
    )
    cells = [text.get_text() for text in audit_figure.build(synthetic_audit()).axes[0].texts]
    assert "↑999" in cells and "0.5" in cells and cells.count("0.25") == 2
    with pytest.raises(Lacking, match=r"audit\.csv"):
        audit_figure.build(pd.DataFrame())
    assert "audit.csv" in audit_table.build(pd.DataFrame()).attrs["lacks"]


def test_the_audit_of_several_networks_names_them_where_they_differ():
    one, other = synthetic_audit(), synthetic_audit().assign(model="nin", key="b")
    at = (other["measure"] == "ends") & (other["transform"] == "layer-wise")
    other.loc[at, ["after", "relative_change", "tolerance"]] = 2.2, 0.1, 0.3
    table = audit_table.build(pd.concat([one, other])).set_index("measure")
    assert table.loc["ends", "layer-wise"] == "same within 0.3 (nin); bounded 0.5 (mlp)"
    assert table.loc["grows", "layer-wise"] == "arbitrary" and table.loc["ends", "permutation"] == "bounded 0.25"
    axes = audit_figure.build(pd.concat([one, other])).axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["mlp", "nin"] * 2
    assert {"layer-wise", "permutation", "\u2191999"} <= {text.get_text() for text in axes.texts}
    many = pd.concat([one.assign(model=f"m{i}") for i in range(5)])
    cells = [text.get_text() for text in audit_figure.build(many).axes[0].texts]
    assert "\u2191" in cells and ".5" in cells and cells.count(".25") == 10
    for change, words in ((0.004, "·"), (0.04, ".04"), (123.4, "123"), (4321.0, "1e4")):
        moved = many.assign(relative_change=many["relative_change"].where(many["relative_change"] != 0.25, change))
        cells = [text.get_text() for text in audit_figure.build(moved).axes[0].texts]
        assert set(cells) == {"layer-wise", "permutation", "", "\u2191", ".5", words}


def test_slices_draw_a_line_a_transform_in_a_panel_a_normalization():
    figure = slices_figure.build(loss_slices())
    assert isinstance(figure, Figure) and [len(a.lines) for a in figure.axes] == [2, 2]
    with pytest.raises(Lacking, match=r"slices\.csv"):
        slices_figure.build(pd.DataFrame())


def test_stability_ends_at_the_coefficient_of_all_networks(records):
    table = stability(records, labels=["relative_flatness"])
    first, last = table.iloc[0], table.iloc[-1]
    assert last["networks"] == 81 and first["high"] - first["low"] > 0.05
    assert last["low"] == last["high"] == pytest.approx(tau(records["measure.relative_flatness"], records["gap.loss"]))
    with pytest.raises(ValueError, match="configurations: 3: at least 8"):
        stability(records[records["hp.lr"].eq(0.1) & records["hp.batch_size"].eq(8)])


def test_differences_of_layers_have_q_over_all_rows_as_trained_and_after(make_records):
    frame = make_records(transforms=("layerwise_1",))
    kept, columns = exclude(frame)[0], ("r_less_trace", "r_less_trace_after")
    table = layer_differences.build(frame, resamples=5, measures=("relative_flatness", "kappa_2019"))
    rows = table[table["target"] == "gap.loss"].to_dict("records")
    assert [row["layer"] for row in rows] == ["fc1", "fc2", "fc3", "all"] * 2
    p, found = [], []
    for transform, column in zip(("", "@layerwise_1"), columns, strict=True):
        for row in rows:
            end = transform + ("" if row["layer"] == "all" else f".{row['layer']}")
            two = paired(kept, "gap.loss", f"{row['measure']}{end}", f"hessian_trace{end}", 5)
            assert row[column] == pytest.approx(two[0].point["pearson"] - two[1].point["pearson"])
            assert row[f"{column}.low"] == difference(*two, "pearson").low
            p.append(p_of_no_difference(*two, "pearson"))
            found.append(row["q_bh_after" if transform else "q_bh"])
    assert found == pytest.approx(stats.false_discovery_control(p)) and len(set(p)) > 2


def test_stability_is_of_nested_sets_of_whole_configurations(records):
    """Of each draw the configurations that come first in it; 10th, 50th and 90th percentile over the draws."""
    gap, group = records["gap.loss"].to_numpy(), configurations(records)
    records.loc[group == 5, "measure.hessian_trace"] = np.nan
    x = records["measure.hessian_trace"].to_numpy()
    table = stability(records, labels=["hessian_trace"])
    assert table["networks"].tolist() == [12, 27, 39, 54, 66, 81]
    for row in (table.iloc[0], table.iloc[2]):
        each = []
        for draw in range(40):
            place = np.random.default_rng([0, draw]).permutation(27)[group]
            chosen = (place < row["networks"] / 3) & ~np.isnan(x)
            each.append(stats.kendalltau(x[chosen], gap[chosen]).statistic)
        assert row[["low", "median", "high"]].tolist() == pytest.approx(np.quantile(each, [0.1, 0.5, 0.9]).tolist())


def test_what_a_quantile_is_of_draws_some_of_which_have_no_value():
    found = np.random.default_rng(0).normal(size=(3, 7, 2))
    found[0, :3, 1] = found[1, 1:, 0] = found[2, :, 1] = np.nan
    for q in (0.1, 0.5, 0.9):
        asked = _quantile(found, q)
        assert np.isnan(asked[2, 1])
        rest = np.where(np.isnan(found).all(axis=1, keepdims=True), 0.0, found)
        assert np.allclose(np.where(np.isnan(asked), 0.0, asked), np.nanquantile(rest, q, axis=1))


def test_a_new_table_is_found_by_its_file_name():
    files = {p.stem for p in Path("analysis/tables").glob("*.py")} - {"__init__"}
    assert list(items.names("table")) == sorted(files) and all(p.title and p.about for p in items.parts("table"))


def test_ledger_writes_every_table_under_the_stem(make_ledger, tmp_path, capsys):
    path = tmp_path / "mine.csv"
    make_ledger(n_rows=120, n_measures=3, n_seeds=2).to_csv(path, index=False)
    assert main(["ledger", str(path), "--results", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out.strip().endswith("report.html")
    written = {path.name for path in (tmp_path / "out" / "mine" / "tables").iterdir()}
    lacking = {"published", "cost", "layers", "last_layer", "last_layer_stops", "layer_differences"}
    lacking |= {"reparameterization", "sweep", "audit", "papers", "papers_granulated", "papers_sign_error"}
    lacking |= {"replication", "replication_measures", "shift_differences", "repeats"}
    made = set(items.names("table")) - lacking - {"partial"}
    assert written == {name + suffix for name in made for suffix in (".csv", ".md", ".tex")}
    table = pd.read_csv(tmp_path / "out" / "mine" / "tables" / "correlation.csv")
    assert table["tau_b"].is_monotonic_decreasing and (table["n"] < 120).all()


def test_a_file_that_is_no_ledger_is_one_line(tmp_path, capsys):
    path = tmp_path / "other.csv"
    path.write_text("a,b\n1,2\n")
    assert main(["ledger", str(path)]) == 2
    assert capsys.readouterr().err.startswith(f"error: {path}: columns: gen.gap missing")


@pytest.mark.slow
def test_ten_thousand_rows_fit_in_memory(make_ledger, tmp_path):
    """Memory under 2 GB; forty measures, and the time, are `make bench-statistics`'."""
    path = tmp_path / "large.csv"
    ledger = make_ledger(n_rows=10_000, n_measures=2)
    r = np.random.default_rng(0)
    ledger["complexity.cross_entropy"], ledger["complexity.l2"] = r.random((2, len(ledger)))
    ledger.to_csv(path, index=False)
    code = (
        "import re, sys, time; from analysis.__main__ import main; status = main(sys.argv[1:]);"
        # not ru_maxrss, which begins with the peak of the process that started this one
        "peak = re.search(r'VmHWM:\\s+(\\d+) kB', open('/proc/self/status').read())[1];"
        "print(status, time.process_time(), int(peak) / 1e6)"
    )
    begun = time.monotonic()
    command = [sys.executable, "-c", code, "ledger", str(path), "--results", str(tmp_path)]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1].split()
    print(f"wall {time.monotonic() - begun:.0f} s, cpu {out[1]} s, memory {out[2]} GB")
    assert out[0] == "0" and float(out[2]) < 2


def test_within_a_setting_only_its_networks_count(records):
    table = settings.build(records, resamples=0)
    table = table[table["target"] == "gap.loss"]
    one = table[(table["axis"] == "learning rate") & (table["setting"] == "0.03")].set_index("measure")
    rows = records[(records["hp.lr"] == 0.03) & records["train.converged"]]
    assert one.loc["relative_flatness", "n"] == len(rows) == 27
    assert one.loc["relative_flatness", "tau_b"] == pytest.approx(
        tau(rows["measure.relative_flatness"], rows["gap.loss"])
    )


def test_sweep_is_flat_for_an_invariant_measure_and_falls_for_the_trace(records):
    for factor in ("1e-3", "20", "1e3"):
        records[f"measure.relative_flatness@factor_{factor}"] = records["measure.relative_flatness"]
        records[f"measure.hessian_trace@factor_{factor}"] = records["measure.hessian_trace"] / float(factor) ** 2
    lines = sweep.ratios(records)
    assert lines["relative_flatness"] == ([1e-3, 1.0, 20.0, 1e3], [1.0] * 4)
    assert lines["hessian_trace"][1] == pytest.approx([1e6, 1, 1 / 400, 1e-6])
    table = sweep_table.build(records).set_index(["measure", "layer", "factor"])
    assert table.loc[("hessian_trace", "all", 20.0), "ratio"] == pytest.approx(1 / 400)
    assert table.loc[("hessian_trace", "all", 20.0), "tau_b"] == table.loc[("hessian_trace", "all", 1.0), "tau_b"]
    with pytest.raises(Lacking, match="factor_<a>"):
        sweep.build(records.loc[:, ~records.columns.str.contains("@")])
