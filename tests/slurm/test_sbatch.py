"""The sbatch file, word for word, and how many there are. `UPDATE_GOLDEN=1 pytest` writes the files anew."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

from slurm import scheduler, submit
from slurm.cluster import CLUSTERS, Cluster, slurm_parameters
from slurm.journal import Journal, Marker
from slurm.request import Options

GOLDEN = Path(__file__).parent / "golden"


def written(fake_slurm: Path, tmp_path: Path) -> str:
    text = (fake_slurm / "sbatch.script").read_text().replace(str(tmp_path), "/TMP").replace(sys.executable, "/PYTHON")
    text = re.sub(r"\b0001-[0-9a-f]{6}\b", "0001-ID", text)
    text = re.sub(r"(\.code/)[0-9a-f]{12}(-dirty-\w+)?", r"\1COMMIT", text)
    return re.sub(r"(STUDY_COMMIT=)\S+", r"\1COMMIT", text)


def here(cluster: str, tmp_path: Path) -> str:
    """A cluster's yaml whose file systems are folders of the test."""
    text = (CLUSTERS / f"{cluster}.yaml").read_text().replace(" /shared", f" {tmp_path}/shared")
    for folder in re.findall(r"(\S+/shared/\S+)", text):
        Path(folder).parent.mkdir(parents=True, exist_ok=True)
        (Path(folder).mkdir if folder.endswith("datasets") else Path(folder).touch)()
        Path(folder).chmod(0o755)
    file = tmp_path / f"{cluster}.yaml"
    file.write_text(text.replace("/scratch", f"{tmp_path}/scratch"))
    return str(file)


