"""`study run --minutes`: a study goes on in pieces, each of them in time, to the same bytes."""

import itertools
from pathlib import Path
from types import SimpleNamespace

import pytest

from study.__main__ import main
from study.config import run_key
from study.grid import load_study
from study.storage import lease

TINY = """
fixed: {hidden: [6], batch_size: 100, max_epochs: 5, stops: [epoch_5, epoch_2]}
grid: {lr: [0.03, 0.1]}
measures: [train_loss, weight_norm_squared]
"""


def ticking(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that moves by a second whenever the display looks at it."""
    monkeypatch.setattr("study.display.time", SimpleNamespace(monotonic=itertools.count(1.0).__next__))


def command(folder: Path, *more: str) -> list[str]:
    (folder / "tiny.yaml").write_text(TINY)
    places = ["--runs", str(folder / "runs"), "--results", str(folder / "results"), "--wandb", "off"]
    return ["run", str(folder / "tiny.yaml"), *places, *more]


def test_a_study_goes_on_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("whole", "pieces"):
        (tmp_path / name).mkdir()
    assert main(command(tmp_path / "whole")) == 0
    ticking(monkeypatch)
    said = []
    for _ in range(9):
        capsys.readouterr()
        assert main(command(tmp_path / "pieces", "--minutes", "0.15")) == 0
        said.append(capsys.readouterr().out.splitlines()[-1])
        if "minutes" not in said[-1]:
            break
    assert len(said) > 2
    assert said[0] == ("0.15 minutes are over: all is saved, 2 of 2 runs are left; the same command goes on from here")
    records = [tmp_path / name / "results/tiny/records.csv" for name in ("whole", "pieces")]
    assert records[0].read_bytes() == records[1].read_bytes()


def test_who_waits_for_others_until_the_time_is_over_ends_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = command(tmp_path, "--minutes", "0.05")
    keys = [run_key(config) for config in load_study(tmp_path / "tiny.yaml").runs]
    with lease.acquire(tmp_path / "runs", keys, "somebody else"):
        ticking(monkeypatch)
        monkeypatch.setattr("study.storage.lease.time.sleep", lambda seconds: None)
        assert main(arguments) == 0
    assert "2 of 2 runs are left" in capsys.readouterr().out


@pytest.mark.parametrize("minutes", ["0", "-1", "nan"])
def test_no_time_is_one_line(minutes: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(tmp_path, "--minutes", minutes)) == 2
    assert capsys.readouterr().err == f"error: --minutes: {float(minutes)!r}: allowed: a number > 0\n"
