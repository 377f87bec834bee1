"""Records and ledgers become one shape of frame; what cannot be read is named in one line."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.columns import at_stop, axes, configurations, layers, main_stop, measures, stops, varying
from analysis.exclude import DEFAULT, exclude, read_rule
from analysis.load import InputError, load_ledger, load_study, read_ledger, read_records


def test_records_survive_a_round_trip(records, tmp_path):
    path = tmp_path / "records.csv"
    records.sample(frac=1, random_state=0).to_csv(path, index=False)
    again = read_records(path)
    assert again["key"].tolist() == records["key"].tolist()
    for column in records.select_dtypes("number"):
        assert np.array_equal(again[column], records[column], equal_nan=True)


def test_measures_and_layers_are_read_from_the_columns(make_records):
    frame = make_records(transforms=("layerwise_1",))
    frame["measure.hessian_trace.se"] = 0.1
    assert "hessian_trace@layerwise_1" in measures(frame) and len(measures(frame)) == 12
    assert layers(frame, "hessian_trace") == ["fc1", "fc2", "fc3"]
    assert layers(frame, "inverse_margin") == []


def test_configuration_is_every_hyperparameter_but_the_seed(records):
    codes = configurations(records)
    assert len(set(codes)) == 27 and np.bincount(codes).tolist() == [3] * 27
    assert sorted(axes(records)) == ["hp.batch_size", "hp.init_gain", "hp.lr"]
    shuffled = records.sample(frac=1, random_state=2)
    assert np.array_equal(configurations(shuffled), codes[shuffled.index])


def test_an_empty_hyperparameter_is_a_value(records):
    records.loc[records["hp.lr"] == 0.01, "hp.lr"] = np.nan
    assert len(set(configurations(records))) == 27


def test_stops_are_ordered_and_the_main_one_is_the_lowest_loss(make_records):
    frame = make_records(stops=("epoch_20", "epoch_3", "loss_0.01", "loss_0.1"))
    assert stops(frame) == ["loss_0.1", "loss_0.01", "epoch_3", "epoch_20"]
    assert main_stop(frame) == "loss_0.01" and set(at_stop(frame)["stop"]) == {"loss_0.01"}
    with pytest.raises(ValueError, match="stop: loss_9: allowed are"):
        at_stop(frame, "loss_9")


def test_ledger_becomes_records(make_ledger, tmp_path):
    path = tmp_path / "ledger.csv"
    names = {"complexity.m00": "complexity.a.b", "complexity.m01": "complexity.s(rho=0.1)"}
    make_ledger(n_rows=40, n_measures=3).rename(columns=names).to_csv(path, index=False)
    frame = read_ledger(path)
    assert measures(frame) == ["a_b", "s(rho=0.1)", "m02"] and "hp.seed" in frame
    assert frame["train.converged"].dtype == bool
    assert len(set(configurations(frame))) == 8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.drop(columns="key"), "columns: key missing"),
        (lambda f: f.loc[:, ~f.columns.str.startswith("measure.")], "no measure"),
        (lambda f: f.assign(**{"gap.loss": "high"}), "line 2: gap.loss: high: a number or an empty cell is allowed"),
        (lambda f: f.assign(key="a"), "lines 2 and 3: key a, stop loss_0.01: given twice"),
        (lambda f: f.iloc[:0], "rows: 0"),
    ],
)
def test_wrong_records_are_named_in_one_line(records, tmp_path, change, message):
    path = tmp_path / "records.csv"
    change(records).to_csv(path, index=False)
    with pytest.raises(InputError, match=message) as error:
        read_records(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


RECORDS = "key,stop,hp.lr,hp.seed,train.converged,gap.loss,measure.m\na,loss_1,0.1,0,True,1239.57,2.5\n"
LEDGER = "hp.lr,seed,is.converged,gen.gap,complexity.sharp.l2\n0.1,0,True,0.5,2.5\n0.2,0,True,0.6,3.5\n"


@pytest.mark.parametrize(
    ("content", "change", "message"),
    [
        (RECORDS, ("measure.m\n", "hp.lr\n"), "line 1: column 7: hp.lr: given twice, first as column 3"),
        (RECORDS, (",measure.m\n", ", measure.m\n"), "line 1: column 7: ' measure.m': allowed is a name"),
        (RECORDS, ("gap.loss", ""), "line 1: column 6: '': allowed is a name"),
        (RECORDS, (",2.5\n", ""), "line 2: 6 cells: 7 are allowed"),
        (RECORDS, (",2.5\n", ",2"), "line 2: measure.m: 2: the file ends inside this line"),
        (RECORDS, (",2.5\n", ",2.5,\n"), "line 2: 8 cells: 7 are allowed"),
        (RECORDS, ("True", "yes"), "line 2: train.converged: yes: allowed are True and False"),
        (RECORDS, ("loss_1", ""), "line 2: stop: empty: a stop is needed"),
        (RECORDS, ("a,loss_1", ",loss_1"), "line 2: key: empty: a key is needed"),
        (RECORDS, ("2.5", "None"), "line 2: measure.m: None: a number or an empty cell is allowed"),
        (RECORDS, ("2.5", "True"), "line 2: measure.m: True: a number"),
        (RECORDS, ("hp.", "par."), "columns: no hp.<hyperparameter>: records need at least one"),
        (RECORDS, ("0.1", '"0.1'), "content: unexpected end of data"),
        (RECORDS, ("0.1", "\xff"), "content: .* codec can't decode"),
        (LEDGER, ("3.5", "abc"), "line 3: complexity.sharp.l2: abc: a number or an empty cell is allowed"),
        (LEDGER, ("0.6,3.5", ",x"), "line 3: complexity.sharp.l2: x: a number"),
        (LEDGER, ("0.6", "high"), "line 3: gen.gap: high: a number"),
        (LEDGER, ("0.2,0,True", "0.2,0,maybe"), "line 3: is.converged: maybe: allowed are True and False"),
        (LEDGER, ("0.2,0", "0.1,0"), "lines 2 and 3: hp.lr 0.1, seed 0: given twice; one row a setting and seed"),
        (LEDGER, ("0.2,0", "1e-1,0.0"), "lines 2 and 3: hp.lr 0.1 and 1e-1, seed 0 and 0.0: given twice; one row"),
        (LEDGER, ("0.2,0", "0.10,00"), "lines 2 and 3: hp.lr 0.1 and 0.10, seed 0 and 00: given twice; one row"),
        (LEDGER, ("sharp.l2", "sharp(l2"), r"complexity.sharp\(l2: label: 'sharp\(l2'"),
        (LEDGER, ("hp.lr,seed", "hp.lr,stop"), "columns: stop: records have it; a ledger has hp"),
        (LEDGER, ("hp.lr,seed", "complexity.sharp_l2,hp.lr"), "both would be measure.sharp_l2; one column of a name"),
        (LEDGER, ("hp.lr", "hp.lr+decay"), r"columns: hp.lr\+decay: allowed is a hyperparameter's name without a \+"),
        (RECORDS, ("hp.lr", "hp.lr+decay"), r"columns: hp.lr\+decay: allowed is a hyperparameter's name without a"),
        (LEDGER, ("hp.lr", "train.converged"), "columns: no hp.<hyperparameter>"),
    ],
)
def test_what_cannot_be_meant_is_named_by_its_line_and_column(content, change, message, tmp_path):
    path = tmp_path / "mine.csv"
    path.write_bytes(content.replace(*change).encode("latin-1"))
    with pytest.raises(InputError, match=message) as error:
        load_ledger(path)
    assert str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value)


def test_levels_stay_apart_and_missing_numbers_are_missing(tmp_path):
    path = tmp_path / "mine.csv"
    levels = ("None", "NA", "null", "", "nan", "none")
    rows = "".join(f"{level},{seed},True,,NA\n" for level in levels for seed in (0, 1))
    path.write_text("hp.augmentation,seed,is.converged,gen.gap,complexity.m\r\n" + rows)
    frame = read_ledger(path)
    assert np.bincount(configurations(frame)).tolist() == [2] * len(levels)
    assert frame["gen.gap"].isna().all() and frame["measure.m"].isna().all()


def test_rows_of_a_ledger_go_by_their_checkpoints(make_ledger, tmp_path):
    path, ledger = tmp_path / "ledger.csv", make_ledger(n_rows=40, n_measures=1)[:4].copy()
    ledger["prov.checkpoint"] = ["1.pt", "2.pt", "a.pt", "b.pt"]
    ledger.to_csv(path, index=False)
    assert read_ledger(path)["key"].tolist() == ["1.pt", "2.pt", "a.pt", "b.pt"]
    ledger["prov.checkpoint"] = ["a.pt", "a.pt", "b.pt", None]
    ledger.to_csv(path, index=False)
    assert read_ledger(path)["key"].tolist() == [f"row00000{i}" for i in range(4)]


def test_rows_of_a_ledger_without_seeds_may_share_a_setting_but_not_everything(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("hp.lr,gen.gap,complexity.m\n0.1,0.5,1\n0.1,0.6,1\n")
    assert len(read_ledger(path)) == 2
    path.write_text("hp.lr,gen.gap,complexity.m\n0.1,0.5,1\n0.2,0.5,1\n0.1,0.5,1\n")
    with pytest.raises(InputError, match=r"lines 2 and 4: hp.lr 0.1, gen.gap 0.5, complexity.m 1: given twice"):
        read_ledger(path)


def test_a_file_beside_the_records_is_read_as_strictly(records, tmp_path):
    (tmp_path / "toy").mkdir()
    records.to_csv(tmp_path / "toy" / "records.csv", index=False)
    path = tmp_path / "toy" / "timings.csv"
    for content, message in (
        ("key,stop,item,seconds\na,,train,long\n", "timings.csv: line 2: seconds: long: a number"),
        ("key,stop,item\na,,train\n", "timings.csv: columns: seconds missing: timings have key, stop, item, seconds"),
    ):
        path.write_text(content)
        with pytest.raises(InputError, match=message):
            load_study("toy", tmp_path)


def test_an_empty_records_file_is_named(tmp_path):
    (tmp_path / "toy").mkdir()
    for name in ("records.csv", "timings.csv"):
        (tmp_path / "toy" / name).write_text("\n")
    with pytest.raises(InputError, match=r"records.csv: content: no columns"):
        load_study("toy", tmp_path)


def test_wrong_ledger_is_named_in_one_line(make_ledger, tmp_path):
    path = tmp_path / "ledger.csv"
    make_ledger(n_rows=10, n_measures=1).drop(columns="gen.gap").to_csv(path, index=False)
    with pytest.raises(InputError, match=r"gen\.gap missing"):
        read_ledger(path)
    path.write_text("hp.lr;gen.gap\n0,1;0,2\n")
    with pytest.raises(InputError, match=r"ledger.csv: separator: ';': allowed is a comma"):
        read_ledger(path)


def test_fresh_results_come_before_committed_records(records, tmp_path, monkeypatch):
    monkeypatch.setenv("STUDY_RECORDS", str(tmp_path / "committed"))
    (tmp_path / "committed").mkdir()
    records.to_csv(tmp_path / "committed" / "toy.csv", index=False)
    assert load_study("toy", tmp_path / "results").committed
    fresh = tmp_path / "results" / "toy" / "records.csv"
    fresh.parent.mkdir(parents=True)
    records.to_csv(fresh, index=False)
    assert load_study("toy", tmp_path / "results").path == fresh
    assert load_study("toy", tmp_path / "results", committed=True).committed
    with pytest.raises(InputError, match=r"other: records: none found.*; or toy$"):
        load_study("other", tmp_path / "results")


ERROR_GAPS = ["gap.error", "gap.shift.mean.error"]


def test_gaps_of_the_same_errors_tie(records, make_ledger, tmp_path):
    """Whatever their last digits say."""
    tied = records.assign(**dict.fromkeys(ERROR_GAPS, 0.4664))
    tied.loc[::2, ERROR_GAPS] = 0.46640000000000004
    (tmp_path / "toy").mkdir()
    tied.to_csv(tmp_path / "toy" / "records.csv", index=False)
    assert load_study("toy", tmp_path).records[ERROR_GAPS].nunique().tolist() == [1, 1]
    ledger = make_ledger(n_rows=10, n_measures=1)
    ledger["gen.gap"] = [0.1 + 0.2, 0.3] * 5
    ledger.to_csv(tmp_path / "toy" / "ledger.csv", index=False)
    found = load_ledger(tmp_path / "toy" / "ledger.csv")
    assert len(set(found.records["gen.gap"])) == 1 and found.name == "toy"


def test_seeds_that_no_float_tells_apart_are_two_beside_an_empty_one(make_ledger, tmp_path):
    ledger = make_ledger(n_rows=10, n_measures=1).astype({"seed": object})
    ledger["seed"] = [1152921504606846977 + row for row in range(9)] + [""]
    for name in [column for column in ledger if column.startswith("hp.")]:
        ledger[name] = ledger[name].iloc[0]
    ledger.to_csv(tmp_path / "ledger.csv", index=False)
    assert len(read_ledger(tmp_path / "ledger.csv")) == 10


@pytest.mark.parametrize("size", [5e-324, 1e-310, 1e-20, 1.0, 1e20, 1.5e308])
def test_a_ledgers_gaps_of_any_size_stay_apart_and_tie_by_their_digits(make_ledger, tmp_path, size):
    """Twelve decimals made tiny gaps one value, and huge ones infinite."""
    ledger = make_ledger(n_rows=10, n_measures=1)
    ledger["gen.gap"] = [size, size * (1 - 1e-15), *[0.0] * 7, np.inf]
    ledger.to_csv(tmp_path / "ledger.csv", index=False)
    found = read_ledger(tmp_path / "ledger.csv")["gen.gap"].tolist()
    assert found[0] == found[1] == pytest.approx(size, rel=1e-11) and found[2:] == [*[0.0] * 7, np.inf]


def test_title_comes_from_the_yaml(records, tmp_path):
    (tmp_path / "toy.yaml").write_text("title: A toy\nname: toy\n")
    (tmp_path / "toy").mkdir()
    records.to_csv(tmp_path / "toy" / "records.csv", index=False)
    assert load_study(str(tmp_path / "toy.yaml"), tmp_path).title == "A toy"


def test_each_row_is_counted_under_one_rule(make_records):
    frame = make_records()
    frame.loc[0, "train.status"] = "diverged"
    frame.loc[0, "train.converged"] = False
    kept, exclusions = exclude(frame)
    assert exclusions.counts == {"not_converged": 3, "diverged": 1}
    assert len(kept) == exclusions.kept == exclusions.total - 4 == 77
    assert "not_converged" in exclusions.note and ": 3" in exclusions.note
    assert exclusions.table()["runs"].sum() == 81


def test_rules_with_options_leave_out_what_they_name(make_records):
    frame = make_records()
    kept, exclusions = exclude(frame, [*DEFAULT, read_rule({"smallest_gaps": {"n": 3}})])
    assert exclusions.counts["smallest_gaps(n=3)"] == 3
    assert kept["gap.loss"].min() > exclude(frame)[0]["gap.loss"].nsmallest(3).max()
    equal, above = (read_rule({k: {"column": "hp.lr", "value": 0.03}}) for k in ("equal", "above"))
    assert exclude(frame, [equal])[1].counts == {"equal(column=hp.lr,value=0.03)": 27}
    assert set(exclude(frame, [above])[0]["hp.lr"]) == {0.01, 0.03}, "what equals it is not above"
    left, counted = exclude(frame, [equal, above])
    assert set(left["hp.lr"]) == {0.01} and "hp.lr above 0.03" in counted.note


def test_the_smallest_gaps_are_of_the_loss_else_of_a_ledger_else_of_the_error():
    """Whatever the order of the columns; a missing gap is not a small one, and of equal ones the first goes."""
    gaps = {"gap.error": [3.0, 2, 1, 0, 4], "gen.gap": [1.0, 0, 2, 3, 4], "gap.loss": [2.0, np.nan, 0, 1, 0]}
    rule = read_rule({"smallest_gaps": {"n": 1}})
    for left, out in (("gap.loss gap.error gen.gap", 2), ("gap.error gen.gap", 1), ("gap.error", 3)):
        frame = pd.DataFrame({"key": range(5)} | {name: gaps[name] for name in sorted(left.split())})
        assert set(range(5)) - set(exclude(frame, [rule])[0]["key"]) == {out}
    assert exclude(pd.DataFrame({"key": range(5)}), [rule])[1].kept == 5


@pytest.mark.parametrize("kind", ["equal", "above"])
@pytest.mark.parametrize("column", ["hp.weight_decey", "hp.hidden"])
def test_a_rule_about_no_column_of_numbers_is_named_and_not_passed_over(make_records, kind, column):
    rule = read_rule({kind: {"column": column, "value": 0.0}})
    with pytest.raises(InputError, match=f"rules: {column}: allowed is a column of numbers, .*hp.weight_decay"):
        exclude(make_records(), [rule])


def test_a_rule_given_twice_counts_what_it_left_out_both_times(make_records):
    kept, exclusions = exclude(make_records(), [read_rule({"smallest_gaps": {"n": 3}})] * 2)
    assert len(kept) == exclusions.kept == 81 - 6


@pytest.mark.parametrize("lacking", ["key", "stop"])
def test_records_without_a_key_or_stop_are_told_so_and_not_taken_for_a_ledger(records, tmp_path, lacking):
    records.drop(columns=lacking).to_csv(tmp_path / "toy.csv", index=False)
    with pytest.raises(InputError, match=f"columns: {lacking} missing: records need"):
        load_ledger(tmp_path / "toy.csv")


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ("mine", "mine: allowed are not_converged, diverged"),
        ({"above": {"column": "train.error"}}, "above: .*: allowed is {column: str, value: float}"),
        ({"smallest_gaps": {"n": "three"}}, "smallest_gaps.n: three: a int is allowed"),
        ({"diverged": {"n": 1}}, "diverged: .*: allowed is no option"),
        ({"diverged": {}, "not_converged": {}}, "allowed are not_converged"),
    ],
)
def test_a_wrong_rule_is_named(choice, message):
    with pytest.raises(ValueError, match=message):
        read_rule(choice)


def test_hyperparameters_changed_only_together_are_one_axis(records):
    records["hp.twice"] = records["hp.lr"] * 2
    assert sorted(axes(records)) == ["hp.batch_size", "hp.init_gain", "hp.lr+hp.twice"]
    assert len(varying(records)) == 4
    lone = records[records["hp.seed"] == 0].assign(**{"hp.lr": 0.1, "hp.twice": 0.2})
    assert axes(lone) == ["hp.init_gain", "hp.batch_size"]


def test_depth_and_width_are_two_axes_in_place_of_the_widths_that_they_stand_for(records):
    """Also where not every pair was trained: three of four would make `hp.hidden` no function of either alone."""
    depth, width = records["hp.init_gain"].factorize()[0] + 2, records["hp.lr"].factorize()[0] * 10 + 10
    hidden = ["-".join([str(w)] * d) for d, w in zip(depth, width, strict=True)]
    sized = records.drop(columns=["hp.init_gain", "hp.lr"])
    sized = sized.assign(**{"hp.hidden": hidden, "hp.depth": depth, "hp.width": width})
    assert sorted(axes(sized)) == ["hp.batch_size", "hp.depth", "hp.width"]
    assert len(set(configurations(sized))) == len(set(configurations(records)))
    assert "hp.hidden" in axes(sized.drop(columns="hp.depth"))


def test_hidden_widths_that_depth_and_width_do_not_determine_are_a_hyperparameter(records):
    """Else rows that differ in them would be seeds of one configuration."""
    named = {"hp.hidden": records["hp.lr"], "hp.depth": records["hp.init_gain"], "hp.width": 1}
    sized = records.drop(columns=["hp.lr", "hp.init_gain"]).assign(**named)
    assert sorted(axes(sized)) == ["hp.batch_size", "hp.depth", "hp.hidden"]
    assert np.bincount(configurations(sized)).tolist() == [3] * 27
