"""From runs to rows: same bytes whatever happened on the way, nothing retrained, nothing published twice or wrongly."""

import contextlib
import csv
import dataclasses
import importlib
import json
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.func import functional_call
from torch.nn import functional

from study.__main__ import main
from study.config import run_key
from study.data.dataset import load
from study.data.shift import SEVERITIES
from study.grid import load_study
from study.measures import Own
from study.names import shift_column, shift_label
from study.publishing.publish import RecordsConflict, publish, published_keys
from study.records import collect
from study.run import run_shard
from study.storage.atomic import read_tensors, write_tensors
from study.storage.paths import RunPaths, published_file
from study.storage.rows import read_table, write_rows
from study.training.start import build_model

TINY = """
fixed: {hidden: [8], batch_size: 50, momentum: 0.9, max_epochs: 8, stops: [loss_0.5, epoch_3]}
grid: {lr: [0.03, 0.1]}
seeds: 2
measures: [relative_flatness, hessian_trace, inverse_margin, distance_from_init]
"""
ROOT = Path(__file__).parents[2]


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return path


def run(config: Path, folder: Path) -> bytes:
    assert (
        main(
            ["run", str(config), "--runs", str(folder / "runs"), "--results", str(folder / "results"), "--wandb", "off"]
        )
        == 0
    )
    return (folder / "results/tiny/records.csv").read_bytes()


def test_rows_hold_what_the_files_say(tiny: Path, tmp_path: Path) -> None:
    run(tiny, tmp_path)
    study, rows = load_study(tiny), read_table(tmp_path / "results/tiny/records.csv")
    places = sorted((run_key(c), s) for c in study.runs for s in ("epoch_3", "loss_0.5"))
    assert [(r["key"], r["stop"]) for r in rows] == places
    passes = [r for r in read_table(tmp_path / "results/tiny/timings.csv") if r["item"] == "pass"]
    assert [(r["key"], r["stop"]) for r in passes] == places and all(float(r["seconds"]) > 0 for r in passes)
    data = load("digits")
    for config in study.runs:
        for stop in config.stops:
            row = next(r for r in rows if (r["key"], r["stop"]) == (run_key(config), stop))
            assert (row["hp.lr"], row["hp.seed"], row["hp.hidden"]) == (repr(config.lr), str(config.seed), "8")
            weights = read_tensors(RunPaths(tmp_path / "runs", row["key"]).stop(stop).weights)
            model = build_model(config)
            losses = {
                part: functional.cross_entropy(functional_call(model, weights, (x,)), y).item()
                for part, x, y in (("train", data.train_x, data.train_y), ("test", data.test_x, data.test_y))
            }
            assert float(row["train.loss"]) == pytest.approx(losses["train"], rel=1e-5)
            assert float(row["gap.loss"]) == pytest.approx(losses["test"] - losses["train"], rel=1e-4)
            layers = [float(row[f"measure.hessian_trace.{n}"]) for n in ("fc1", "fc2")]
            assert float(row["measure.hessian_trace"]) == pytest.approx(sum(layers), rel=1e-12)
            assert (row["n.train"], row["n.test"], row["n.parameters"]) == ("300", "1497", str(65 * 8 + 9 * 10))
            reached = float(row["train.loss"]) <= 0.5 if stop == "loss_0.5" else row["train.epoch"] == "3"
            assert row["train.converged"] == str(reached)


