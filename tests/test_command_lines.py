"""What command lines share: `| head` ends them without a word; the launcher works from any folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    "command", ["analysis items", "study plan configs/digits_mlp.yaml", "slurm status configs/digits_mlp.yaml"]
)
def test_a_reader_that_has_left_ends_a_command_quietly(command: str, tmp_path: Path) -> None:
    line = [sys.executable, "-m", *command.split()]
    if "items" not in command:
        line += ["--runs", str(tmp_path)]
    with subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout and process.stderr
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_the_launcher_works_from_any_folder(tmp_path: Path) -> None:
    (tmp_path / "slurm.py").write_text("raise SystemExit('the current folder was imported')\n")
    (tmp_path / "sweep").symlink_to(ROOT / "slurm/sweep")
    line = [str(tmp_path / "sweep"), "status", "configs/digits_mlp.yaml", "--cluster", "local"]
    environment = {**os.environ, "STUDY_RESULTS": str(tmp_path), "STUDY_RUNS": "runs"}
    done = subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 1 and "digits_mlp: 0 of 108 runs trained" in done.stdout, done.stderr
    assert f"results {tmp_path}/digits_mlp, runs {tmp_path}/runs" in done.stdout
