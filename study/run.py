"""One shard from nothing to measures: train -> evaluate -> measure. Safe to call again at any point."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from study.config import RunConfig, config_to_dict, run_key
from study.storage.atomic import read_json, read_tensors, write_bytes, write_json
from study.storage.paths import RunPaths

SAVE_EVERY_SECONDS = 20.0  # at most this much training is done again after a kill; ours
# Messages of torch's that tell of the machine (memory of GPU and CPU, a broken GPU, its libraries), not of the network.
OF_THE_MACHINE = re.compile(
    r"out of memory|can't allocate memory|not enough memory|CUDA error|CUBLAS_|CUDNN_|CUSOLVER_"
)
State = Literal["new", "partial", "done"]


@dataclass
class ShardReport:
    """What a call of run_shard did: keys trained now, measures taken now, whether it was asked to leave early."""

    trained: list[str] = field(default_factory=list)
    measured: int = 0
    failed: list[str] = field(default_factory=list)  # "<key> <stop> <label>: reason", measures recorded as missing
    interrupted: bool = False


def run_state(paths: RunPaths, config: RunConfig, measures: Sequence[str]) -> State:
    """Read from the files alone: "done" once trained, evaluated and measured; "partial" once its folder is there."""
    if not paths.config.exists():
        return "new"
    if not paths.outcome.exists():
        return "partial"
    outcome = read_json(paths.outcome)
    if outcome["status"] == "diverged":
        return "done"
    for stop in map(paths.stop, config.stops):
        files = [stop.evaluation, *(stop.measure(label) for label in measures)]
        if not all(file.exists() for file in files):
            return "partial"
    return "done"


def run_shard(
    runs: Sequence[RunConfig],
    measures: Sequence[str],
    *,
    runs_root: str | Path,
    device: str = "cpu",
    guard: Callable[[], None] = lambda: None,
    should_stop: Callable[[], bool] = lambda: False,
    progress: Callable[[dict[str, Any]], None] = lambda event: None,
) -> ShardReport:
    """Train, evaluate and measure what of these runs is not done yet.

    `guard` is called before each write and raises where this process may no longer write (its lease is lost);
    `should_stop` is asked at epoch ends and between measures; `progress` is told {"kind": "epoch" | "trained" |
    "measured", ...}. One thread is used on a CPU, so that bits do not depend on the number of cores: run shards side by
    side instead. Raises ValueError where a run's folder holds another config, RuntimeError without the device.
    """
    from study.training.population import Population
    from study.training.stack import execution_mode

    report = ShardReport()
    with _settings(device):
        from study.data.dataset import load

        config = runs[0]
        pending = [(c, RunPaths(Path(runs_root), run_key(c))) for c in runs]
        for c, paths in pending:
            _claim(c, paths, guard)
        untrained = [(c, p) for c, p in pending if not p.outcome.exists()]
        data = load(config.dataset, config.n_train).to(device)
        mode = execution_mode(config, device)
        chunks = [untrained] if mode == "stacked" else [[one] for one in untrained]
        for chunk in filter(None, chunks):
            population = Population([c for c, _ in chunk], [p for _, p in chunk], data, device, mode, guard)
            n_chunk = len(chunk)

            def on_epoch(running: Sequence[Any], n_chunk: int = n_chunk) -> None:
                progress({"kind": "epoch", "running": len(running), "of": n_chunk,
                          "epoch": max((r.epoch for r in running), default=0)})  # fmt: skip

            ended = population.train(should_stop=should_stop, on_epoch=on_epoch, save_every_seconds=SAVE_EVERY_SECONDS)
            report.trained += [p.key for _, p in chunk if p.outcome.exists()]
            progress({"kind": "trained", "n": n_chunk})
            if not ended:
                report.interrupted = True
                return report
            if not _measure_all(chunk, measures, data, device, guard, should_stop, progress, report):
                return report
        _measure_all(pending, measures, data, device, guard, should_stop, progress, report)
    return report


def _claim(config: RunConfig, paths: RunPaths, guard: Callable[[], None]) -> None:
    """Write config.json, or check the one that is there field by field."""
    wanted = config_to_dict(config)
    if not paths.config.exists():
        guard()
        write_json(paths.config, wanted)
        return
    found = read_json(paths.config)
    for name in wanted.keys() | found.keys():
        if wanted.get(name) != found.get(name):
            raise ValueError(
                f"{paths.config}: {name}: {found.get(name)!r}: differs from the study's {wanted.get(name)!r}"
            )


def _measure_all(
    chunk: Sequence[tuple[RunConfig, RunPaths]], measures: Sequence[str], data: Any, device: str,
    guard: Callable[[], None], should_stop: Callable[[], bool], progress: Callable[[dict[str, Any]], None],
    report: ShardReport,
) -> bool:  # fmt: skip
    """Evaluate and measure every stop of these runs that misses something. False if asked to leave."""
    for config, paths in chunk:
        if read_json(paths.outcome)["status"] == "diverged":
            continue
        for stop in config.stops:
            if should_stop():
                report.interrupted = True
                return False
            n = _measure_stop(config, paths, stop, measures, data, device, guard, report)
            report.measured += n
            if n:
                progress({"kind": "measured", "n": n, "key": paths.key, "stop": stop})
    return True


def _measure_stop(
    config: RunConfig, paths: RunPaths, stop: str, measures: Sequence[str], data: Any, device: str,
    guard: Callable[[], None], report: ShardReport,
) -> int:  # fmt: skip
    from study.loss import evaluate
    from study.measures import MeasureContext, compute
    from study.provenance import commit
    from study.training.start import build_model, training_labels

    files = paths.stop(stop)
    missing = [label for label in measures if not files.measure(label).exists()]
    if not missing and files.evaluation.exists():
        return 0
    model = build_model(config).to(device).eval()
    model.load_state_dict(read_tensors(files.weights, device))
    labels = training_labels(config, data.train_y)
    if not files.evaluation.exists():
        begin = time.perf_counter()
        result: dict[str, Any] = evaluate(model, data, labels, config.loss)
        guard()
        write_json(files.evaluation, {**result, "seconds": time.perf_counter() - begin})
    context = MeasureContext(model, read_tensors(paths.init, device), data.train_x, labels, config.loss, paths.key)
    for label in missing:
        begin = time.perf_counter()
        result = {"label": label, "value": None, "layers": None}
        try:
            result = compute(label, context)
        except (ValueError, ArithmeticError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and OF_THE_MACHINE.search(str(error)):
                raise  # to be tried again elsewhere, not recorded as a missing value
            report.failed.append(f"{paths.key} {stop} {label}: {error}")
            guard()
            write_bytes(files.error(label), f"{type(error).__name__}: {error}\n".encode())
        guard()
        write_json(files.measure(label), {**result, "commit": commit(), "seconds": time.perf_counter() - begin})
    return len(missing)


@contextlib.contextmanager
def _settings(device: str) -> Iterator[None]:
    """Deterministic kernels, one CPU thread, full float32; put back as they were afterwards."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    import torch

    if device.startswith("cuda") and not torch.cuda.is_available():
        raise RuntimeError(f"device: {device!r}: no CUDA device here, allowed: cpu")
    if device == "cpu":
        keep_memory()
    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    fill = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]  # set by its module
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # nothing here reads it
    try:
        yield
    finally:
        torch.utils.deterministic.fill_uninitialized_memory = fill  # type: ignore[attr-defined]
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(strict)


def keep_memory() -> None:
    """Have glibc reuse freed blocks instead of returning them: each step's batches were mapped and zeroed anew.

    Measured 1.6 times faster for MNIST at batch 8,000. Where a shard runs on a thread of its own, call it before any
    other thread has allocated: one that has stays with a heap of its own, which cannot hold large blocks (the curvature
    of LeNet5 took 2.3 times longer there). Nothing happens where the C library is another one.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        m_trim_threshold, m_mmap_max, m_arena_max = -1, -4, -8
        mallopt(m_arena_max, 1)
        mallopt(m_mmap_max, 0)
        mallopt(m_trim_threshold, 2**31 - 1)
