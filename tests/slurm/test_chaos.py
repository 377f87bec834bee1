"""The digits study under a seeded storm of faults ends with the very bytes of an undisturbed inline run."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.slurm.bed import ROOT, Bed, epochs_lasting, sh, undisturbed_meanwhile
from tests.slurm.chaos import Chaos, markdown

pytestmark = pytest.mark.slurm
STUDY = ROOT / "configs/digits_mlp.yaml"

# Every other job has a clock that is a day ahead, the rest one that is a day behind.
SKEWED = """\
#!/bin/sh
exec {python} -c '
import os, runpy, sys, time
true_time, skew = time.time, 86400 * (1 - 2 * (int(os.environ.get("SLURM_ARRAY_TASK_ID", "0")) % 2))
time.time = lambda: true_time() + skew
sys.argv = sys.argv[3:]
runpy.run_module("submitit.core._submit", run_name="__main__", alter_sys=True)
' "$@"
"""


@pytest.fixture
def disks(tmp_path: Path) -> Iterator[Path]:
    """Two small disks, for results and for runs, that can be filled and made read-only."""
    out = tmp_path / "out"
    mounted = []
    try:
        for folder, size in ((out, "512m"), (out / "runs", "160m")):
            folder.mkdir()
            sh("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder))
            mounted.append(folder)
        yield out
    finally:
        for folder in reversed(mounted):
            subprocess.run(["umount", "-l", str(folder)], check=True)


def _lighter(folder: Path) -> Path:
    """The laptop study's networks without its slow measures: the storm is about the jobs.

    They train on after their stop, so long that on a fast machine, too, the last fault meets a job that trains.
    """
    content = yaml.safe_load(STUDY.read_text())
    content["fixed"] |= {"stops": [*content["fixed"]["stops"], "epoch_EPOCHS"], "max_epochs": "EPOCHS"}
    content["measures"] = [m for m in content["measures"] if m not in ("lambda_max", "pac_bayes_flatness")]
    content["reparameterize"] = {"layerwise_1": ["relative_flatness", "hessian_trace"]}
    path, text = folder / STUDY.name, yaml.safe_dump(content)
    seconds = 2 * 250  # two jobs at a time, beside an undisturbed run; the faults take some five minutes
    path.write_text(text.replace("EPOCHS", str(epochs_lasting(seconds, text, folder / "pace"))))
    return path


def test_chaos(disks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDY_COMMIT", "0123456789ab-dirty")  # in every record: a commit made meanwhile changes nothing
    study = _lighter(tmp_path)
    with undisturbed_meanwhile(study, tmp_path / "calm") as expected:
        monkeypatch.setenv("WANDB_SERVICE", "3-999999-tcp-localhost-1")  # stale, and inherited by every job
        python = tmp_path / "python"
        python.write_text(SKEWED.format(python=sys.executable))
        python.chmod(python.stat().st_mode | stat.S_IXUSR)
        cluster = {"array_parallelism": 1, "python": str(python)}
        chaos = Chaos(Bed(study, disks, cluster, wandb="offline"), seed=int(os.environ.get("CHAOS_SEED", "1")))
        try:
            chaos.run()
        finally:
            chaos.bed.call("cancel", ok=(0, 1, 2))  # nothing is left of a storm that failed
            sh(str(ROOT / "slurm/testbed/up"))  # takes nodes back that the controller gave up
            text = markdown(chaos.table)
            Path(os.environ.get("CHAOS_TABLE", tmp_path / "table.md")).write_text(text)
            print(text)
        assert len(chaos.table) == 12
        assert chaos.bed.records() == expected()
