"""Every measure again on other images with other noise: which images, which noise, what is refused, what is kept."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from analysis.load import load_study as read_records
from study.__main__ import main
from study.again import repeats, taking
from study.again.repeats import other
from study.config import config_from_dict
from study.grid import load_study
from study.measures import MeasureContext, compute
from study.records import _in_order
from study.storage.rows import read_table, write_rows

YAML = """
fixed: {hidden: [4], n_train: 60, batch_size: 30, max_epochs: 2, stops: [epoch_1, epoch_2]}
grid: {lr: [0.05, 0.2]}
measures: [train_loss, sharpness_mean, l2, label_constancy, steps_to_loss, temperature]
measured_images: 20
"""


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A study's yaml and folders, as a command line has them."""
    monkeypatch.setenv("STUDY_COMMIT", "123456789012")
    monkeypatch.setenv("STUDY_RECORDS", str(tmp_path / "published"))
    (tmp_path / "s.yaml").write_text(YAML)
    return [str(tmp_path / "s.yaml"), "--runs", str(tmp_path / "runs"), "--results", str(tmp_path / "results")]


def test_other_images_and_other_noise() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3)).double()
    x = torch.randn(40, 4, dtype=torch.float64)
    labels = model(x).argmax(1)
    whole = MeasureContext(model, {}, x, labels, "cross_entropy", "0123456789ab")
    again = other(whole)
    assert torch.equal(again.x, torch.cat([x[20:], x[:20]])) and torch.equal(again.labels, labels.roll(-20))
    assert compute("train_loss", again)["value"] == pytest.approx(compute("train_loss", whole)["value"], rel=1e-12)
    first, second = (compute("train_loss", one.on_first(20))["value"] for one in (whole, again))
    losses = nn.functional.cross_entropy(model(x), labels, reduction="none")
    assert (first, second) == pytest.approx((losses[:20].mean().item(), losses[20:].mean().item()))
    same_images = MeasureContext(model, {}, x, labels, "cross_entropy", whole.key, noise=again.noise)
    for label in ("sharpness_mean", "pac_bayes_flatness", "pac_bayes_mag_flatness", "feature_robustness"):
        first, second = (compute(label, one.on_first(30)) for one in (whole, same_images))
        apart = abs(first["value"] - second["value"])
        assert 0 < apart < 4 * math.hypot(first["standard_error"], second["standard_error"]), label


def test_the_command(
    told: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", *told, "--wandb", "off"]) == 0 and main(["records", *told]) == 0
    capsys.readouterr()
    assert main(["repeats", *told]) == 0
    assert re.search(
        r"networks  2 of 2 finished, each at epoch_1, epoch_2\n.*\n  estimate  .* s, by", capsys.readouterr().out
    )
    rows, records = (read_table(tmp_path / f"results/s/{name}.csv") for name in ("repeats", "records"))
    by_place = {(record["key"], record["stop"]): record for record in records}
    assert len(rows) == 4 * 4, "two networks at two stops, four measures of training data"
    for row in rows:
        assert row["value"] == by_place[row["key"], row["stop"]][f"measure.{row['measure']}"]
        value, again = (float(row[name] or "nan") for name in ("value", "again"))
        assert (again == value) == (row["measure"] == "l2") or math.isnan(value)
        assert float(row["relative_change"] or "nan") == pytest.approx((again - value) / abs(value), nan_ok=True)
    assert main(["publish", *told]) == 0 and read_table(tmp_path / "published/s.repeats.csv") == rows

    path = tmp_path / "results/s/repeats.csv"
    write_rows(path, [{**row, "again": "7.0"} for row in rows[:4]])  # of one network, as on another machine
    assert main(["publish", *told]) == 0
    published = read_table(tmp_path / "published/s.repeats.csv")
    assert [row["again"] for row in published[:4]] == ["7.0"] * 4 and published[4:] == rows[4:]
    write_rows(path, rows)

    def once(label: str, context: MeasureContext) -> float:
        raise AssertionError(f"{label} was taken already")

    monkeypatch.setattr("study.again.repeats.value", once)
    assert main(["repeats", *told]) == 0 and read_table(tmp_path / "results/s/repeats.csv") == rows
    assert main(["repeats", *told, "--networks", "1", "--stops", "epoch_1"]) == 0
    assert read_table(tmp_path / "results/s/repeats.csv") == rows, "what was asked for before stays"
    for other_code in ("abcdefabcdef", "123456789012-dirty"):  # it is taken again
        monkeypatch.setattr(taking, "commit", lambda code=other_code: code)
        with pytest.raises(AssertionError, match="was taken already"):
            main(["repeats", *told])


def test_the_estimate_is_of_every_network_stop_and_measure(told: list[str], tmp_path: Path) -> None:
    assert main(["run", *told, "--wandb", "off"]) == 0
    study, runs = load_study(tmp_path / "s.yaml"), tmp_path / "runs"
    taken = [
        path for path in runs.rglob("*.json") if path.stem in ("train_loss", "sharpness_mean", "temperature", "l2")
    ]
    for path in taken:
        path.write_text(json.dumps(json.loads(path.read_text()) | {"seconds": 3.0}))
    assert repeats.plan(study, runs, None).seconds == 2 * 2 * 4 * 3.0
    assert repeats.plan(study, runs, 1, ["epoch_2"]).seconds == 4 * 3.0


def test_a_change_is_over_the_size_of_the_first_value() -> None:
    assert taking.relative_change(-2.0, -1.0) == 0.5 and taking.relative_change(4.0, 1.0) == -0.75
    assert math.isnan(taking.relative_change(0.0, 1.0)) and math.isnan(taking.relative_change(1.0, math.nan))


def test_some_networks_are_from_all_over_the_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taking, "finished", lambda *_: list("abcdefg"))
    for many, chosen in ((1, "a"), (2, "ag"), (3, "adg"), (7, "abcdefg"), (9, "abcdefg"), (None, "abcdefg")):
        assert taking.spread(SimpleNamespace(runs=(), name="s"), Path(), many) == (tuple(chosen), 7)


