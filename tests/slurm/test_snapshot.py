"""Jobs run a copy of the submitted commit; code that no record could name is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TAKE = """
import sys
from slurm import snapshot
try:
    code = snapshot.take(sys.argv[1], allow_dirty=sys.argv[2] == "yes")
    print(code.commit, code.folder)
except snapshot.DirtyTree as error:
    print("refused:", error)
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A clean clone, so that nothing here depends on the state of this checkout."""
    folder = tmp_path / "checkout"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(folder)], check=True)
    return folder


def take(checkout: Path, allow_dirty: str = "no") -> str:
    command = [sys.executable, "-c", TAKE, str(checkout.parent / "results"), allow_dirty]
    return subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=True).stdout.strip()


def test_a_clean_tree_is_copied_once_and_later_edits_do_not_reach_the_copy(checkout: Path) -> None:
    commit, folder = take(checkout).split()
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=checkout, capture_output=True, text=True).stdout
    assert head.startswith(commit) and len(commit) == 12
    assert Path(folder) == checkout.parent / "results/.code" / commit
    copied = {p.name for p in Path(folder).iterdir()}
    assert copied == {"study", "slurm"}, "a job needs these two and nothing else"
    original = (checkout / "study/run.py").read_text()
    for document in ("README.md", "study/measures/README.md"):
        (checkout / document).write_text("edited: no number depends on it\n")
    assert take(checkout).split() == [commit, folder]
    (checkout / "study/run.py").write_text("raise SystemExit\n")
    assert (Path(folder) / "study/run.py").read_text() == original
    assert not list((checkout.parent / "results/.code").glob(".part-*"))


def test_an_edited_file_is_named_and_refused_unless_allowed(checkout: Path) -> None:
    with (checkout / "study/data/dataset.py").open("a") as file:
        file.write("# edited\n")
    line = take(checkout)
    assert line.startswith("refused: ") and "study/data/dataset.py" in line and "--allow-dirty" in line
    commit, folder = take(checkout, "yes").split()
    assert commit.endswith("-dirty")
    assert (Path(folder) / "study/data/dataset.py").read_text().endswith("# edited\n")
    assert take(checkout, "yes").split()[1] != folder, "two dirty trees never share a copy"


def test_a_new_module_is_named_and_a_new_cluster_file_is_none_of_its_business(checkout: Path) -> None:
    (checkout / "slurm/clusters/mine.yaml").write_text("kind: slurm\n")
    commit, folder = take(checkout).split()
    assert not commit.endswith("-dirty") and Path(folder).name == commit
    (checkout / "study/measures/mine.py").write_text("")
    line = take(checkout)
    assert line.startswith("refused: ") and "differs from its commit in study/measures/mine.py;" in line


def test_a_look_at_the_checkout_leaves_the_index_to_a_commit_made_meanwhile(checkout: Path) -> None:
    for name in ("study/data/dataset.py", "study/run.py"):
        os.utime(checkout / name, (0, 0))  # which git would note in the index, and lock it for that
    (checkout / "study/data/dataset.py").write_text("edited\n")
    index = (checkout / ".git/index").read_bytes()
    assert take(checkout).startswith("refused: ")
    assert (checkout / ".git/index").read_bytes() == index


def test_code_that_is_no_checkout_is_refused_unless_allowed(checkout: Path) -> None:
    subprocess.run(["rm", "-rf", str(checkout / ".git")], check=True)
    assert "is no git checkout" in take(checkout)
    assert take(checkout, "yes").startswith("unknown ")


def test_the_copy_is_what_a_job_imports_from_anywhere(checkout: Path, tmp_path: Path) -> None:
    _, folder = take(checkout).split()
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "study").mkdir(parents=True)
    (elsewhere / "study/__init__.py").write_text("raise SystemExit('the current folder was imported')\n")
    where = subprocess.run(
        [sys.executable, "-c", "import study, slurm.job.shard; print(study.__file__)"], cwd=elsewhere,
        capture_output=True, text=True, check=True, env={"PYTHONSAFEPATH": "1", "PYTHONPATH": folder},
    ).stdout  # fmt: skip
    assert where.startswith(folder)
