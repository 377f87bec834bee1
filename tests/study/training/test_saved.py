"""The state of a population: one file, two generations of it, written beside training, found again by any grouping."""

import errno
import io
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from study.config import RunConfig, run_key
from study.run import run_shard
from study.storage.atomic import read_tensors
from study.storage.checked import BrokenFile, read_checked
from study.storage.paths import RunPaths
from study.training.saved import load

N_EPOCHS = 6
BASE = RunConfig(hidden=(6,), momentum=0.9, batch_size=100, stops=(f"epoch_{N_EPOCHS}",), max_epochs=N_EPOCHS)
RUNS = [replace(BASE, seed=seed, stops=(f"epoch_{N_EPOCHS - (seed == 1)}",)) for seed in range(4)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four networks trained without an interruption."""
    root = tmp_path_factory.mktemp("whole")
    run_shard(RUNS, [], runs_root=root)
    return root


@pytest.fixture(autouse=True)
def at_every_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("study.run.SAVE_EVERY_SECONDS", 0.0)
    monkeypatch.setattr("study.training.background.Background.busy", False)  # so that each is written, in its turn


def train(runs: Sequence[RunConfig], root: Path, n_epochs: int = 99) -> list[str]:
    """`n_epochs` more; the notes of that."""
    calls, notes = iter([False] * (n_epochs - 1)), []

    def progress(event: dict[str, Any]) -> None:
        notes.extend([event["text"]] if event["kind"] == "note" else [])

    run_shard(runs, [], runs_root=root, should_stop=lambda: next(calls, n_epochs < 99), progress=progress)
    return notes


def ends_like(whole: Path, root: Path, runs: Sequence[RunConfig] = RUNS) -> bool:
    """The same weights and curves, and no state that is left over."""
    for run in runs:
        a, b = (RunPaths(part, run_key(run)) for part in (whole, root))
        weights = [read_tensors(p.stop(run.stops[0]).weights) for p in (a, b)]
        assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
        assert a.epochs.read_bytes() == b.epochs.read_bytes()
    return not [p for p in root.rglob("*") if p.is_file() and (".populations" in p.parts or "population" in p.name)]


def files(root: Path) -> list[Path]:
    return sorted(path for path in root.glob(".populations/*/*/*"))


def test_a_population_is_two_files(whole: Path, tmp_path: Path) -> None:
    train(RUNS, tmp_path, 4)
    assert [path.name for path in files(tmp_path)] == ["00000003.pt", "00000004.pt"]
    (folder,) = {path.parent for path in files(tmp_path)}
    (folder / "00000005.pt.123.part").write_text("half written by a process that was killed")
    train(RUNS, tmp_path, 1)
    assert [path.name for path in files(tmp_path)] == ["00000004.pt", "00000005.pt"]
    train(RUNS, tmp_path)
    assert ends_like(whole, tmp_path)


def test_runs_may_be_regrouped_between_two_calls(whole: Path, tmp_path: Path) -> None:
    a, b, c, d = RUNS
    train([a, b, c], tmp_path, 2)
    train([a], tmp_path, 1)
    train([d, a], tmp_path, 1)
    assert len({path.parent for path in files(tmp_path)}) == 2, "a's own is gone, b and c are still where they were"
    train([b, d], tmp_path, 3)
    found = load([RunPaths(tmp_path, run_key(run)) for run in RUNS], print)
    assert {key: saved.progress["epoch"] for key, saved in found.items()} == {
        run_key(a): 4, run_key(c): 2, run_key(d): 4,
    }, "b has met its stop"  # fmt: skip
    train([c], tmp_path)
    train(RUNS, tmp_path)
    assert ends_like(whole, tmp_path)


@pytest.mark.parametrize("cut", [True, False])
def test_of_a_damaged_file_the_one_before_is_used(cut: bool, whole: Path, tmp_path: Path) -> None:
    train(RUNS, tmp_path, 3)
    _, last = files(tmp_path)
    content = last.read_bytes()
    last.write_bytes(content[:-100] if cut else content[:3000] + bytes([content[3000] ^ 1]) + content[3001:])
    with pytest.raises(BrokenFile):
        read_checked(last)
    first = RunPaths(tmp_path, run_key(RUNS[0]))
    assert load([first], lambda line: None)[first.key].progress["epoch"] == 2
    (note,) = train(RUNS, tmp_path)
    assert note.startswith(f"{last}: is cut short or damaged") and note.endswith("goes on from the file before it")
    assert ends_like(whole, tmp_path)


def test_a_torch_that_reads_from_a_files_first_byte_finds_its_archive(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As torch 2.4's: behind our checksum and words it found none, and no training was resumed."""
    load = torch.load

    def from_the_start(file: Any, **options: Any) -> Any:
        if isinstance(file, Path):
            return load(file, **options)
        file.seek(0)
        return load(io.BytesIO(file.read()), **options)

    monkeypatch.setattr(torch, "load", from_the_start)
    train(RUNS, tmp_path, n_epochs=2)
    assert train(RUNS, tmp_path) == []
    assert ends_like(whole, tmp_path)


def test_where_both_are_damaged_training_begins_anew(whole: Path, tmp_path: Path) -> None:
    train(RUNS, tmp_path, 3)
    for path in files(tmp_path):
        path.write_bytes(path.read_bytes()[:500])
    (note,) = train(RUNS, tmp_path)
    assert "trained from the start: " in note and note.endswith("and 1 more")
    assert ends_like(whole, tmp_path)


def test_an_old_state_that_is_damaged_is_named(whole: Path, tmp_path: Path) -> None:
    path = RunPaths(tmp_path, run_key(RUNS[0])).old_state
    path.parent.mkdir(parents=True)
    path.write_bytes(b"PK\x03\x04")
    assert train(RUNS[:1], tmp_path) == [f"{path}: is cut short or damaged; trained from the start"]
    assert ends_like(whole, tmp_path, RUNS[:1]) and not path.exists()


def test_what_a_kill_after_the_end_left_is_removed(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as killed:
        killed.setattr("study.training.checkpoint.forget", lambda runs: None)
        train(RUNS, tmp_path)
    assert files(tmp_path)
    train(RUNS, tmp_path)
    assert ends_like(whole, tmp_path)


def test_training_does_not_wait_for_the_disk(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first save takes until the third epoch has ended, and no other is begun meanwhile."""
    monkeypatch.undo()
    monkeypatch.setattr("study.run.SAVE_EVERY_SECONDS", 0.0)
    third, seen = threading.Event(), []

    def guard() -> None:
        if threading.current_thread().name == "save" and not seen:
            seen.append(third.wait(10))

    def progress(event: dict[str, Any]) -> None:
        if event["kind"] == "epoch" and event["epoch"] == 3:
            third.set()

    run_shard(RUNS[:1], [], runs_root=tmp_path, guard=guard, progress=progress)
    assert seen == [True]
    assert ends_like(whole, tmp_path, RUNS[:1])


def test_an_error_while_saving_ends_the_training(tmp_path: Path) -> None:
    def full() -> None:
        if threading.current_thread().name == "save":
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        run_shard(RUNS, [], runs_root=tmp_path, guard=full)
    assert not files(tmp_path)
