"""A measure from a person's own file: the example of the document run end to end, code that changes, every mistake."""

import csv
import pickle
import re
from pathlib import Path

import pytest
import torch

from analysis.load import load_study as load_records
from analysis.make import build
from analysis.studies.reader import read_shown
from slurm.launch import find_place
from slurm.request import Options, assign
from study.__main__ import main
from study.config import ConfigError, run_key
from study.grid import load_study, shards
from study.measures import MeasureContext, Own, OwnMeasureError, compute
from study.publishing.publish import published_keys
from study.storage.atomic import read_json
from study.storage.paths import RunPaths

DOCUMENT = Path(__file__).parents[3] / "study/measures/README.md"


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The yaml of the document, with its my_measures.py beside it; runs and results of its own."""
    text = DOCUMENT.read_text().partition("## One in a file of your own")[2]
    for kind, name in (("python", "my_measures.py"), ("yaml", "mine.yaml")):
        found = re.search(rf"```{kind}\n(.*?)```", text, re.DOTALL)
        assert found
        (tmp_path / name).write_text(found[1])
    for name in ("runs", "results", "records"):
        monkeypatch.setenv(f"STUDY_{name.upper()}", str(tmp_path / name))
    return tmp_path / "mine.yaml"


def rows(config: Path) -> list[dict[str, str]]:
    with (config.parent / "results/mine/records.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_example_of_the_document_from_yaml_to_analysis(example: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(example), "--wandb", "off"]) == 0
    own = load_study(example).measures[1]
    assert isinstance(own, Own)
    power = "measure.weight_power(power=1.5)"
    for row in (found := rows(example)):
        weights = torch.load(RunPaths(example.parent / "runs", row["key"]).stop(row["stop"]).weights)
        assert float(row["measure.largest_weight"]) == max(w.abs().max().item() for w in weights.values())
        layers = {name: weights[f"{name}.weight"].abs().pow(1.5).sum().item() for name in ("fc1", "fc2")}
        assert {name: float(row[f"{power}.{name}"]) for name in layers} == pytest.approx(layers)
        assert float(row[power]) == pytest.approx(sum(layers.values()))
        assert float(row[f"{power}@layerwise_1.fc1"]) < float(row[f"{power}.fc1"]), "the factor is above 1"
        assert row["prov.code.largest_weight"] == row["prov.code.weight_power"] == own.code
    assert len(found) == 8
    source = load_records("mine", example.parent / "results")
    table = build("table", "correlation", source, read_shown("mine"), draws=5)
    assert {"largest_weight", "weight_power(power=1.5)"} <= {str(label) for label in table["measure"]}

    capsys.readouterr()
    file = example.with_name("my_measures.py")
    file.write_text(file.read_text().replace("abs().max()", "max()"))
    assert main(["plan", str(example)]) == 0
    said = capsys.readouterr().out
    assert (
        "again     largest_weight, weight_power(power=1.5), weight_power(power=1.5)@layerwise_1: the code has" in said
    )
    weights_before = {p: p.stat().st_mtime_ns for p in example.parent.rglob("weights.pt")}
    assert main(["run", str(example), "--wandb", "off"]) == 0
    assert {p: p.stat().st_mtime_ns for p in example.parent.rglob("weights.pt")} == weights_before, "nothing is trained"
    assert any(
        a["measure.largest_weight"] != b["measure.largest_weight"] for a, b in zip(found, rows(example), strict=True)
    )
    assert {row["prov.code.largest_weight"] for row in rows(example)} != {own.code}
    capsys.readouterr()
    assert main(["plan", str(example)]) == 0
    assert "again" not in capsys.readouterr().out


def test_a_job_takes_the_code_along(example: Path) -> None:
    """As it is pickled for a job, where the file may be another one, or none, when the job starts."""
    place = find_place(example, "inline", None, None)
    jobs = [pickle.dumps(job) for job in assign(place, Options(example, "inline", wandb="off"), shards(place.study))]
    own = place.study.measures[2]
    example.with_name("my_measures.py").write_text("raise SystemExit('not what was sent')\n")
    for job in jobs:
        assert pickle.loads(job)() == "done"
    for config in place.study.runs:
        stop = RunPaths(example.parent / "runs", run_key(config)).stop("epoch_2")
        assert isinstance(own, Own) and own == "weight_power(power=1.5)"
        assert read_json(stop.measure(own))["code"] == own.code


def test_published_by_other_code_is_not_published(example: Path) -> None:
    study = load_study(example)
    folder = example.parent / "records"
    folder.mkdir()
    for code, n in ((study.measures[1].code, len(study.runs)), ("0123456789ab", 0)):  # type: ignore[attr-defined]
        names = [
            *(f"measure.{label}" for label in study.measures),
            "prov.code.largest_weight",
            "prov.code.weight_power",
        ]
        lines = [",".join(["key", "stop", *names])]
        lines += [",".join([run_key(c), "epoch_2", *["1"] * 4, code, code]) for c in study.runs]
        (folder / "mine.csv").write_text("\n".join(lines) + "\n")
        assert len(published_keys(study)) == n


MISTAKES = {
    "f.py:gone": "has no such function, allowed: good",
    "none.py:good": "none.py cannot be read (No such file or directory), allowed: file.py:function",
    "broken.py:f": "broken.py line 2: ",
    "ours.py:train_loss": "train_loss is a measure of study/measures/, allowed: a name that no measure",
    "f.py:good(power=x)": "option power: 'x': allowed: a float",
    "f.py:good(power=nan)": "option power: 'nan': allowed: a number, or letters",
    "f.py:good(size=3)": "option size: allowed, each once: power, norm",
    "f.py:good(power=1,power=2)": "option power: allowed, each once: power, norm",
    "f.py:good(norm=a b)": "option norm: 'a b': allowed: a number, or letters, digits, _ . -",
    "f.py:good(power=1": "allowed: file.py:function, or in quotes",
    "bare.py:f": "takes no context, allowed: def f(ctx, option=default)",
    "open.py:f": "option x has no such default, allowed: def f(ctx, option=default)",
    "decorated.py:f": "is decorated, allowed: the function alone",
}
FILES = {
    "f.py": "def good(ctx, power=2.0, norm='l2'):\n    return power\n",
    "broken.py": "def f(ctx):\nreturn 1\n",
    "ours.py": "def train_loss(ctx):\n    return 1\n",
    "bare.py": "def f():\n    return 1\n",
    "open.py": "def f(ctx, x):\n    return 1\n",
    "decorated.py": "from study.measures.registry import measure\n@measure('f')\ndef f(ctx):\n    return 1\n",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize("label", MISTAKES)
def test_mistakes_in_the_yaml_are_one_line(label: str, folder: Path) -> None:
    (folder / "s.yaml").write_text(f'measures: ["{label}"]\n')
    with pytest.raises(ConfigError) as caught:
        load_study(folder / "s.yaml")
    said = str(caught.value)
    assert said.startswith(f"{folder / 's.yaml'}: measures: '") and "\n" not in said
    assert label in said and MISTAKES[label] in said


def test_one_spelling_of_options_and_one_label_a_study(folder: Path) -> None:
    assert Own.read("f.py:good(power=2)", folder) == "good"
    assert Own.read("f.py:good(power=3.0, norm=l1)", folder) == Own.read("f.py:good(norm=l1,power=3)", folder)
    (folder / "g.py").write_text(FILES["f.py"])
    (folder / "s.yaml").write_text("measures: [f.py:good, g.py:good]\n")
    with pytest.raises(ConfigError, match="each once"):
        load_study(folder / "s.yaml")


def context() -> MeasureContext:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2)).eval()
    initial = {name: p.detach().clone() for name, p in model.named_parameters()}
    return MeasureContext(model, initial, torch.randn(5, 3), torch.tensor([0, 1, 0, 1, 0]), "cross_entropy", "abc")


def own(tmp_path: Path, body: str) -> Own:
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    (tmp_path / "f.py").write_text(f"import torch\n\ndef f(ctx):\n{lines}")
    return Own.read("f.py:f", tmp_path)


def test_what_it_does_to_the_network_is_undone(tmp_path: Path) -> None:
    body = """ctx.model.train()
