"""One shard from nothing to measures: train -> evaluate -> measure. Safe to call again at any point."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from study.config import RunConfig, run_key
from study.device import reproducible
from study.measures.own import check_own
from study.measuring import Measuring
from study.seams.precision import check_precision
from study.state import claim
from study.storage.paths import RunPaths

SAVE_EVERY_SECONDS = 20.0  # at most this much training is done again after a kill; ours


@dataclass
class ShardReport:
    """What a call of run_shard did: keys trained now, measures taken now, whether it was asked to leave early."""

    trained: list[str] = field(default_factory=list)
    measured: int = 0
    failed: list[str] = field(default_factory=list)  # "<key> <stop> <label>: reason", measures recorded as missing
    interrupted: bool = False


def run_shard(
    runs: Sequence[RunConfig],
    measures: Sequence[str],
    *,
    runs_root: str | Path,
    device: str = "cpu",
    guard: Callable[[], None] = lambda: None,
    should_stop: Callable[[], bool] = lambda: False,
    progress: Callable[[dict[str, Any]], None] = lambda event: None,
    test_curve: bool = False,
) -> ShardReport:
    """Train, evaluate and measure what of these runs is not done yet.

    `guard` is called before each write, on another thread too, and raises where this process may no longer write (its
    lease is lost); `should_stop` is asked at epoch ends and between measures; `progress` is told {"kind": "epoch" |
    "trained" | "measured" | "note", ...}, at an epoch's end how many are "running" and "left", of how many; with
    `test_curve` the test set is evaluated at each epoch's end, for the curve alone. One thread computes on a CPU, so
    that bits do not depend on the number of cores: run shards side by side instead. Nothing is being written any more
    when it returns or raises. Raises ValueError for a network that cannot be trained, a precision that the device has
    not, or a person's own measure whose code does not run, before anything is written, and where a run's folder holds
    another config; RuntimeError without the device, and where one network is more than it holds.
    """
    with reproducible(device):
        check_precision(runs[0].precision, device)
        from study.training.population import Population
        from study.training.saved import forget
        from study.training.stack import execution_mode
        from study.training.start import training_data
        from study.training.trainable import check_trainable

        report = ShardReport()
        pending = [(c, RunPaths(Path(runs_root), run_key(c))) for c in runs]
        untrained = [(c, p) for c, p in pending if not p.outcome.exists()]
        data = training_data(runs[0], as_bytes=device != "cpu")
        if untrained:
            check_trainable(runs[0], len(data.train_y))
        check_own(measures)
        for c, paths in pending:
            claim(c, paths, guard)
        forget(paths for _, paths in pending if paths.outcome.exists())  # what a kill after the end left
        data = data.to(device)

        def tell(line: str) -> None:
            progress({"kind": "note", "text": line})

        measuring = Measuring(measures, data, device, guard, failed=report.failed)
        mode = execution_mode(runs[0], device)
        for chunk in filter(None, [untrained] if mode == "stacked" else [[one] for one in untrained]):
            configs, paths_of = [c for c, _ in chunk], [p for _, p in chunk]
            population = Population(configs, paths_of, data, device, mode, guard, tell, test_curve)
            n_chunk = len(chunk)

            def on_epoch(running: Sequence[Any], p: Population = population, n_chunk: int = n_chunk) -> None:
                progress({"kind": "epoch", "running": len(running), "left": len(running) + len(p.waiting),
                          "of": n_chunk, "epoch": max((r.epoch for r in running), default=0)})  # fmt: skip

            ended = population.train(should_stop=should_stop, on_epoch=on_epoch, save_every_seconds=SAVE_EVERY_SECONDS)
            del population, on_epoch  # the stack and what a recorded step keeps: measures need the memory
            trained = [p.key for _, p in chunk if p.outcome.exists()]  # not all where it was asked to leave
            report.trained += trained
            progress({"kind": "trained", "n": len(trained)})
            report.interrupted = not (ended and measuring.run(chunk, should_stop, progress))
            if report.interrupted:
                break
        else:
            report.interrupted = not measuring.run(pending, should_stop, progress)
        report.measured = measuring.n_taken
    return report
