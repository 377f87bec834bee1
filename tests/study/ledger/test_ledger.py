"""Anybody's checkpoints become a ledger: the document's example end to end, and what is done again."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest
import torch
from torch import nn

from analysis.columns import layers, measures, targets
from analysis.load import load_ledger
from analysis.statistics.association.correlation import kendall
from study.__main__ import main
from study.curvature import layer_curvature
from study.data.vision import torchvision
from study.storage.atomic import read_json
from tests.support.ledgers import YAML, linears

DOCUMENT = Path(__file__).parents[3] / "study/ledger/README.md"
NAMES = ["train.py", "digit_networks.py", "digit_classifiers.yaml", "commands", "squeezenets.py", "seeded.py",
         "squeezenets.yaml"]  # fmt: skip


def pieces() -> dict[str, str]:
    """The document's blocks of code by file."""
    found = [block for _, block in re.findall(r"```(\w+)\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)]
    return dict(zip(NAMES, found, strict=True))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with scikit-learn's networks and the two files of the example, measured."""
    folder = tmp_path_factory.mktemp("example")
    for name in NAMES[:3]:
        (folder / name).write_text(pieces()[name])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        exec(compile(pieces()["train.py"], "train.py", "exec"), {"__name__": "train"})
        assert main(["ledger", "digit_classifiers.yaml", "--results", "results"]) == 0
    return folder


def rows(folder: Path, name: str = "digit_classifiers") -> list[dict[str, str]]:
    with (folder / "results" / name / "ledger.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_example_of_the_document_up_to_a_correlation(trained: Path) -> None:
    found = rows(trained)
    assert [(r["hp.width"], r["hp.alpha"], r["seed"]) for r in found[:2]] == [
        ("16", "0.0001", "0"),
        ("16", "0.0001", "1"),
    ]
    code: dict = {}
    exec(pieces()["digit_networks.py"], code)
    x, y, test_x, test_y = code["data"]()
    for row in found:
        model = code["build"]({"width": int(row["hp.width"])})
        model.load_state_dict(torch.load(trained / row["prov.checkpoint"], weights_only=True))
        with torch.no_grad():
            error = [(model(a).argmax(1) != b).double().mean().item() for a, b in ((x, y), (test_x, test_y))]
        assert float(row["gen.gap"]) == error[1] - error[0]
        exact = layer_curvature(model, (x, y))
        flatness = [layer.relative_flatness for layer in exact.values()]
        assert float(row["complexity.relative_flatness"]) == pytest.approx(sum(flatness), rel=1e-9)
        assert float(row["complexity.relative_flatness_last_layer"]) == pytest.approx(flatness[-1], rel=1e-9)
        assert row["is.converged"] == "True"
    source = load_ledger(trained / "results/digit_classifiers/ledger.csv")
    assert {"relative_flatness", "relative_flatness_last_layer", "param_norm"} < set(measures(source.records))
    assert layers(source.records, "relative_flatness") == []
    assert targets(source.records) == ["gen.gap", "gap.loss", "test.error"]
    assert kendall(source.records, target="gen.gap")["n"].eq(8).all()


def test_only_what_is_missing_is_taken(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = trained / "results/digit_classifiers"
    before = {path: path.stat().st_mtime_ns for path in results.rglob("*.json")}
    table = (results / "ledger.csv").read_bytes()
    again = ["ledger", str(trained / "digit_classifiers.yaml"), "--results", str(trained / "results")]
    victim = sorted(before)[1]
    victim.unlink()
    assert main(again) == 0
    assert f"to do     1: {int(victim.stem != 'evaluation')} values" in capsys.readouterr().out
    assert (results / "ledger.csv").read_bytes() == table
    after = {path: path.stat().st_mtime_ns for path in results.rglob("*.json")}
    assert {path for path in before if before[path] != after[path]} == {victim}
    assert main([*again, "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert (
        "networks  8, by width, alpha, seed" in shown and "to do     0" in shown and "300 training, 1497 test" in shown
    )


def measured(folder: Path, yaml: Path) -> list[dict[str, str]]:
    assert main(["ledger", str(yaml), "--results", str(folder / "results")]) == 0
    return rows(folder, "models")


def test_what_has_no_value_is_an_empty_cell_with_its_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = {"weight": torch.full((2, 3), float("nan")), "bias": torch.zeros(2)}
    yaml = linears(tmp_path)
    torch.save({"state_dict": weights}, tmp_path / "w1.pt")
    first, second = measured(tmp_path, yaml)
    assert (first["hp.lr"], second["hp.lr"]) == ("0.001", "0.1")
    assert second["is.converged"] == "False" and second["gap.loss"] == second["complexity.train_loss"] == ""
    assert "values recorded as missing, the reason beside each; the first: w" in capsys.readouterr().out
    assert "is not finite" in next((tmp_path / "results").rglob("train_loss.error.txt")).read_text()


def test_other_weights_code_or_data_are_measured_anew(tmp_path: Path) -> None:
    yaml = linears(tmp_path)
    one = measured(tmp_path, yaml)
    torch.save(nn.Linear(3, 2).state_dict(), tmp_path / "w0.pt")
    two = measured(tmp_path, yaml)
    assert one[0] != two[0] and one[1] == two[1]
    own = tmp_path / "own.py"
    own.write_text(own.read_text().replace("x[:, 0] > 0", "x[:, 1] > 0"))
    three = measured(tmp_path, yaml)
    assert three[1]["prov.key"] != two[1]["prov.key"] and three[1]["train.loss"] != two[1]["train.loss"]


def test_initial_weights_a_csv_and_a_measure_of_ones_own(tmp_path: Path) -> None:
    text = YAML.replace("[{checkpoint: w0.pt, lr: 1e-3}, {checkpoint: w1.pt, lr: 0.1}]", ".")
    text = text.replace("measures: [param_norm, inverse_margin,", "measures: [distance_from_init, own.py:largest,")
    yaml = linears(
        tmp_path, text + "hyperparameters: table.csv\ninitial: '{name}.before'\ngap: loss\nconverged: 0.01\n"
    )
    (tmp_path / "table.csv").write_text("checkpoint,width,seed\nw1.pt,4,1\nw0.pt,4,0\n")
    with (tmp_path / "own.py").open("a") as file:
        file.write("def largest(ctx):\n    return max(p.abs().max().item() for p in ctx.model.parameters())\n")
    for row in measured(tmp_path, yaml):
        after, before = (torch.load(tmp_path / f"w{row['seed']}.{end}") for end in ("pt", "before"))
        distance = sum((after[name] - before[name]).double().square().sum() for name in after).sqrt().item()
        assert float(row["complexity.distance_from_init"]) == pytest.approx(distance)
        assert float(row["complexity.largest"]) == max(w.abs().max().item() for w in after.values())
        assert float(row["gen.gap"]) == float(row["test.loss"]) - float(row["train.loss"])
        assert row["is.converged"] == "False" and row["hp.width"] == "4"


def test_the_last_layer_is_that_of_the_network_whatever_it_is_called(tmp_path: Path) -> None:
    """Not the last of the alphabet: of a long nn.Sequential "8" comes after "12" there."""
    layers = "[torch.nn.Linear(3, 3) for _ in range(11)]"
    code = f"def build(hp):\n    return torch.nn.Sequential(*{layers}, torch.nn.Linear(3, 2))\n"
    yaml = linears(tmp_path, YAML.replace("param_norm", "weight_norm_squared").replace("inverse_margin, ", ""), code)
    for name in ("w0.pt", "w1.pt"):
        model = nn.Sequential(*[nn.Linear(3, 3) for _ in range(11)], nn.Linear(3, 2))
        torch.save(model.state_dict(), tmp_path / name)
    for row in measured(tmp_path, yaml):
        last = torch.load(tmp_path / row["prov.checkpoint"], weights_only=True)["11.weight"]
        found = float(row["complexity.weight_norm_squared_last_layer"])
        assert found == pytest.approx(last.double().square().sum().item())


def test_a_folder_by_its_whole_path_and_names_with_endings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    yaml = linears(tmp_path)
    for seed, lr in enumerate(("0.1", "0.25")):
        (tmp_path / f"w{seed}.pt").rename(folder / f"lr{lr}.pt")
    listed = YAML.replace("[{checkpoint: w0.pt, lr: 1e-3}, {checkpoint: w1.pt, lr: 0.1}]", str(folder))
    yaml.write_text(listed + "hyperparameters: 'lr(?P<lr>[0-9.]+)'\n")
    assert [row["hp.lr"] for row in measured(tmp_path, yaml)] == ["0.1", "0.25"]
    path = tmp_path / "results/models/ledger.csv"
    assert load_ledger(path).name == "models"
    capsys.readouterr()
    assert main(["ledger", str(yaml), "--results", str(tmp_path / "results"), "--device", "tpu"]) == 2
    assert "tpu" in capsys.readouterr().err


def test_initial_weights_need_no_statistics_of_norm_layers(tmp_path: Path) -> None:
    """What is saved of named_parameters alone; and data of one feature, stored column by column."""
    code = "def build(hp):\n    return torch.nn.Sequential(torch.nn.Linear(1, 2), torch.nn.BatchNorm1d(2))\n"
    yaml = linears(tmp_path, YAML.replace("param_norm", "distance_from_init") + "initial: '{name}.before'\n", code)
    own = (tmp_path / "own.py").read_text()
    (tmp_path / "own.py").write_text(own.replace("    return x[:8]", "    x = x[:, 0][None].T\n    return x[:8]"))
    for name in ("w0", "w1"):
        model = nn.Sequential(nn.Linear(1, 2), nn.BatchNorm1d(2))
        torch.save(model.state_dict(), tmp_path / f"{name}.pt")
        torch.save({k: v.detach() - 1 for k, v in model.named_parameters()}, tmp_path / f"{name}.before")
    for row in measured(tmp_path, yaml):
        assert float(row["complexity.distance_from_init"]) == pytest.approx(8**0.5)


def test_modules_beside_the_file_are_found_while_it_builds(tmp_path: Path) -> None:
    code = "def build(hp):\n    import parts_of_mine\n    return parts_of_mine.layer()\n"
    yaml = linears(tmp_path, YAML, code)
    (tmp_path / "parts_of_mine.py").write_text("import torch\ndef layer():\n    return torch.nn.Linear(3, 2)\n")
    assert len(measured(tmp_path, yaml)) == 2


def test_networks_of_torchvision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The document's second example, its images drawn here."""
    with_images = "import torch\ndef images():\n    x, y = torch.randn(4, 3, 32, 32), torch.arange(4)\n"
    (tmp_path / "squeezenets.py").write_text(pieces()["squeezenets.py"] + with_images + "    return x, y, x + 1, y\n")
    text = pieces()["squeezenets.yaml"].replace("cifar10", "squeezenets.py:images").replace("1000", "3")
    (tmp_path / "squeezenets.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    squeezenet = torchvision().models.squeezenet1_1  # whatever torch is beside it, it can be imported now
    exec(compile(pieces()["seeded.py"], "seeded.py", "exec"), {})
    made = {}
    for seed, name in enumerate("ab"):
        torch.manual_seed(seed)
        made[name] = squeezenet(num_classes=10).eval()
        for at, value in torch.load(f"{name}.pt", weights_only=True).items():
            assert torch.equal(value, made[name].state_dict()[at])
    assert main(["ledger", str(tmp_path / "squeezenets.yaml"), "--results", str(tmp_path / "results")]) == 0
    for row in rows(tmp_path, "squeezenets"):
        weights = [p for p in made[row["prov.checkpoint"][0]].parameters() if p.ndim > 1]
        norm = sum(w.detach().double().square().sum().item() for w in weights)
        assert float(row["complexity.param_norm"]) == pytest.approx(norm, rel=1e-5)
        assert row["n.train"] == "3" and read_json(
            tmp_path / f"results/squeezenets/networks/{row['prov.key']}/evaluation.json"
        )["n_parameters"] == sum(p.numel() for p in made["a"].parameters())


def test_what_is_of_the_curve_of_training_is_left_out_of_a_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    yaml = linears(tmp_path, YAML.replace("train_loss", "steps_to_loss, steps_between_losses"))
    assert main(["ledger", str(yaml), "--results", str(tmp_path / "results"), "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "measures  param_norm, inverse_margin\n" in said
    assert "left out  steps_to_loss, steps_between_losses: of the curve of training" in said
