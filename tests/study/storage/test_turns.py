"""Two commands that write one file at once: what either took is in it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from study.again import taking
from study.audit import write as audit
from study.config import run_key
from study.grid import Study, load_study
from study.storage.rows import Row, read_table

YAML = """
fixed: {hidden: [4, 3], n_train: 60, batch_size: 30, max_epochs: 1, stops: [epoch_1]}
grid: {lr: [0.05, 0.1]}
measures: [train_loss]
"""


@pytest.fixture
def study(tmp_path: Path) -> Study:
    (tmp_path / "s.yaml").write_text(YAML)
    return load_study(tmp_path / "s.yaml")


@dataclass
class Slow:
    """Something that is taken of a network; of the first one it takes until the second command has had its chance."""

    first: str
    began: threading.Event
    go: threading.Event

    def __call__(self, key: str) -> Row:
        if key == self.first:
            self.began.set()
            assert self.go.wait(60)
        return {"key": key, "stop": "epoch_1", "measure": "train_loss", "value": "1.0"}


def at_once(study: Study, slow: Slow, command: Callable[[int], Any]) -> None:
    """The command for the first network, and while it is under way that for the second."""
    threads = [threading.Thread(target=command, args=(i,)) for i in range(2)]
    threads[0].start()
    assert slow.began.wait(60)
    threads[1].start()
    threads[1].join(2)  # as long as it has, if it does not wait
    slow.go.set()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)


def slow_for(study: Study) -> Slow:
    return Slow(run_key(study.runs[0]), threading.Event(), threading.Event())


def test_two_repeats_lose_nothing(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    slow, path = slow_for(study), tmp_path / "results/s/repeats.csv"
    monkeypatch.setattr(taking, "context_at", lambda *_: None)
    monkeypatch.setattr(taking, "training_data", lambda config: SimpleNamespace(decoded=lambda: None))

    def twice(paths: Any, stop: str, whole: Any, labels: tuple[str, ...]) -> Iterator[Row]:
        yield slow(paths.key)

    plan = taking.Plan(study, study.runs, 2, ("epoch_1",), study.measures, "measures", twice)
    each = [replace(plan, networks=(config,)) for config in study.runs]
    at_once(study, slow, lambda i: taking.write(each[i], tmp_path / "runs", path, lambda done: None))
    assert [row["key"] for row in read_table(path)] == list(map(run_key, study.runs))
    assert capsys.readouterr().err.count(f"waiting: {path} is held by ") == 1


def test_two_audits_lose_nothing(study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = slow_for(study)
    monkeypatch.setattr(audit, "_taken", lambda plan, config, *_: [slow(run_key(config))])
    plan = audit.Plan(study, study.runs, 2, study.measures, 60, None)
    each = [replace(plan, networks=(config,)) for config in study.runs]
    at_once(study, slow, lambda i: audit.write(each[i], tmp_path / "runs", tmp_path / "results"))
    rows = read_table(tmp_path / "results/s/audit.csv")
    assert [row["key"] for row in rows] == list(map(run_key, study.runs))