loss = ctx.model(ctx.x).square().sum()
loss.backward()
with torch.no_grad():
    for p in ctx.model.parameters():
        p.add_(torch.randn(p.shape))
        p.requires_grad_(False)
ctx.model[0].weight.data.mul_(3)
return ctx.model[0].weight.sum()"""
    ctx = context()
    before, rng = compute("weight_norm_squared", ctx), torch.get_rng_state()
    first = compute(own(tmp_path, body), ctx)
    assert torch.equal(rng, torch.get_rng_state())
    assert not ctx.model.training and all(p.requires_grad and p.grad is None for p in ctx.model.parameters())
    ctx._values.clear()
    assert compute("weight_norm_squared", ctx) == before
    torch.manual_seed(5)
    assert compute(own(tmp_path, body), ctx) == first, "global draws are the run's own"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return None", "gives a NoneType, allowed: a number, Sampled"),
        ("return ctx.x", "gives a Tensor, allowed: a number"),
        ("return 'a'", "gives a str"),
        ("return {'fc9': 1.0}", "gives values of 'fc9', allowed: 0, 2"),
        ("return {}", "gives no value of any layer, allowed: 0, 2"),
        ("return {'0': None}", "gives a NoneType"),
        (
            "from study.measures.registry import Sampled\nreturn {'0': Sampled(1.0, 0.1)}",
            "gives a Sampled, allowed: a number",
        ),
        ("\nreturn ctx.nothing", "line 5 AttributeError: 'MeasureContext' object has no attribute 'nothing'"),
        ("ctx.model[0] = torch.nn.Linear(3, 4)\nreturn 1", "has put other parameters into the network"),
    ],
)
def test_code_that_gives_no_value_is_one_line(body: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(OwnMeasureError) as caught:
        compute(own(tmp_path, body), context())
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_a_value_that_is_missing_is_recorded_and_code_that_cannot_run_stops_before_training(
    example: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    example.write_text("fixed: {n_train: 60, hidden: [4], stops: [epoch_1], max_epochs: 1}\nmeasures: [f.py:f]\n")
    file = example.with_name("f.py")
    file.write_text("import nothing_of_this_name\n\ndef f(ctx):\n    return 1\n")
    assert main(["run", str(example), "--wandb", "off"]) == 2
    assert "f.py:f': line 1 ModuleNotFoundError: No module named 'nothing_of" in capsys.readouterr().err
    assert not list(example.parent.rglob("weights.pt"))
    file.write_text("def f(ctx):\n    raise ValueError('not of this one')\n")
    assert main(["run", str(example), "--wandb", "off"]) == 0
    assert "1 values recorded as missing" in capsys.readouterr().out
    assert rows(example)[0]["measure.f"] == ""
    assert len(list(example.parent.rglob("f.error.txt"))) == 1
    file.write_text("def f(ctx):\n    return 3\n")
    assert main(["run", str(example), "--wandb", "off"]) == 0
    assert rows(example)[0]["measure.f"] == "3.0"
    assert not list(example.parent.rglob("f.error.txt"))