def full_hessian(weights: dict[str, torch.Tensor], layer: str, model: torch.nn.Module) -> torch.Tensor:
    data = load("digits")
    start = {name: tensor.double() for name, tensor in weights.items()}
    x = data.train_x.double()

    def loss(w: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(functional_call(model, {**start, f"{layer}.weight": w}, (x,)), data.train_y)

    w = start[f"{layer}.weight"]
    return torch.autograd.functional.hessian(loss, w).reshape(w.numel(), w.numel())


def test_saved_weights_give_the_recorded_kappa(tiny: Path, tmp_path: Path) -> None:
    """Weights reloaded in a plain script and measured with the full autograd Hessian, in float64."""
    run(tiny, tmp_path)
    config = load_study(tiny).runs[0]
    rows = read_table(tmp_path / "results/tiny/records.csv")
    row = next(r for r in rows if (r["key"], r["stop"]) == (run_key(config), "epoch_3"))
    weights = read_tensors(RunPaths(tmp_path / "runs", run_key(config)).stop("epoch_3").weights)
    for layer in ("fc1", "fc2"):
        w = weights[f"{layer}.weight"].double()
        n_out, n_in = w.shape
        hessian = full_hessian(weights, layer, build_model(config).double()).view(n_out, n_in, n_out, n_in)
        traces = torch.einsum("sjtj->st", hessian)
        assert float(row[f"measure.hessian_trace.{layer}"]) == pytest.approx(traces.trace().item(), rel=1e-4)
        kappa = ((w @ w.T) * traces).sum().item()
        assert float(row[f"measure.relative_flatness.{layer}"]) == pytest.approx(kappa, rel=1e-4)


def test_second_run_does_nothing_and_gives_the_same_bytes(tiny: Path, tmp_path: Path) -> None:
    first = run(tiny, tmp_path)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "runs").rglob("*.*") if p.is_file()}
    assert run(tiny, tmp_path) == first
    assert before == {p: p.stat().st_mtime_ns for p in (tmp_path / "runs").rglob("*.*") if p.is_file()}


def test_a_deleted_measure_is_taken_again_alone(tiny: Path, tmp_path: Path) -> None:
    first = run(tiny, tmp_path)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "runs").rglob("*.*") if p.is_file()}
    gone = sorted((tmp_path / "runs").rglob("hessian_trace.json"))
    assert len(gone) == 8
    for path in gone:
        path.unlink()
    assert run(tiny, tmp_path) == first
    changed = {p for p in before if not p.exists() or p.stat().st_mtime_ns != before[p]}
    assert changed == set(gone)


def test_a_failed_measure_is_an_empty_cell_with_its_reason(tiny: Path, tmp_path: Path) -> None:
    tiny.write_text(TINY.replace("max_epochs: 8, stops: [loss_0.5, epoch_3]", "max_epochs: 1, stops: [epoch_1]"))
    run(tiny, tmp_path)
    rows = read_table(tmp_path / "results/tiny/records.csv")
    missing = [r for r in rows if r["measure.inverse_margin"] == ""]
    assert missing, "one epoch leaves negative margins"
    for row in missing:
        reason = RunPaths(tmp_path / "runs", row["key"]).stop("epoch_1").error("inverse_margin").read_text()
        assert "must be positive" in reason
        assert row["measure.hessian_trace"]


def test_a_diverged_run_is_a_row_of_missing_values(tiny: Path, tmp_path: Path) -> None:
    tiny.write_text(TINY.replace("lr: [0.03, 0.1]", "lr: [0.03, 1e30]").replace("momentum: 0.9", "momentum: 0"))
    run(tiny, tmp_path)
    rows = [r for r in read_table(tmp_path / "results/tiny/records.csv") if r["train.status"] == "diverged"]
    assert len(rows) == 4
    for row in rows:
        assert row["train.converged"] == "False"
        assert row["gap.loss"] == row["train.loss"] == row["measure.hessian_trace"] == ""


def newest(folder: Path) -> int:
    """When a run's file was last renamed into place; leases and files still being written vanish at any moment."""
    finished = (p for p in folder.glob("runs/[!.]*/**/*") if p.suffix in (".json", ".jsonl"))
    return max((p.stat().st_mtime_ns for p in finished), default=0)


