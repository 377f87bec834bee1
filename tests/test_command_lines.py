"""What command lines share: `| head` ends them quietly, any encoding will do, the launcher works from any folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from analysis.__main__ import main as analyse

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


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_an_encoding_without_greek_letters_gets_their_names(encoding: str) -> None:
    command = [sys.executable, "-c", "from study.display import to_the_end; to_the_end(lambda: print('τ_b −1 × ☃'))"]
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    out = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=True).stdout.decode(encoding)
    assert out == f"tau_b -1 {'x' if encoding == 'ascii' else '×'} ?\n"


def test_a_results_folder_that_cannot_be_used_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "results").write_text("a file")
    ledger = tmp_path / "mine.csv"
    ledger.write_text("hp.lr,gen.gap,complexity.m\n0.1,0.5,1\n0.2,0.6,2\n")
    assert analyse(["figure", str(ledger), "forest", "--results", str(tmp_path / "results")]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {tmp_path / 'results'}") and error.count("\n") == 1
    assert "allowed is a folder" in error


def test_the_launcher_works_from_any_folder(tmp_path: Path) -> None:
    (tmp_path / "slurm.py").write_text("raise SystemExit('the current folder was imported')\n")
    (tmp_path / "sweep").symlink_to(ROOT / "slurm/sweep")
    line = [str(tmp_path / "sweep"), "status", "configs/digits_mlp.yaml", "--cluster", "local"]
    environment = {**os.environ, "STUDY_RESULTS": str(tmp_path), "STUDY_RUNS": "runs"}
    done = subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 1 and "digits_mlp: 0 of 108 runs trained" in done.stdout, done.stderr
    assert f"results {tmp_path}/digits_mlp, runs {tmp_path}/runs" in done.stdout
