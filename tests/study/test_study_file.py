"""A study's yaml with what it extends: sections as they should be merged, and every mistake one line."""

from pathlib import Path

import pytest

from slurm.launch import digest
from study.__main__ import main
from study.config import ConfigError
from study.grid import load_study
from study.study_file import SECTIONS, StudyFileError, read_study_file

BASE = """
title: The base
fixed: {momentum: 0.9, lr: 0.1, max_epochs: 7, stops: [epoch_7]}
grid: {init_gain: [1, 2], batch_size: [10, 30]}
seeds: 2
measures: [hessian_trace, train_loss]
reparameterize: {layerwise_1: [hessian_trace], factor_20: [train_loss]}
shard_size: 3
"""


def write(folder: Path, **files: str) -> Path:
    """Files by their stems; the path of the last."""
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)
    return folder / f"{name}.yaml"


def test_a_file_that_says_nothing_more_is_its_base_but_for_name_and_title(tmp_path: Path) -> None:
    base = load_study(write(tmp_path, base=BASE))
    child = load_study(write(tmp_path, child="extends: base\n"))
    assert (child.name, child.title) == ("child", "child")
    assert (child.runs, child.measures, child.shard_size) == (base.runs, base.measures, base.shard_size)


def test_mappings_are_merged_entry_by_entry_and_all_else_replaced(tmp_path: Path) -> None:
    text = """
extends: base
title: A child
fixed: {momentum: 0.5}
grid: {init_gain: [3]}
zip: {label_noise: [0, 0.1]}
seeds: [5]
measures: [train_loss]
reparameterize: {layerwise_1: null, factor_20: null, neuronwise_1: [train_loss]}
"""
    found = read_study_file(write(tmp_path, base=BASE, child=text))
    assert found["title"] == "A child"
    assert found["fixed"] == {"momentum": 0.5, "lr": 0.1, "max_epochs": 7, "stops": ["epoch_7"]}
    assert list(found["grid"].items()) == [("init_gain", [3]), ("batch_size", [10, 30])]
    assert found["zip"] == {"label_noise": [0, 0.1]}
    assert (found["seeds"], found["measures"], found["shard_size"]) == ([5], ["train_loss"], 3)
    assert found["reparameterize"] == {"neuronwise_1": ["train_loss"]}


def test_a_list_takes_the_place_of_a_mapping_and_the_other_way_round(tmp_path: Path) -> None:
    path = write(tmp_path, base=BASE, child="extends: base\nreparameterize: [layerwise_2]\n")
    assert read_study_file(path)["reparameterize"] == ["layerwise_2"]
    path = write(tmp_path, grandchild="extends: child\nreparameterize: {layerwise_3: [train_loss]}\n")
    assert read_study_file(path)["reparameterize"] == {"layerwise_3": ["train_loss"]}


def test_a_field_given_anew_leaves_the_sections_it_was_in(tmp_path: Path) -> None:
    path = write(tmp_path, base=BASE, child="extends: base\nfixed: {init_gain: 1}\ngrid: {lr: [0.1, 0.2]}\n")
    found = read_study_file(path)
    assert found["fixed"] == {"momentum": 0.9, "max_epochs": 7, "stops": ["epoch_7"], "init_gain": 1}
    assert found["grid"] == {"batch_size": [10, 30], "lr": [0.1, 0.2]}
    assert len(load_study(path).runs) == 8


def test_null_removes(tmp_path: Path) -> None:
    found = read_study_file(
        write(tmp_path, base=BASE, child="extends: base\nfixed: {momentum: null, init_gain: null}\nshard_size: null\n")
    )
    assert found["fixed"] == {"lr": 0.1, "max_epochs": 7, "stops": ["epoch_7"]}
    assert found["grid"] == {"batch_size": [10, 30]}
    assert found["shard_size"] == SECTIONS["shard_size"].default


def test_a_chain(tmp_path: Path) -> None:
    last = write(tmp_path, a=BASE, b="extends: a\nfixed: {lr: 0.3}\n", c="extends: b\nfixed: {momentum: 0.0}\n")
    found = read_study_file(last)
    assert found["fixed"] == {"momentum": 0.0, "lr": 0.3, "max_epochs": 7, "stops": ["epoch_7"]}


def test_defaults_of_sections_are_those_of_a_study(tmp_path: Path) -> None:
    """A file with measures alone: what the table of sections promises is what is run."""
    found = read_study_file(write(tmp_path, some_name="measures: [train_loss]\n"))
    assert found == {k: s.default for k, s in SECTIONS.items() if k != "extends"} | {
        "name": "some_name",
        "title": "some name",
        "measures": ["train_loss"],
    }
    study = load_study(tmp_path / "some_name.yaml")
    assert [run.seed for run in study.runs] == [0]


def test_the_digest_is_of_all_that_is_extended(tmp_path: Path) -> None:
    """What the launcher kept of a study counts no more when the file that it extends has changed."""
    child = write(tmp_path, base=BASE, child="extends: base\n")
    before = digest(child)
    write(tmp_path, base="# a remark\n" + BASE)
    assert digest(child) == before
    write(tmp_path, base=BASE.replace("seeds: 2", "seeds: 3"))
    assert digest(child) != before


