"""The grammar of labels and stops, and the roots of folders: one owner each."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from study.__main__ import main
from study.names import Label, Stop, column_name, label_of, wandb_name

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("relative_flatness", ("relative_flatness", "", "", "")),
        ("hessian_trace@layerwise_1", ("hessian_trace", "", "layerwise_1", "")),
        ("kappa_2019.fc3", ("kappa_2019", "", "", "fc3")),
        ("kappa_2019@factor_1e-3.block.0.conv", ("kappa_2019", "", "factor_1e-3", "block.0.conv")),
        ("sharpness(rho=0.05,norm=linf)@layerwise_1.fc3", ("sharpness", "rho=0.05,norm=linf", "layerwise_1", "fc3")),
    ],
)
def test_a_label_is_read_and_written(text: str, parts: tuple[str, ...]) -> None:
    label = Label.parse(text)
    assert (label.measure, label.options, label.transform, label.layer) == parts
    assert str(label) == text and label_of(f"measure.{text}") == label and label.column == f"measure.{text}"
    assert column_name(wandb_name(label.column)) == label.column


@pytest.mark.parametrize("text", ["", "@layerwise_1", ".fc1", "a@", "a.", "a(b", "a)b", "a(b)c", "a@b@c"])
def test_what_is_no_label_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"label: .*allowed: measure"):
        Label.parse(text)


def test_another_layer_or_transform_of_the_same_measure() -> None:
    label = Label.parse("sharpness_max(rho=0.05)@layerwise_1.fc3")
    assert str(label.at(layer="")) == "sharpness_max(rho=0.05)@layerwise_1"
    assert str(label.at(transform="", layer="fc1")) == "sharpness_max(rho=0.05).fc1"
    assert label.name == "sharpness_max(rho=0.05)"


def test_stops_stand_in_the_order_of_training() -> None:
    texts = ("epoch_20", "loss_0.01", "error_0", "loss_1e-3", "error_0.1", "epoch_3", "loss_0.1")
    stops = [Stop.parse(text) for text in texts]
    ordered = [stop.text for stop in sorted(stops, key=lambda stop: (stop.kind, stop.rank))]
    assert ordered == ["epoch_3", "epoch_20", "error_0.1", "error_0", "loss_0.1", "loss_0.01", "loss_1e-3"]
    assert Stop.read("ledger").kind == "" and Stop.read("ledger").words == "ledger"
    assert [s.words for s in stops[:3]] == ["end of epoch 20", "training loss 0.01", "training error 0"]


def test_the_one_way_to_write_a_stop() -> None:
    for text in ("loss_0.01", "loss_0.07", "loss_1", "loss_12.5", "loss_1e-07", "loss_1e16", "epoch_60", "error_0"):
        assert Stop.parse(text).canonical == text
        assert Stop.parse(Stop.parse(text).canonical) == Stop.parse(text)
    spelled = {"loss_0.10": "loss_0.1", "loss_1e-1": "loss_0.1", "loss_1.0": "loss_1", "epoch_06": "epoch_6",
               "error_0.0": "error_0", "error_0.10": "error_0.1"}  # fmt: skip
    assert {text: Stop.parse(text).canonical for text in spelled} == spelled


@pytest.mark.parametrize(
    "text", ["", "ledger", "loss_0", "loss_-1", "loss_1e999", "epoch_0", "epoch_1.5", "loss", "Loss_0.1", "error_1"]
)
def test_what_is_no_stop_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"stops: .*allowed: loss_"):
        Stop.parse(text)


def test_nobody_else_cuts_a_label_or_reads_a_root() -> None:
    """No other module splits at "@", asks the environment for a folder, or writes down where records are."""
    found = []
    for path in sorted(p for part in ("study", "analysis", "slurm") for p in (ROOT / part).rglob("*.py")):
        place = path.relative_to(ROOT).as_posix()
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not node.args or not isinstance(node.args[0], ast.Constant):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            first = str(node.args[0].value)
            cuts = name in ("partition", "rpartition", "split", "rsplit") and first == "@"
            roots = name == "get" and first in ("STUDY_RUNS", "STUDY_RESULTS", "STUDY_RECORDS")
            roots |= name == "Path" and first.startswith(("analysis/", "results", "runs"))
            if (cuts and place != "study/names.py") or (roots and place != "study/storage/paths.py"):
                found.append(f"{place}:{node.lineno} {name}({first!r})")
    assert found == []


def test_published_runs_are_found_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["plan", str(ROOT / "configs/lenet5_cifar10.yaml"), "--skip-published"]) == 0
    assert "144 published" in capsys.readouterr().out