@pytest.mark.parametrize("cluster", ["site", "testbed"])
def test_sbatch_file_is_the_golden_one(
    cluster: str, tiny: Path, fake_slurm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("STUDY_DATA", "/data")
    runs, results = tmp_path / "runs", tmp_path / "results"
    file = here(cluster, tmp_path)
    assert submit.submit(Options(tiny, file, runs, results, allow_dirty=True, dry_run=True)) == 0
    shown = capsys.readouterr().out
    assert submit.submit(Options(tiny, file, runs, results, allow_dirty=True)) == 0
    sent = re.search(r"#!.*", (fake_slurm / "sbatch.script").read_text(), re.DOTALL)
    unnamed = [re.sub(r"0001-[0-9a-f]{6}|\.code/\S+", "", text) for text in (shown, sent[0] if sent else "no script")]
    assert unnamed[1].strip() in unnamed[0], "the dry run shows it"
    text = written(fake_slurm, tmp_path)
    golden = GOLDEN / f"{cluster}.sh"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(text)
    assert text == golden.read_text()


def test_one_sbatch_an_array_and_each_shard_once(
    tiny: Path, fake_slurm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (fake_slurm / "scontrol.out").write_text("MaxArraySize            = 4\n")
    assert submit.submit(Options(tiny, "testbed", allow_dirty=True)) == 0
    assert len((fake_slurm / "sbatch.calls").read_text().splitlines()) == 2  # 6 shards: 4 and 2
    assert re.findall(r"--array=(\S+)", (fake_slurm / "sbatch.script").read_text()) == ["0-3%2", "0-1%2"], (
        "4 at once in all"
    )
    sent = [shard for s in Journal("tiny").submissions() for shard in s.shards]
    assert len(sent) == len(set(sent)) == 6
    pickles = list((tmp_path / "results/tiny/jobs/logs").glob("*/7_*_submitted.pkl"))
    assert len(pickles) == 6


def test_array_parallelism_is_that_of_the_study_not_of_each_array(
    tiny: Path, fake_slurm: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def arrays() -> list[str]:
        return re.findall(r"--array=(\S+)|--(dependency=\S+)", (fake_slurm / "sbatch.script").read_text())

    cluster = tmp_path / "c.yaml"
    cluster.write_text("kind: slurm\narray_parallelism: 4\n")
    assert submit.submit(Options(tiny, str(cluster), allow_dirty=True)) == 0
    id = Journal("tiny").submissions()[0].id
    (fake_slurm / "squeue.out").write_text("".join(f"tiny.{id}|7_{k}|RUNNING|n1\n" for k in range(4)))
    assert submit.submit(Options(tiny, str(cluster), allow_dirty=True)) == 0
    updates = (fake_slurm / "scontrol.calls").read_text().splitlines()
    assert updates[-1] == "update JobId=7 ArrayTaskThrottle=2"
    assert arrays() == [("0-5%4", ""), ("0-1%2", "")]
    (fake_slurm / "scontrol.fail").write_text("slurm_update error: Invalid job id specified\n")
    assert submit.submit(Options(tiny, str(cluster), allow_dirty=True)) == 0, "it has ended since"
    assert "keeps its limit: scontrol: slurm_update error" in capsys.readouterr().err
    cluster.write_text("kind: slurm\narray_parallelism: 2\n")
    assert submit.submit(Options(tiny, str(cluster), allow_dirty=True)) == 0
    assert arrays()[-1] == ("0-1%1", ""), "one job of each array at once: none waits for the other"
    cluster.write_text("kind: slurm\narray_parallelism: 1\nflags: {dependency: 'after:5'}\n")
    assert submit.submit(Options(tiny, str(cluster), allow_dirty=True)) == 0
    assert arrays()[-2:] == [("0-1%1", ""), ("", "dependency=after:5,afterany:7")], "no room: one after another"


def test_a_busy_controller_is_asked_again_and_nothing_is_sent_twice(
    tiny: Path, fake_slurm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    monkeypatch.setattr("time.sleep", waited.append)
    busy = "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation\n"
    (fake_slurm / "sbatch.fail").write_text(3 * busy)
    assert submit.submit(Options(tiny, "testbed", allow_dirty=True)) == 0
    assert [s for s in waited if s >= 1] == [1, 2, 4]
    name = Journal("tiny").submissions()[0].id
    assert (fake_slurm / "scancel.calls").read_text().splitlines() == 3 * [f"--name=tiny.{name}"]


def test_a_controller_that_stays_away_for_the_clean_up_too_is_asked_again(
    tiny: Path, fake_slurm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    monkeypatch.setattr("time.sleep", waited.append)
    (fake_slurm / "sbatch.fail").write_text("sbatch: error: Unable to contact slurm controller (connect failure)\n")
    (fake_slurm / "scancel.fail").write_text(2 * "scancel: error: Unable to contact slurm controller\n")
    assert submit.submit(Options(tiny, "testbed", allow_dirty=True)) == 0
    assert [s for s in waited if s >= 1] == [1, 2, 4]
    assert len((fake_slurm / "sbatch.calls").read_text().splitlines()) == 2


def test_back_off_gives_up_after_a_minute_and_at_once_on_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr("time.sleep", waited.append)

    def fail(message: str) -> None:
        raise scheduler.SchedulerError(message)

    with pytest.raises(scheduler.SchedulerError, match="Unable to contact"):
        scheduler.with_back_off(lambda: fail("squeue: Unable to contact slurm controller"))
    assert waited == [1, 2, 4, 8, 16, 32]
    waited.clear()
    with pytest.raises(scheduler.SchedulerError, match="Invalid account"):
        scheduler.with_back_off(lambda: fail("sbatch: Invalid account"))
    assert waited == []


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ("invalid partition specified: main", "partition: 'main'"),
        ("Batch job submission failed: Invalid generic resource (gres) specification", "gpus: 1"),
        ("Batch job submission failed: Requested time limit is invalid (missing or exceeds some limit)", "minutes: 10"),
        ("Batch job submission failed: Requested node configuration is not available", "gpus: 1, cpus: 1, memory_gb"),
        ("Batch job submission failed: the moon is full", ""),
    ],
)
def test_a_refused_submission_is_one_line_and_leaves_nothing(
    message: str, field: str, tiny: Path, fake_slurm: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from slurm.__main__ import main

    (fake_slurm / "sbatch.fail").write_text(f"sbatch: error: {message}\n")
    assert main(["submit", str(tiny), "--cluster", "testbed", "--allow-dirty"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: ") and message in lines[0]
    assert f"slurm/clusters/testbed.yaml: {field}" in lines[0]
    assert Journal("tiny").submissions() == [] and not list(Journal("tiny").folder.glob("logs/*"))
    assert main(["status", str(tiny)]) == 1
    assert "shards    6: 6 new" in (shown := capsys.readouterr().out) and "0 sent again" in shown


def test_a_refused_retry_leaves_the_failures_as_they_were(
    tiny: Path, fake_slurm: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from slurm.__main__ import main

    assert submit.submit(Options(tiny, "testbed", allow_dirty=True)) == 0
    journal = Journal("tiny")
    (first,) = journal.submissions()
    failed = Marker(first.shards[0], "failed", job="7_0", cause="ValueError: no")
    journal.mark(failed)
    (fake_slurm / "sbatch.fail").write_text("sbatch: error: invalid partition specified: main\n")
    assert main(["retry", str(tiny), "--cluster", "testbed", "--allow-dirty"]) == 2
    assert journal.marker(first.shards[0]) == failed and journal.submissions() == [first]


def test_a_submission_that_may_have_been_heard_is_kept(
    tiny: Path, fake_slurm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    (fake_slurm / "sbatch.fail").write_text(7 * "sbatch: error: Socket timed out on send/recv operation\n")
    with pytest.raises(scheduler.SchedulerError, match="timed out"):
        submit.submit(Options(tiny, "testbed", allow_dirty=True))
    assert len(Journal("tiny").submissions()) == 1


@pytest.mark.parametrize(("memory_gb", "asked"), [(1e-4, "1MB"), (0.0006, "1MB"), (0.9, "922MB"), (16.0, "16384MB")])
def test_little_memory_is_not_the_whole_node(memory_gb: float, asked: str) -> None:
    """`--mem=0` would be."""
    assert slurm_parameters(Cluster("tiny", "slurm", memory_gb=memory_gb), "job", {})["mem"] == asked
