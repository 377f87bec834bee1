"""The digits study under a seeded storm of faults ends with the very bytes of an undisturbed inline run."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.slurm.bed import ROOT, Bed, sh, undisturbed_meanwhile
from tests.slurm.chaos import Chaos, markdown
from tests.slurm.faults import UP
from tests.slurm.gate import Gate

pytestmark = pytest.mark.slurm
STUDY = ROOT / "configs/digits_mlp.yaml"
DAY = 86400  # s


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
    """The laptop study's networks, few of them and without its slow measures: the storm is about the jobs.

    Three shards, one a batch size, each with networks that are done within some epochs, whose outcomes then lie there
    while its job is hit, and with networks that train to the last epoch, which the gate keeps from passing.
    """
    content = yaml.safe_load(STUDY.read_text())
    content["fixed"] |= {"stops": ["loss_0.1", *content["fixed"]["stops"]], "max_epochs": 600}
    content["grid"] = {"lr": [0.0001, 0.01, 0.1], "batch_size": content["grid"]["batch_size"]}
    content["seeds"], content["shard_size"] = 2, 6
    content["measures"] = [m for m in content["measures"] if m not in ("lambda_max", "pac_bayes_flatness")]
    content["reparameterize"] = {"layerwise_1": ["relative_flatness", "hessian_trace"]}
    path = folder / STUDY.name
    path.write_text(yaml.safe_dump(content))
    return path


def test_chaos(disks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDY_COMMIT", "0123456789ab-dirty")  # in every record: a commit made meanwhile changes nothing
    study = _lighter(tmp_path)
    with undisturbed_meanwhile(study, tmp_path / "calm") as expected:
        monkeypatch.setenv("WANDB_SERVICE", "3-999999-tcp-localhost-1")  # stale, and inherited by every job
        gate = Gate(tmp_path / "gate")
        cluster = {"array_parallelism": 3, "python": gate.python(skew_seconds=DAY)}  # one node more than jobs
        bed = Bed(study, disks, cluster, wandb="offline")
        chaos = Chaos(bed, gate, seed=int(os.environ.get("CHAOS_SEED", "1")))
        try:
            chaos.run()
        finally:
            bed.call("cancel", ok=(0, 1, 2))  # nothing is left of a storm that failed
            sh(UP)  # takes nodes back that the controller gave up
            text = markdown(chaos.table)
            Path(os.environ.get("CHAOS_TABLE", tmp_path / "table.md")).write_text(text)
            print(text)
        assert len(chaos.table) == 12
        assert bed.records() == expected()
