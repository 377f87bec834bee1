"""What all command lines share: `| head` ends them without a word."""

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
