"""A study's yaml gives the runs that it says, in order; every mistake is one line that names file, field and value."""

from pathlib import Path

import pytest

from slurm.filter import Filter
from study.__main__ import main
from study.config import ConfigError, run_key
from study.grid import load_study, shards
from study.hyperparameter import changed_seams, described, differing, hyperparameters, is_whole, matches

GOOD = """
fixed: {momentum: 0.9}
grid: {init_gain: [1, 2]}
zip: {batch_size: [10, 30], lr: [1e-2, 0.03]}
seeds: 2
measures: [hessian_trace]
shard_size: 3
"""


def write(folder: Path, text: str, name: str = "s.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_product_zip_seeds(tmp_path: Path) -> None:
    study = load_study(write(tmp_path, GOOD))
    rows = [(c.seed, c.init_gain, c.batch_size, c.lr) for c in study.runs]
    expected = [(s, g, b, lr) for s in (0, 1) for g in (1.0, 2.0) for b, lr in ((10, 0.01), (30, 0.03))]
    assert rows == expected
    assert all(c.momentum == 0.9 for c in study.runs)


def test_shards_hold_one_shape_and_early_runs_first(tmp_path: Path) -> None:
    study = load_study(write(tmp_path, GOOD))
    pieces = shards(study)
    assert [len(p.runs) for p in pieces] == [3, 3, 1, 1]
    assert all(len({c.batch_size for c in p.runs}) == 1 for p in pieces)
    assert sorted(run_key(c) for p in pieces for c in p.runs) == sorted(run_key(c) for c in study.runs)
    first = [study.runs.index(p.runs[0]) for p in pieces]
    assert first == sorted(first)
    assert len({p.id for p in pieces}) == 4
    assert study.on("cpu") == study
    assert [len(p.runs) for p in shards(study.on("cuda:1"))] == [4, 4], "a GPU takes all of a shape that fit"


def test_exclude(tmp_path: Path) -> None:
    study = load_study(write(tmp_path, GOOD + "exclude: [{init_gain: 2, batch_size: 30}]\n"))
    assert len(study.runs) == 6
    assert not any(c.init_gain == 2 and c.batch_size == 30 for c in study.runs)


SIZED = """
grid: {depth: [1, 2], width: [3, 4.0]}
exclude: [{depth: 2, width: 4}]
measures: [train_loss]
"""


def test_depth_and_width_are_axes_that_end_in_hidden(tmp_path: Path) -> None:
    """The keys are those of the widths written out, the columns depth and width, also of a run shown alone."""
    study = load_study(write(tmp_path, SIZED))
    assert [run.hidden for run in study.runs] == [(3,), (4,), (3, 3)]
    written = "grid: {hidden: [[3], [4], [3, 3]]}\nmeasures: [train_loss]\n"
    assert study.runs == load_study(write(tmp_path, written, "written.yaml")).runs
    seams = changed_seams(study.runs)
    columns = [hyperparameters(run, seams) for run in study.runs]
    assert [(c["depth"], c["width"]) for c in columns] == [(1, 3), (1, 4), (2, 3)]
    assert differing(study.runs) == ["depth", "width"]
    assert described(study.runs[2], differing(study.runs)) == "depth=2 width=3"
    assert is_whole("depth") and is_whole("width")
    assert Filter(where=["depth=1", "width=4"]).shards(study) == {shards(study)[1].id}


@pytest.mark.parametrize("hidden", ["[[3], [3, 4]]", "[[3, 4]]"])
def test_layers_of_several_widths_have_no_width(hidden: str, tmp_path: Path) -> None:
    study = load_study(write(tmp_path, f"grid: {{hidden: {hidden}}}\nmeasures: [train_loss]\n"))
    assert not {"depth", "width"} & hyperparameters(study.runs[0], changed_seams(study.runs)).keys()
    assert not matches(study.runs[-1], {"width": 3})


def test_the_committed_studies_load() -> None:
    for path in sorted(Path("configs").glob("*.yaml")):
        study = load_study(path)
        assert len({run_key(c) for c in study.runs}) == len(study.runs) > 0


def test_anchors_and_merges(tmp_path: Path) -> None:
    """What stands beside `<<` wins over what is merged in, also where the merged mapping has a merge of its own."""
    text = """
grid: {init_gain: [1, 2], batch_size: [10, 30]}
measures: &all [train_loss]
reparameterize: {layerwise_1: *all}
exclude:
- &first {init_gain: 1, batch_size: 10}
- &second {<<: *first, batch_size: 30}
- {<<: [*second], init_gain: 2}
"""
    study = load_study(write(tmp_path, text))
    assert [(c.init_gain, c.batch_size) for c in study.runs] == [(2, 10)]
    assert study.measures == ("train_loss", "train_loss@layerwise_1")


def test_a_stop_is_one_however_it_is_written(tmp_path: Path) -> None:
    keys = set()
    for stop in ("loss_0.1, epoch_7", "loss_0.10, epoch_07", "loss_1e-1, epoch_7"):
        study = load_study(write(tmp_path, f"fixed: {{stops: [{stop}]}}\nmeasures: [train_loss]\n"))
        assert study.runs[0].stops == ("loss_0.1", "epoch_7")
        keys.add(run_key(study.runs[0]))
    assert len(keys) == 1


MISTAKES = {
    "empty file": ("", ("yaml", "a mapping")),
    "a list": ("- a\n", ("yaml", "list", "a mapping")),
    "broken": ("grid: [1, 2\n", ("yaml", "line", "broken YAML")),
    "tab": ("grid:\n\tlr: [1]\n", ("yaml", "line 2", "a tab; YAML wants spaces")),
    "key twice": ("seeds: 1\nseeds: 2\nmeasures: [train_loss]\n", ("seeds", "given twice")),
    "unknown section": ("gird: {}\nmeasures: [train_loss]\n", ("gird", "unknown section", "grid")),
    "unknown field": ("grid: {learning: [1]}\nmeasures: [train_loss]\n", ("grid.learning", "unknown field")),
    "depth alone": ("grid: {depth: [1]}\nmeasures: [train_loss]\n", ("depth", "1", "width")),
    "no depth": ("grid: {depth: [0], width: [3]}\nmeasures: [train_loss]\n", ("depth", "0", "an integer > 0")),
    "half a width": ("fixed: {depth: 1, width: 2.5}\nmeasures: [train_loss]\n", ("width", "2.5", "an integer > 0")),
    "hidden twice": (
        "fixed: {hidden: [3]}\ngrid: {depth: [1], width: [3]}\nmeasures: [train_loss]\n",
        ("hidden", "depth", "once"),
    ),
    "another's depth": (
        "fixed: {dataset: mnist, model: nin, depth: 2, width: 8}\nmeasures: [train_loss]\n",
        ("depth", "nin", "model.nin.depth, model.nin.width"),
    ),
    "seed in grid": ("grid: {seed: [1]}\nmeasures: [train_loss]\n", ("grid.seed", "seeds")),
    "scalar axis": ("grid: {lr: 0.1}\nmeasures: [train_loss]\n", ("grid.lr", "0.1", "a list")),
    "empty axis": ("grid: {lr: []}\nmeasures: [train_loss]\n", ("grid.lr", "[]", "at least one")),
    "wrong type": ("grid: {lr: [fast]}\nmeasures: [train_loss]\n", ("lr", "'fast'", "a number")),
    "out of range": ("fixed: {lr: -1}\nmeasures: [train_loss]\n", ("lr", "-1", "> 0")),
    "duplicate": ("grid: {lr: [0.1, 1e-1]}\nmeasures: [train_loss]\n", ("duplicate run", "lr")),
    "set twice": ("fixed: {lr: 1}\ngrid: {lr: [1]}\nmeasures: [train_loss]\n", ("lr", "set in two")),
    "ragged zip": ("zip: {lr: [1, 2], momentum: [0]}\nmeasures: [train_loss]\n", ("zip", "one length")),
    "all excluded": ("exclude: [{lr: 0.1}]\nmeasures: [train_loss]\n", ("empty grid",)),
    "idle exclude": ("exclude: [{lr: 0.5}]\nmeasures: [train_loss]\n", ("exclude", "excludes no run")),
    "unknown measure": ("measures: [sharpness]\n", ("measures", "'sharpness'", "relative_flatness")),
    "no measures": ("seeds: 1\n", ("measures", "at least one")),
    "seeds": ("seeds: 0\nmeasures: [train_loss]\n", ("seeds", "0")),
    "a list of a list of seeds": ("seeds: [[1]]\nmeasures: [train_loss]\n", ("seeds: [1]", "0 <= seed")),
    "a seed twice": ("seeds: [1, 1.0]\nmeasures: [train_loss]\n", ("seeds: 1", "given twice")),
    "a stop that is none": ("fixed: {stops: [3]}\nmeasures: [train_loss]\n", ("stops: 3: allowed: loss_", "epoch_")),
    "one stop in two spellings": (
        "fixed: {stops: [loss_0.1, loss_1e-1]}\nmeasures: [train_loss]\n",
        ("stops", "'loss_1e-1'", "each once"),
    ),
    "one stop in two runs": (
        "grid: {stops: [[loss_0.1], [loss_0.10]]}\nmeasures: [train_loss]\n",
        ("duplicate run", "loss_0.10"),
    ),
    "two merges": (
        "exclude: [&a {lr: 1}]\nfixed:\n  <<: *a\n  <<: *a\nmeasures: [train_loss]\n",
        ("<<", "line 4", "given twice"),
    ),
    "a merge of no mapping": ("fixed: {<<: 3}\nmeasures: [train_loss]\n", ("yaml", "expected a mapping")),
    "no such anchor": ("fixed: *base\nmeasures: [train_loss]\n", ("yaml", "line 1", "undefined alias 'base'")),
    "base 60": ("fixed: {max_epochs: 1:30}\nmeasures: [train_loss]\n", ("'1:30'", "base 60 (line 1)", "quotes")),
    "octal": ("fixed: {max_epochs: 010}\nmeasures: [train_loss]\n", ("'010'", "octal", "no 0 in front")),
    "seeds a word": ("seeds: many\nmeasures: [train_loss]\n", ("seeds", "'many'")),
    "shard size": ("shard_size: 0\nmeasures: [train_loss]\n", ("shard_size", "0")),
    "seconds": ("seconds_per_run: soon\nmeasures: [train_loss]\n", ("seconds_per_run", "'soon'")),
    "name": ("name: other\nmeasures: [train_loss]\n", ("name", "'other'", "'s'")),
    "python tag": ("fixed: !!python/object/apply:os.system [ls]\nmeasures: [train_loss]\n", ("yaml", "broken")),
    "model and data": ("fixed: {model: lenet5}\nmeasures: [train_loss]\n", ("model", "'lenet5'", "channels")),
    "list as key": ("? [1]\n: 2\n", ("s.yaml",)),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_one_line(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, words = MISTAKES[name]
    path = write(tmp_path, text)
    with pytest.raises(ConfigError):
        load_study(path)
    assert main(["plan", str(path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {path}: ")
    assert error.count("\n") == 1
    for word in words:
        assert word in error


def test_missing_binary_and_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    binary = tmp_path / "b.yaml"
    binary.write_bytes(b"\xff\xfe\x00\x80")
    for path in (tmp_path / "none.yaml", tmp_path, binary):
        assert main(["plan", str(path)]) == 2
        error = capsys.readouterr().err
        assert str(path) in error
        assert error.count("\n") == 1
