"""Where runs, results, data and a key are found, and that they are there before anything is sent."""

from __future__ import annotations

from pathlib import Path

import pytest

from slurm.__main__ import main
from slurm.journal import Journal
from slurm.launch import INLINE, find_place
from slurm.request import environment
from tests.support.data_server import mnist_server


def test_folders_come_from_the_command_line_then_the_cluster_then_the_environment(tiny: Path, tmp_path: Path) -> None:
    cluster = tmp_path / "c.yaml"
    cluster.write_text(f"kind: slurm\nruns: {tmp_path}/of_cluster\n")
    assert find_place(tiny, "inline", None, None).runs == tmp_path / "runs"
    assert find_place(tiny, "inline", None, None).cluster is INLINE
    assert find_place(tiny, str(cluster), None, None).runs == tmp_path / "of_cluster"
    assert find_place(tiny, str(cluster), tmp_path / "asked", None).runs == tmp_path / "asked"


def test_a_study_remembers_where_it_was_sent(
    tiny: Path, fake_slurm: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = tmp_path / "far.yaml"
    cluster.write_text(f"kind: slurm\nruns: {tmp_path}/far/runs\nresults: {tmp_path}/far/results\n")
    monkeypatch.chdir(tmp_path)
    assert main(["retry", str(tiny), "--allow-dirty"]) == 2
    assert "--cluster: tiny was not sent yet, allowed: inline, local" in capsys.readouterr().err
    assert main(["submit", str(tiny), "--cluster", "far.yaml", "--allow-dirty", "--wandb", "off", "--dry-run"]) == 0
    assert find_place(tiny, None, None, None).cluster.name == "local", "nothing was sent"
    assert main(["submit", str(tiny), "--cluster", "far.yaml", "--allow-dirty", "--wandb", "off"]) == 0
    folders = f"folders   results {tmp_path}/far/results/tiny, runs {tmp_path}/far/runs"
    assert folders in capsys.readouterr().out
    id = Journal("tiny", tmp_path / "far/results").submissions()[0].id
    (fake_slurm / "squeue.out").write_text("".join(f"tiny.{id}|7_{k}|PENDING|(Priority)\n" for k in range(6)))
    monkeypatch.chdir("/")
    assert main(["status", str(tiny)]) == 1
    assert "6: 6 pending" in (shown := capsys.readouterr().out) and folders in shown
    assert main(["retry", str(tiny), "--allow-dirty"]) == 0
    assert "pending   6 shards left alone" in capsys.readouterr().out
    assert main(["status", str(tiny), "--cluster", "local"]) == 1
    shown = capsys.readouterr().out
    assert f"nothing sent yet; sent to {cluster}, results in {tmp_path}/far/results: leave" in shown
    assert f"folders   results {tmp_path}/results/tiny, runs {tmp_path}/runs" in shown
    assert main(["cancel", str(tiny)]) == 0
    assert "6 jobs cancelled" in (shown := capsys.readouterr().out) and f"{tmp_path}/far/results/tiny" in shown


def test_online_needs_a_key_before_anything_is_sent(
    tiny: Path, fake_slurm: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from wandb.sdk.lib import wbauth

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path))
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    wbauth.unauthenticate_session()  # of an earlier test
    assert main(["submit", str(tiny), "--cluster", "testbed", "--allow-dirty", "--wandb", "online"]) == 2
    assert "wandb: online: no API key" in capsys.readouterr().err
    assert not (tmp_path / "results").exists() and not (fake_slurm / "sbatch.calls").exists()


def test_jobs_find_the_data_wherever_they_start(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from slurm.snapshot import Code

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STUDY_DATA", "images")
    found = environment(find_place(tiny, "local", None, None), Code(tmp_path / "code", "c0ffee"))
    assert found["STUDY_DATA"] == str(tmp_path / "images") and found["STUDY_COMMIT"] == "c0ffee"


def test_data_is_there_before_a_job_is_sent(
    tmp_path: Path, fake_slurm: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Once, by the machine that submits, into the folder that jobs read; or nothing is sent."""
    for name in ("RUNS", "RESULTS", "DATA"):
        monkeypatch.setenv(f"STUDY_{name}", str(tmp_path / name))
    config = tmp_path / "images.yaml"
    config.write_text(
        "fixed: {dataset: mnist, n_train: 4, batch_size: 2, max_epochs: 1, stops: [epoch_1]}\nmeasures: [train_loss]\n"
    )
    cluster = tmp_path / "mine.yaml"
    (folder := tmp_path / "datasets").mkdir()
    cluster.write_text(f"kind: slurm\ndata: {folder}\n")
    send = ["submit", str(config), "--cluster", str(cluster), "--allow-dirty", "--wandb", "off"]
    with mnist_server(monkeypatch) as server:
        server.keep["t10k-labels-idx1-ubyte.gz"] = 5
        assert main(send) == 2
        assert f"error: STUDY_DATA: '{folder}': holds no MNIST ({server.url}t10k" in capsys.readouterr().err
        assert not (fake_slurm / "sbatch.calls").exists()
        server.keep.clear()
        assert main([*send, "--dry-run"]) == 0
        assert not (folder / "MNIST").exists(), "a dry run writes nothing"
        assert main(send) == 0
    assert len(list((folder / "MNIST/raw").iterdir())) == 4
    assert len((fake_slurm / "sbatch.calls").read_text().splitlines()) == 1