@pytest.mark.slow
def test_killed_five_times_the_records_are_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """kill -9 of `python -m study run` at five random instants, then once to the end."""
    monkeypatch.setenv("STUDY_COMMIT", "0123456789ab-dirty")  # in every record: a commit made meanwhile changes nothing
    config = tmp_path / "tiny.yaml"
    config.write_text(TINY.replace("max_epochs: 8", "max_epochs: 1600").replace("loss_0.5", "loss_1e-9"))
    undisturbed = run(config, tmp_path / "whole")
    code = (
        "import sys, study.run, study.__main__\n"
        "study.run.SAVE_EVERY_SECONDS = 0.05\n"
        "sys.exit(study.__main__.main(sys.argv[1:]))\n"
    )
    folders = ["--runs", str(tmp_path / "cut/runs"), "--results", str(tmp_path / "cut/results")]
    command = [sys.executable, "-c", code, "run", str(config), *folders, "--wandb", "off"]
    random.seed(7)
    for _ in range(5):
        before = newest(tmp_path / "cut")
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            while process.poll() is None and newest(tmp_path / "cut") == before:
                time.sleep(0.01)  # until it writes: from here on it trains
            time.sleep(random.uniform(0.0, 0.2))
            assert process.poll() is None, "the runs are too short to be interrupted"
        finally:
            process.kill()
            process.wait()
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    assert (tmp_path / "cut/results/tiny/records.csv").read_bytes() == undisturbed
    assert not list((tmp_path / "cut/runs").rglob("population.json"))
    assert not list((tmp_path / "cut/runs").glob(".populations/*/*"))


