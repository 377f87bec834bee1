"""Every mistake in a models.yaml, its data, code and checkpoints is one line before anything is measured."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from study.__main__ import main
from tests.support.ledgers import YAML, linears


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
    (code("def build(hp):\n    return 3\n"), "gives an int, allowed: a torch.nn.Module"),
    (code("def build(hp):\n    pass\n"), "gives nothing, allowed: a torch.nn.Module"),
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
    assert lines[0].startswith(f"error: {tmp_path}/models.yaml: "), lines
    assert not (tmp_path / "results").exists()


TABLES = [
    ("by: checkpoint,w\nw0.pt,1\n", "'w1.pt': has no row in table.csv"),
    ("checkpoint,w\nw0.pt,1\nw1.pt\n", "has a row of another length"),
    ("checkpoint,w,v\nw0.pt,1,1\nw1.pt,,2\n", "'w1.pt': has no w, allowed: w, v, for every network"),
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
