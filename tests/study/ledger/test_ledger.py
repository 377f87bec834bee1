"""Anybody's checkpoints become a ledger: the document's example end to end, what is done again, every mistake."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
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


def linears(folder: Path, text: str = "", code: str = "") -> Path:
    """Two linear networks on three features, and a yaml to be changed."""
    for seed in (0, 1):
        torch.manual_seed(seed)
        torch.save(nn.Linear(3, 2).state_dict(), folder / f"w{seed}.pt")
        torch.save(nn.Linear(3, 2).state_dict(), folder / f"w{seed}.before")
    own = "import torch\n" + (code or "def build(hp):\n    return torch.nn.Linear(3, 2)\n")
    own += "def data():\n    torch.manual_seed(0)\n    x = torch.randn(12, 3)\n    y = (x[:, 0] > 0).long()\n"
    (folder / "own.py").write_text(own + "    return x[:8], y[:8], x[8:], y[8:]\n")
    (folder / "models.yaml").write_text(text or YAML)
    return folder / "models.yaml"


YAML = """
build: own.py:build
data: own.py:data
networks: [{checkpoint: w0.pt, lr: 1e-3}, {checkpoint: w1.pt, lr: 0.1}]
measures: [param_norm, inverse_margin, train_loss]
"""


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


def edit(old: str, new: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        text = (folder / "models.yaml").read_text()
        assert old in text
        (folder / "models.yaml").write_text(text.replace(old, new))

    return change


def code(text: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        linears(folder, YAML, text)

    return change


def undefined(folder: Path) -> None:
    """A measure that has a meaning for none of the networks."""
    text = "def build(hp):\n    return torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Tanh())\n"
    linears(folder, YAML.replace("param_norm", "path_norm"), text)
    for name in ("w0.pt", "w1.pt"):
        torch.save({f"0.{part}": value for part, value in FITS.items()}, folder / name)


def weights(content: object) -> Callable[[Path], None]:
    return lambda folder: torch.save(content, folder / "w1.pt")


def before(content: object) -> Callable[[Path], None]:
    """Weights before training."""

    def change(folder: Path) -> None:
        edit("measures", "initial: '{name}.before'\nmeasures")(folder)
        torch.save(content, folder / "w1.before")

    return change


def of_data(y: str, section: str = "") -> Callable[[Path], None]:
    """Other data by what `y` is made."""

    def change(folder: Path) -> None:
        text = (folder / "own.py").read_text()
        assert "    return x[:8]" in text
        (folder / "own.py").write_text(text.replace("    return x[:8]", f"    y = {y}\n    return x[:8]"))
        edit("measures", f"{section}measures")(folder)

    return change


FITS = {"weight": torch.zeros(2, 3), "bias": torch.zeros(2)}
MISTAKES: list[tuple[Callable[[Path], object], str]] = [
    (lambda folder: (folder / "w1.pt").unlink(), "networks: 'w1.pt': .* is not there"),
    (weights({"weight": FITS["weight"]}), "networks: 'w1.pt': lacks bias, allowed: the weights of what build gives"),
    (weights({**FITS, "more": FITS["bias"]}), "has more, which the network has not"),
    (weights({**FITS, "bias": torch.zeros(3)}), r"has bias of shape \(3,\), the network \(2,\)"),
    (weights(nn.Linear(3, 2)), "networks: 'w1.pt': cannot be read .*weights_only"),
    (weights([1, 2]), "holds no state dict"),
    (lambda folder: (folder / "w1.pt").write_bytes(b"half"), "networks: 'w1.pt': cannot be read"),
    (edit("param_norm", "parm_norm"), "measures: 'parm_norm': unknown measure, allowed: "),
    (edit("param_norm", "distance_from_init"), "'distance_from_init': asks for the initial weights of w0.pt"),
    (edit("param_norm, inverse_margin, train_loss", "steps_to_loss(loss=0.1)"),
     "measures: 'steps_to_loss': of the curve of training, .* allowed beside it: any other"),
    (undefined, "measures: 'path_norm': no network has it: .*Tanh"),
    (edit("measures: ", "measure: "), "measure: .*: unknown section, allowed: build"),
    (edit("data: own.py:data\n", ""), "data: None: is missing"),
    (edit("own.py:data", "imagenet"), "data: 'imagenet': allowed: file.py:function, "),
    (edit("own.py:data", "own.py:build"), "data: 'own.py:build': TypeError.*allowed: code that runs"),
    (edit("own.py:build", "none.py:build"), "build: 'none.py:build': .* cannot be read"),
    (edit("own.py:build", "own.py:make"), "has no such function, allowed: build, data"),
    (code("def build(hp):\n    return hp['depth']\n"), "build: 'own.py:build': line 3: KeyError: 'depth'; allowed"),
    (code("def build(hp)\n    pass\n"), "build: 'own.py:build': line 2: SyntaxError"),
    (code("def build(hp):\n    return 3\n"), "gives a int, allowed: a torch.nn.Module"),
    (code("class Own(torch.nn.Linear):\n    def forward(self, x):\n        return super().forward(x)[0]\n"
          "def build(hp):\n    return Own(3, 2)\n"), r"w0.pt gives \(2,\) of 2 inputs, allowed: \(2, 2 or more\)"),
    (edit(", lr: 0.1", ""), "hyperparameters: 'w1.pt': has no lr, allowed: lr, for every network"),
    (edit("lr: 1e-3", "lr: 0.1"), "networks: 'w1.pt': has the lr 0.1 of w0.pt"),
    (edit("lr: 1e-3", "lr: [1]"), r"lr: \[1\]: of w0.pt, allowed: text or a number"),
    (edit("lr", "l-r"), "networks: 'l-r': allowed in a hyperparameter's name"),
    (edit("[{checkpoint: w0.pt, lr: 1e-3}, {checkpoint: w1.pt, lr: 0.1}]", "."), "hyperparameters: None: allowed"),
    (edit("measures", "hyperparameters: w(?P<w>.)\nmeasures"), "are given in the list of networks too"),
    (edit("measures", "initial: '{name}.init'\nmeasures"), "initial: 'w0.init': .* is not there"),
    (edit("measures", "n_train: 9\nmeasures"), "n_train: 9: own.py:data gives 8 training inputs"),
    (edit("measures", "gap: accuracy\nmeasures"), "gap: 'accuracy': allowed: error or loss"),
    (edit("measures", "loss: hinge\nmeasures"), "loss: 'hinge': allowed: cross_entropy"),
    (edit("checkpoint: w1.pt", "checkpoint: ./w0.pt"), "networks: './w0.pt': is listed twice, as w0.pt too"),
    (edit("lr: 1e-3", "lr: 1e-3, initial: 3"), "initial: 3: of w0.pt, allowed: a file"),
    (before({"weight": FITS["weight"]}), "initial: .*w1.before': lacks bias, allowed: the weights of what build gives"),
    (before({**FITS, "bias": torch.zeros(1)}), r"initial: .*w1.before': has bias of shape \(1,\), the network \(2,\)"),
    (edit("measures", "loss: binary_cross_entropy\nmeasures"),
     r"w0.pt gives \(2, 2\) of 2 inputs, allowed: \(2, 1\) for 2 classes and loss binary_cross_entropy"),
    (of_data("y + (x[:, 1] > 0).long(); y = y", "loss: binary_cross_entropy\n"),
     "data: 'own.py:data': has labels up to 2, allowed with loss binary_cross_entropy: classes 0 and 1"),
    (of_data("y; x = torch.cat([x, x], 1)[:, :4]; return x[:8], y[:8], x[8:, :3], y[8:]; y = y"),
     r"gives train_x \(8, 4\) and test_x \(4, 3\), allowed: inputs of one shape"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "said"), MISTAKES, ids=[said[:40] for _, said in MISTAKES])
def test_a_mistake_is_one_line_before_anything_is_measured(
    change: Callable[[Path], object], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    linears(tmp_path)
    change(tmp_path)
    assert main(["ledger", str(tmp_path / "models.yaml"), "--results", str(tmp_path / "results")]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and re.search(said, lines[0]), lines
    assert not (tmp_path / "results").exists()


TABLES = [
    ("by: checkpoint,w\nw0.pt,1\n", "'w1.pt': has no row in table.csv"),
    ("checkpoint,w\nw0.pt,1\nw1.pt\n", "has a row of another length"),
    ("file,w\nw0.pt,1\n", "has no column checkpoint"),
    ("checkpoint,w\nw0.pt,1\nw0.pt,2\n", "'w0.pt': has two rows in table.csv"),
]


@pytest.mark.parametrize(
    ("by", "table", "said"),
    [*(("table.csv", text.removeprefix("by: "), said) for text, said in TABLES),
     ("none.csv", "", "none.csv cannot be read"), ("'w(?P<w>'", "", "allowed: a CSV or a regular expression"),
     ("w.", "", "names no group"), ("'v(?P<w>.)'", "", "is not in the name w0.pt, allowed: one in every name")],
)  # fmt: skip
def test_hyperparameters_that_cannot_be_had_are_named(
    by: str, table: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    yaml = linears(tmp_path, YAML.replace("[{checkpoint: w0.pt, lr: 1e-3}, {checkpoint: w1.pt, lr: 0.1}]", "."))
    yaml.write_text(yaml.read_text() + f"hyperparameters: {by}\n")
    (tmp_path / "table.csv").write_text(table)
    assert main(["ledger", str(yaml), "--results", str(tmp_path / "results")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line and line.startswith(f"error: {yaml}: hyperparameters: "), line