def test_the_digest_is_of_the_code_of_ones_own_measures(tmp_path: Path) -> None:
    study, code = write(tmp_path, s="measures: [train_loss, mine.py:mine]\n"), tmp_path / "mine.py"
    code.write_text("def mine(ctx):\n    return 1.0\n")
    before = digest(study)
    assert digest(study) == before
    code.write_text("def mine(ctx):\n    return 2.0\n")
    assert digest(study) != before
    code.unlink()
    with pytest.raises(StudyFileError, match=r"s\.yaml: measures: .*mine\.py cannot be read"):
        digest(study)


OK = "measures: [train_loss]\n"
MISTAKES = {
    "no such file": (
        {"other": OK, "s": "extends: nope\n"},
        "s.yaml: extends: 'nope': is no yaml of this folder, allowed: other",
    ),
    "alone": ({"s": "extends: nope\n"}, "s.yaml: extends: 'nope': is no yaml of this folder, allowed: none is here"),
    "itself": ({"s": "extends: s\n"}, "s.yaml: extends: 's': is a circle (s > s), allowed: a chain that ends"),
    "circle": (
        {"a": "extends: b\n", "b": "extends: s\n", "s": "extends: a\n"},
        "b.yaml: extends: 's': is a circle (s > a > b > s), allowed: a chain that ends",
    ),
    "a path": ({"a": OK, "s": "extends: ../a\n"}, "s.yaml: extends: '../a': is no yaml of this folder, allowed: a"),
    "a list": ({"a": OK, "s": "extends: [a]\n"}, "s.yaml: extends: ['a']: is a list, allowed: a name"),
    "nothing": ({"a": OK, "s": "extends:\n"}, "s.yaml: extends: None: is nothing, allowed: a name"),
    "broken base": ({"a": "grid: [1\n", "s": "extends: a\n"}, "a.yaml: yaml: 'line 2, column 1': broken YAML"),
    "unknown section in base": ({"a": "gird: 1\n", "s": "extends: a\n"}, "a.yaml: gird: 1: unknown section"),
    "a type": ({"s": OK + "seeds: [0]\ngrid: [1]\n"}, "s.yaml: grid: [1]: is a list, allowed: field: [values]"),
    "true": ({"s": OK + "seeds: yes\n"}, "s.yaml: seeds: True: is a bool, allowed: a number or a list"),
    "seed": ({"s": OK + "fixed: {seed: 7}\n"}, "s.yaml: fixed.seed: 7: use `seeds`"),
    "seeds": ({"s": OK + f"seeds: {10**22}\n"}, f"s.yaml: seeds: {10**22}: allowed: how many, 1 to 1000000"),
    "shift": ({"s": OK + "shifts: [[blur]]\n"}, "s.yaml: shifts: ['blur']: allowed, each once: "),
    "null alone": ({"s": OK + "grid:\n"}, "s.yaml: grid: None: is nothing, allowed: field: [values]"),
    "idle null": (
        {"a": OK, "s": "extends: a\ngrid: null\n"},
        "s.yaml: grid: None: removes nothing, allowed: a section that a.yaml has",
    ),
    "idle null in fixed": (
        {"a": OK + "fixed: {lr: 1}\n", "s": "extends: a\nfixed: {momentum: null}\n"},
        "s.yaml: fixed.momentum: None: removes nothing, allowed: an entry that a.yaml has",
    ),
    "one width": ({"s": OK + "fixed: {hidden: 4}\n"}, "s.yaml: hidden: 4: is an int, allowed: a list"),
    "empty file": ({"s": ""}, "s.yaml: file: 's.yaml': is empty, allowed: a mapping with name, title"),
    "list file": ({"s": "- a\n"}, "s.yaml: file: 's.yaml': is no mapping but a list, allowed: a mapping with"),
    "inherited value": ({"a": OK + "fixed: {lr: fast}\n", "s": "extends: a\n"}, "s.yaml: lr: 'fast': is a str"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_one_line(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files, said = MISTAKES[name]
    path = write(tmp_path, **files)
    with pytest.raises(ConfigError):
        load_study(path)
    assert main(["plan", str(path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {tmp_path}/{said}"), error
    assert error.count("\n") == 1


def test_a_name_has_no_dot_since_files_of_records_have_one(tmp_path: Path) -> None:
    write(tmp_path, base=BASE)
    (tmp_path / "base.yaml").rename(tmp_path / "base.timings.yaml")
    with pytest.raises(ConfigError, match=r"name: 'base\.timings': allowed in a study's name: letters, digits, _ -"):
        load_study(tmp_path / "base.timings.yaml")


def test_headers_say_table_runs_cost_and_what_to_expect() -> None:
    for path in sorted(Path("configs").glob("*.yaml")):
        header = [line for line in path.read_text().splitlines() if line.startswith("#")]
        for word in ("Table:", "Runs:", "Cost:", "Expect:"):
            assert any(line.startswith(f"# {word}") for line in header), f"{path}: the header lacks {word}"


def test_the_example_that_people_copy_extends_nothing() -> None:
    assert not any(line.startswith("extends") for line in Path("configs/digits_mlp.yaml").read_text().splitlines())


def test_the_yamls_that_there_are_stand_beside_one_that_is_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, base=BASE, child="extends: base")
    assert main(["plan", str(tmp_path / "bse.yaml")]) == 2
    error = capsys.readouterr().err
    assert error.endswith(f"allowed: {tmp_path}/base.yaml, {tmp_path}/child.yaml\n") and error.count("\n") == 1
    assert main(["plan", "digits_mlp"]) == 2
    assert "configs/digits_mlp.yaml, " in capsys.readouterr().err
