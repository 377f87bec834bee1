"""Trained networks -> evaluation.json and one file a measure, for every stop that misses one."""

from __future__ import annotations

import functools
import json
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from study.config import RunConfig
from study.device import return_memory
from study.names import images_of, pass_label, shift_of
from study.provenance import commit
from study.state import taken
from study.storage.atomic import read_json, read_tensors, write_bytes, write_json
from study.storage.paths import RunPaths, StopPaths

if TYPE_CHECKING:
    from study.data.dataset import Tensors
    from study.measures import MeasureContext


def context_at(config: RunConfig, paths: RunPaths, stop: str, data: Tensors, device: str = "cpu") -> MeasureContext:
    """A run's network at a stop with the data that it was trained on, as floats."""
    from study.measures import MeasureContext
    from study.training.start import trained_model, training_labels, with_own_labels

    model = trained_model(config, (files := paths.stop(stop)).weights, device)
    initial, labels = read_tensors(paths.init, device), training_labels(config, data.train_y)
    history = _history(paths, files)
    held_out = data.test_x, with_own_labels(config, data).test_y
    return MeasureContext(
        model, initial, data.train_x, labels, config.loss, paths.key, history=history, held_out=held_out
    )


@dataclass
class Measuring:
    """Takes the measures of a study on the data of one shard; `guard` is called before each write.

    `n_taken` counts what was taken now, `failed` has a line for each value that is recorded as missing.
    """

    measures: Sequence[str]
    data: Tensors
    device: str
    guard: Callable[[], None] = lambda: None
    n_taken: int = 0
    failed: list[str] = field(default_factory=list)

    def run(
        self,
        runs: Iterable[tuple[RunConfig, RunPaths]],
        should_stop: Callable[[], bool],
        progress: Callable[[dict[str, Any]], None],
    ) -> bool:
        """Evaluate and measure every stop of these runs that misses something. False if asked to leave."""
        for config, paths in runs:
            if read_json(paths.outcome)["status"] == "diverged":
                continue
            for stop in config.stops:
                if should_stop():
                    return False
                if n := self._stop(config, paths, stop):
                    self.n_taken += n
                    progress({"kind": "measured", "n": n, "key": paths.key, "stop": stop})
                    return_memory()
        return True

    @functools.cached_property
    def _floats(self) -> Tensors:
        """The data with bytes decoded once for all runs of the shard."""
        return self.data.decoded()

    def _stop(self, config: RunConfig, paths: RunPaths, stop: str) -> int:
        files = paths.stop(stop)
        missing = [label for label in self.measures if not taken(files, label)]
        if not missing and files.evaluation.exists():
            return 0
        context = context_at(config, paths, stop, self._floats, self.device)
        if not files.evaluation.exists():
            self._evaluate(config, context, files)
        contexts = {0: context}
        for label in missing:
            if shift := shift_of(label):
                self._shifted(shift, label, config, context, files)
                continue
            if (n := images_of(label)) not in contexts:
                contexts[n] = context.on_first(n)
            self.take(label, contexts[n], files, f"{paths.key} {stop}")
        for n in {images_of(label) for label in missing if not shift_of(label)}:
            if not files.measure(pass_label(n)).exists():
                self._time_pass(contexts[n], files, pass_label(n))
        return len(missing)

    def _evaluate(self, config: RunConfig, context: MeasureContext, files: StopPaths) -> None:
        from study.loss import evaluate
        from study.training.start import with_own_labels

        begin = time.perf_counter()
        data = with_own_labels(config, self._floats)
        result: dict[str, Any] = evaluate(context.model, data, context.labels, config.loss)
        self.guard()
        write_json(files.evaluation, {**result, "commit": commit(), "seconds": time.perf_counter() - begin})

    def _time_pass(self, context: MeasureContext, files: StopPaths, label: str) -> None:
        """Seconds of one pass, in the process that took the first measures: what their cost is told in."""
        from study.measures import pass_seconds

        seconds = pass_seconds(context)
        self.guard()
        write_json(files.measure(label), {"label": str(label), "commit": commit(), "seconds": seconds})

    def _shifted(self, shift: str, label: str, config: RunConfig, context: MeasureContext, files: StopPaths) -> None:
        """Gaps to the test images under a shift at each severity, into a file as a measure has one."""
        from study.data.shift import SEVERITIES, shifted
        from study.loss import gap, mean_loss_and_error
        from study.training.start import with_own_labels

        begin = time.perf_counter()
        data, train = with_own_labels(config, self._floats), read_json(files.evaluation)["train"]
        gaps = {}
        for severity in SEVERITIES:
            x = shifted(data.test_x, shift, severity)
            loss, error = (part.item() for part in mean_loss_and_error(context.model, x, data.test_y, config.loss))
            test = {"loss": loss if math.isfinite(loss) else None, "error": error}
            gaps[str(severity)] = {what: gap(train, test, what) for what in test}
        self.guard()
        stored = {"label": label, "gaps": gaps, "commit": commit(), "seconds": time.perf_counter() - begin}
        write_json(files.measure(label), stored)

    def take(self, label: str, context: MeasureContext, files: StopPaths, where: str) -> None:
        """One measure of one network into its file; where it has no value, a null, and the reason beside it.

        `where` stands before the reason in `failed`. Raises OwnMeasureError, and what is of the machine.
        """
        from study.measures import attempt

        begin = time.perf_counter()
        result, error = attempt(label, context)
        self.guard()
        if error:
            self.failed.append(f"{where} {label}: {error}")
            write_bytes(files.error(label), f"{type(error).__name__}: {error}\n".encode())
            self.guard()
        else:
            files.error(label).unlink(missing_ok=True)  # of a person's code as it was before
        write_json(files.measure(label), {**result, "commit": commit(), "seconds": time.perf_counter() - begin})


def _history(paths: RunPaths, files: StopPaths) -> tuple[tuple[int, float], ...]:
    """Step and training loss wherever it was taken: ends of epochs and stops met, until this stop or the end.

    Empty where the epochs are not there, since stops alone would tell of a later step.
    """
    if not paths.epochs.exists():
        return ()
    outcome = read_json(paths.outcome)
    reached = outcome["reached"]
    last = reached.get(files.folder.name, outcome["end"])["step"]
    ends = [json.loads(line) for line in paths.epochs.read_text().splitlines()]
    taken = {(at["step"], at["train_loss"]) for at in (*ends, *reached.values()) if at["train_loss"] is not None}
    return tuple(sorted((step, loss) for step, loss in taken if step <= last))