def test_what_is_taken_stays_with_its_commit_and_goes_with_its_measure(
    told: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["run", *told, "--wandb", "off"]) == 0 and main(["repeats", *told]) == 0
    before, path = read_table(tmp_path / "results/s/repeats.csv"), tmp_path / "results/s/repeats.csv"
    monkeypatch.setattr(taking, "commit", lambda: "abcdefabcdef")
    assert main(["repeats", *told, "--networks", "1", "--stops", "epoch_1"]) == 0
    after = read_table(path)
    assert [row["prov.commit"] for row in after].count("abcdefabcdef") == 4
    assert [{**row, "prov.commit": ""} for row in after] == [{**row, "prov.commit": ""} for row in before]
    (tmp_path / "s.yaml").write_text(YAML.replace("sharpness_mean, ", ""))
    assert main(["repeats", *told]) == 0 and main(["records", *told]) == 0
    assert {row["measure"] for row in read_table(path)} == {"train_loss", "l2", "temperature"}
    stored = next((tmp_path / "runs").rglob("images_20/train_loss.json"))
    stored.write_text(stored.read_text().replace('"value": ', '"value": 1'))
    assert main(["repeats", *told]) == 0, "the value is another one now"
    assert float(max(read_table(path), key=lambda row: float(row["value"] or 0))["value"]) > 10


def test_an_own_measure_that_is_edited_is_taken_again_and_a_broken_one_is_said(
    told: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, code = tmp_path / "results/s/repeats.csv", tmp_path / "own.py"
    (tmp_path / "s.yaml").write_text(YAML[: YAML.index("measures:")] + "measures: [train_loss, own.py:drawn]\n")
    seen = set()
    for body, again in (("1 + ctx.noise", 2), ("1 + 2 * ctx.noise", 3)):  # the first value is the same
        code.write_text(f"def drawn(ctx):\n    return {body}\n")
        assert main(["run", *told, "--wandb", "off"]) == 0 and main(["records", *told]) == 0
        assert main(["repeats", *told]) == 0 and main(["publish", *told]) == 0
        rows = read_table(path)
        mine = [row for row in rows if row["measure"] == "drawn"]
        assert {(float(row["value"]), float(row["again"])) for row in mine} == {(1, again)}
        assert {row["prov.code"] for row in rows if row not in mine} == {""}
        seen |= {row["prov.code"] for row in mine}
    assert len(seen) == 2 and read_table(tmp_path / "published/s.repeats.csv") == rows
    write_rows(path, [{name: cell for name, cell in row.items() if name != "prov.code"} for row in rows])
    assert main(["repeats", *told]) == 0 and read_table(path) == rows, "nothing says of what code it was"
    assert "again.drawn" in read_records("s", tmp_path / "results").records

    code.write_text("def drawn(ctx):\n    return [1][ctx.noise]\n")
    assert main(["run", *told, "--wandb", "off"]) == 0
    capsys.readouterr()
    assert main(["repeats", *told]) == 2
    assert "own.py:drawn': line 2 IndexError: list index out of range" in capsys.readouterr().err


def test_layers_that_older_code_stored_by_the_alphabet_are_put_in_order() -> None:
    config = config_from_dict({"dataset": "digits", "hidden": (4,) * 10})
    names = [f"fc{k}" for k in range(1, 12)]
    assert list(_in_order(config, dict.fromkeys(sorted(names), 0.0))) == names
    assert list(_in_order(config, dict.fromkeys(["fc2", "fc1"], 0.0))) == ["fc2", "fc1"], "as it was stored"


def test_what_cannot_be_repeated_is_refused(
    told: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    yaml = tmp_path / "s.yaml"
    assert main(["repeats", *told]) == 2 and "holds no finished run of s" in capsys.readouterr().err
    assert main(["run", *told, "--wandb", "off"]) == 0
    capsys.readouterr()
    for options, said in (
        (["--networks", "0"], "--networks: 0: allowed: an integer > 0"),
        (["--stops", "epoch_7"], "--stops: epoch_7: is none of s, allowed: epoch_1, epoch_2"),
    ):
        assert main(["repeats", *told, *options]) == 2
        assert capsys.readouterr().err == f"error: {said}\n"
    for before, after, said in (
        ("measured_images: 20", "measured_images: 31", "measured_images: 31 of 60 training images: leaves no others"),
        ("sharpness_mean, l2", "keskar, l2", "keskar is not measured yet, allowed: a network with every measure"),
        (YAML[YAML.index("measures:") :], "measures: [label_constancy]\n", "measures nothing that reads training data"),
    ):
        yaml.write_text(YAML.replace(before, after))
        assert main(["repeats", *told]) == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "results/s/repeats.csv").exists()