@pytest.mark.parametrize(
    ("message", "recorded"),
    [("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes", False),
     ("CUDA error: an illegal memory access was encountered", False), ("Cholesky: the input is singular", True)],
)  # fmt: skip
def test_a_failure_of_the_machine_is_no_missing_value(
    message: str, recorded: bool, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(label: str, context: object) -> None:
        raise RuntimeError(message)

    study = load_study(tiny)
    monkeypatch.setattr(importlib.import_module("study.measures.compute"), "compute", fail)
    with contextlib.nullcontext() if recorded else pytest.raises(RuntimeError, match=message[:10]):
        run_shard(study.runs[:1], study.measures, runs_root=tmp_path / "runs")
    assert bool(list((tmp_path / "runs").rglob(f"{study.measures[0]}.json"))) is recorded


def test_publish_merges_refuses_and_remembers(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDY_RECORDS", str(tmp_path / "analysis/records"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STUDY_COMMIT", "0123456789ab")
    study = load_study(tiny)
    half = study.runs[:2]
    run_shard(half, study.measures, runs_root="runs")
    collect(study, "runs", "results")
    path, added = publish(study, "results")
    assert (added, len(read_table(path))) == (4, 4)
    assert published_keys(study) == {run_key(c) for c in half}
    assert main(["run", str(tiny), "--runs", "elsewhere", "--skip-published", "--wandb", "off"]) == 1
    assert {p.parent.name for p in Path("elsewhere").rglob("outcome.json")} == {run_key(c) for c in study.runs[2:]}
    run_shard(study.runs, study.measures, runs_root="runs")
    collect(study, "runs", "results")
    assert publish(study, "results") == (path, 4)
    whole = path.read_bytes()
    timed = read_table(published_file("tiny", "timings"))
    assert {(r["key"], r["item"]) for r in timed} >= {(run_key(c), "train") for c in study.runs}
    assert whole == Path("results/tiny/records.csv").read_bytes()
    assert publish(study, "results") == (path, 0)
    assert path.read_bytes() == whole

    rows = read_table(path)
    rows[3]["gap.loss"] = "0.5"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    wrong = path.read_bytes()
    with pytest.raises(RecordsConflict, match=rf"{rows[3]['key']} {rows[3]['stop']}: gap.loss: published 0.5, now "):
        publish(study, "results")
    assert path.read_bytes() == wrong


def test_an_added_measure_joins_the_published_rows(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDY_RECORDS", str(tmp_path / "analysis/records"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STUDY_COMMIT", "0123456789ab")
    for text in (TINY, TINY.replace("measures: [", "measures: [train_loss, ")):
        tiny.write_text(text)
        study = load_study(tiny)
        run_shard(study.runs, study.measures, runs_root="runs")
        collect(study, "runs", "results")
        path, _ = publish(study, "results")
    assert all(r["measure.train_loss"] and r["measure.relative_flatness"] for r in read_table(path))


def test_a_row_is_whole_when_its_measures_were_taken_and_its_shifts(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One more measure, taken of half of the networks; without a value where it was taken and failed."""
    monkeypatch.setenv("STUDY_RECORDS", str(tmp_path / "analysis/records"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STUDY_COMMIT", "0123456789ab")
    more = TINY.replace("measures: [", "measures: [train_loss, ")
    for text in (TINY, more):
        tiny.write_text(text)
        study = load_study(tiny)
        run_shard(study.runs if text == TINY else study.runs[:2], study.measures, runs_root="runs")
        collect(study, "runs", "results")
        path, _ = publish(study, "results")
    half = {run_key(c) for c in study.runs[:2]}
    assert published_keys(study) == half
    rows = read_table(path)
    assert {row["key"] for row in rows if row["measure.train_loss"]} == half
    for row in rows:
        row["measure.train_loss"] = ""
    write_rows(path, rows)
    assert published_keys(study) == half, "the timings say that it was taken"
    diverged = [{**row, "train.status": "diverged", "key": run_key(study.runs[2])} for row in rows[:2]]
    write_rows(path, rows + diverged)
    assert published_keys(study) == half | {run_key(study.runs[2])}, "of what diverged nothing is ever measured"
    shifted = dataclasses.replace(study, measures=(*study.measures, shift_label("blur")))
    assert published_keys(shifted) == {run_key(study.runs[2])}
    for row in rows:
        row |= {shift_column("blur", severity, what): "1" for severity in SEVERITIES for what in ("loss", "error")}
    write_rows(path, rows)
    assert published_keys(shifted) == half


def test_rows_of_runs_that_the_study_has_no_more_are_not_published(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an earlier yaml left behind: records of it stay where none of the new runs is done."""
    monkeypatch.setenv("STUDY_RECORDS", str(tmp_path / "analysis/records"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STUDY_COMMIT", "0123456789ab")
    study = load_study(tiny)
    run_shard(study.runs[:1], study.measures, runs_root="runs")
    collect(study, "runs", "results")
    tiny.write_text(TINY.replace("seeds: 2", "seeds: [7]"))
    other = load_study(tiny)
    assert not {run_key(c) for c in other.runs} & {run_key(c) for c in study.runs}
    collect(other, "runs", "results")
    with pytest.raises(ValueError, match=rf"1 runs are of no row of .*tiny.yaml: {run_key(study.runs[0])}; allowed"):
        publish(other, "results")
    assert not Path("analysis").exists()


def test_dirty_code_is_not_published(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDY_RECORDS", str(tmp_path / "analysis/records"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STUDY_COMMIT", "0123456789ab-dirty")
    study = load_study(tiny)
    run_shard(study.runs, study.measures, runs_root="runs")
    collect(study, "runs", "results")
    with pytest.raises(ValueError, match=r"prov\.commit: '0123456789ab-dirty'"):
        publish(study, "results")
    path = Path("results/tiny/records.csv")
    rows = read_table(path)
    for row in rows:
        row["prov.commit"] = "0123456789ab"
    write_rows(path, rows)
    said = r"prov\.measured: '0123456789ab-dirty': allowed: records of committed code"
    with pytest.raises(ValueError, match=said):
        publish(study, "results")
    assert not Path("analysis").exists()


def test_a_broken_file_is_named(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tiny, tmp_path)
    path = next((tmp_path / "runs").rglob("outcome.json"))
    path.write_text(json.dumps(json.loads(path.read_text()))[:20])
    assert main(["records", str(tiny), "--runs", str(tmp_path / "runs"), "--results", str(tmp_path / "results")]) == 2
    assert str(path) in capsys.readouterr().err


def test_what_is_published_later_names_its_code_and_its_commit(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One's own measure of half of the networks first, so that the other rows have an empty cell; then a shift."""
    monkeypatch.setenv("STUDY_RECORDS", str(tmp_path / "analysis/records"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STUDY_COMMIT", "a" * 12)
    one = TINY.replace("fixed: {", "fixed: {dataset: digits_images, n_train: 60, ")
    one = one.replace("hessian_trace", "param_norm")
    own = one.replace("measures: [", "measures: [own.py:mine, ")
    (tmp_path / "own.py").write_text("def mine(ctx):\n    raise ValueError('none')\n")
    for text, n in ((one, 4), (own, 2)):
        tiny.write_text(text)
        study = load_study(tiny)
        run_shard(study.runs[:n], study.measures, runs_root="runs")
        collect(study, "runs", "results")
        path, _ = publish(study, "results")
    assert sorted({row["prov.code.mine"] == "" for row in read_table(path)}) == [False, True]
    (tmp_path / "own.py").write_text("def mine(ctx):\n    return 1.5\n")
    monkeypatch.setenv("STUDY_COMMIT", "b" * 12)
    study = load_study(tiny)
    run_shard(study.runs, study.measures, runs_root="runs")
    collect(study, "runs", "results")
    publish(study, "results")
    codes = {label.provenance: label.code for label in study.measures if isinstance(label, Own)}
    assert all(row["prov.code.mine"] == codes["prov.code.mine"] for row in read_table(path))
    assert {row["prov.measured"] for row in read_table(path)} == {f"{'a' * 12}+{'b' * 12}"}
    assert published_keys(study) == {run_key(c) for c in study.runs}
    monkeypatch.setenv("STUDY_COMMIT", "c" * 12)
    tiny.write_text(own + "shifts: [contrast]\n")
    study = load_study(tiny)
    run_shard(study.runs, study.measures, runs_root="runs")
    collect(study, "runs", "results")
    publish(study, "results")
    assert all("c" * 12 in row["prov.measured"] for row in read_table(path))


def test_a_loss_that_is_not_finite_is_an_empty_cell(tiny: Path, tmp_path: Path) -> None:
    """Of weights so large that outputs overflow; the other networks of the shard have theirs."""
    tiny.write_text(TINY.replace("hidden: [8]", "hidden: [8], dataset: digits_images") + "shifts: [contrast]\n")
    study = load_study(tiny)
    run_shard(study.runs, [], runs_root=tmp_path / "runs")
    stop = RunPaths(tmp_path / "runs", run_key(study.runs[0])).stop("epoch_3")
    write_tensors(stop.weights, {name: 1e30 * w for name, w in read_tensors(stop.weights).items()})
    stop.evaluation.unlink()
    run(tiny, tmp_path)
    for row in read_table(tmp_path / "results/tiny/records.csv"):
        broken = (row["key"], row["stop"]) == (run_key(study.runs[0]), "epoch_3")
        cells = [row["train.loss"], row["test.loss"], row["gap.loss"], row["gap.shift.contrast_1.loss"]]
        assert [cell == "" for cell in cells] == [broken] * 4
        assert row["test.error"] and row["gap.error"] and row["gap.shift.contrast_1.error"]


def test_a_shard_that_is_left_early_says_how_many_are_trained(tiny: Path, tmp_path: Path) -> None:
    told: list[int] = []

    def progress(event: dict[str, Any]) -> None:
        if event["kind"] == "trained":
            told.append(event["n"])

    study = load_study(tiny)
    folder = tmp_path / "runs"
    assert run_shard(study.runs, [], runs_root=folder, should_stop=lambda: True, progress=progress).interrupted
    run_shard(study.runs, [], runs_root=folder, progress=progress)
    assert told == [0, 4]
