"""The keys of the four studies: committed beside this test, found by grid.py, carried by the published records."""

import csv
from pathlib import Path

import pytest

from study.config import run_key
from study.grid import load_study

STUDIES = ("digits_mlp", "lenet5_cifar10", "lenet5_fashion", "mnist_mlp_layers")


@pytest.mark.parametrize("name", STUDIES)
def test_no_key_has_moved(name: str) -> None:
    """These keys name folders and rows that exist. A change here orphans them: mend the code, not the file."""
    pinned = Path(f"tests/study/keys/{name}.txt").read_text().split()
    assert sorted(run_key(config) for config in load_study(f"configs/{name}.yaml").runs) == pinned
    with Path(f"analysis/records/{name}.csv").open(newline="") as file:
        assert sorted({row["key"] for row in csv.DictReader(file)}) == pinned
