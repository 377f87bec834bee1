"""Columns of rows that do not have the same ones, a JSON file's order, files of tensors that are broken."""

from pathlib import Path
from typing import Any

import pytest

from study.storage.atomic import read_json, read_tensors, write_json
from study.storage.rows import merged, read_table, write_rows


def test_a_new_name_stands_behind_the_one_that_it_follows() -> None:
    assert merged([["conv1", "fc"], ["conv1", "conv2", "fc"]]) == ["conv1", "conv2", "fc"]
    assert merged([["fc"], ["conv1", "fc", "a"], ["b", "fc"]]) == ["b", "conv1", "fc", "a"]
    assert merged([["a", "b"], ["b", "a"]]) == ["a", "b"] and merged([]) == []


def test_layers_of_a_deeper_network_stand_before_the_last(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    rows = [{"key": "0", "m.conv1": "1", "m.conv_out": "2", "prov.x": "y"},
            {"key": "1", "m.conv1": "1", "m.conv2": "3", "m.conv_out": "2", "prov.x": "y"}]  # fmt: skip
    write_rows(path, rows)
    assert list(read_table(path)[0]) == ["key", "m.conv1", "m.conv2", "m.conv_out", "prov.x"]
    assert [{k: v for k, v in row.items() if v} for row in read_table(path)] == rows


@pytest.mark.parametrize("content", [b"", b".", b"half", b"PK"])
def test_a_file_of_tensors_that_is_not_whole_is_one_line(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"weights\.pt: cannot be read \(.*\); allowed: a whole file of tensors"):
        read_tensors(path)


def test_what_the_machine_lacks_is_no_fault_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*given: Any, **options: Any) -> None:
        raise RuntimeError("CUDA error: out of memory")

    monkeypatch.setattr("torch.load", load)
    with pytest.raises(RuntimeError, match="CUDA error"):
        read_tensors(tmp_path / "weights.pt")


def test_json_keeps_the_order_that_it_is_given(tmp_path: Path) -> None:
    layers = {"stem": 1.0, "fc": 2.0, "aux": 3.0}
    write_json(tmp_path / "v.json", {"layers": layers})
    assert list(read_json(tmp_path / "v.json")["layers"]) == list(layers)
