"""Fixtures of the launcher's tests: a study of a second, and a scheduler that only notes what it is told."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from slurm import scheduler
from slurm.job.shard import ShardJob
from study.grid import load_study, shards

TINY = """\
title: Six shards of a second
fixed: {dataset: digits, n_train: 60, hidden: [8], momentum: 0.9, stops: [epoch_3], max_epochs: 3}
grid: {lr: [0.01, 0.1], batch_size: [10, 30, 60]}
seeds: 2
measures: [weight_norm_squared, train_loss]
shard_size: 2
"""


@pytest.fixture(autouse=True, scope="package")
def _own_memory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Where studies were sent is remembered here, not in the checkout; not beyond these tests."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("STUDY_RESULTS", str(tmp_path_factory.mktemp("results")))
        yield


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A study's yaml, with runs and results of its own."""
    monkeypatch.setenv("STUDY_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("STUDY_RESULTS", str(tmp_path / "results"))
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return path


@pytest.fixture
def job(tiny: Path, tmp_path: Path) -> ShardJob:
    """The first shard of `tiny` as a job, to be called in this process."""
    study = load_study(tiny)
    shard = shards(study)[0]
    return ShardJob(
        "tiny", shard.id, shard.runs, study.measures, str(tmp_path / "runs"), str(tmp_path / "results"), "cpu"
    )


@pytest.fixture
def fake_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of scheduler commands that note how they were called; `<command>.out` there is what they print."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sbatch", "srun", "squeue", "sacct", "scancel", "scontrol"):
        script = folder / name
        script.write_text(
            f'#!/bin/sh\necho "$@" >> {folder}/{name}.calls\n'
            f'[ "{name}" = sbatch ] && cat "$1" >> {folder}/sbatch.script\n'
            f"if [ -s {folder}/{name}.fail ]; then head -1 {folder}/{name}.fail >&2; "
            f"sed -i 1d {folder}/{name}.fail; exit 1; fi\n"
            f"[ -e {folder}/{name}.out ] && cat {folder}/{name}.out\nexit 0\n"
        )
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
    (folder / "sbatch.out").write_text("Submitted batch job 7\n")
    (folder / "scontrol.out").write_text("MaxArraySize            = 1001\n")
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    scheduler.max_array_size.cache_clear()
    return folder


@pytest.fixture(autouse=True)
def _testbed(request: pytest.FixtureRequest) -> None:
    """Tests marked `slurm` need the testbed: skipped, saying so, where its environment is not set."""
    if request.node.get_closest_marker("slurm"):
        if "SLURM_CONF" not in os.environ:
            pytest.skip("the testbed's environment is not set: slurm/testbed/up && . slurm/testbed/env")
        scheduler.run("scontrol", "ping")
