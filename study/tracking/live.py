"""Runs in W&B while they train: a process beside the training sends what their files hold so far.

It reads runs/ alone, and writes and uploads as for finished runs, each row once. What becomes of it is nothing to the
training, which neither waits for it nor hears of it; what it has not sent, the mirror of the finished run sends.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study.config import RunConfig, run_key
from study.records import started_rows
from study.storage.paths import RunPaths, results_folder
from study.tracking.delivery import deliver
from study.tracking.offline import write_offline
from study.tracking.outbox import Outbox
from study.tracking.upload import Pace
from study.tracking.wandb_run import WandbRun, finished_runs, read_epochs, wandb_run

LIVE_SECONDS = 30.0  # at least, between looks at the files, which are written every 20 s. Ours
END_SECONDS = 60.0  # for what is on its way when the training has ended


@dataclass(frozen=True)
class Watched:
    """The runs of a study that train here, as for `mirror`; `rate` is this process's share of requests a minute."""

    runs: Sequence[RunConfig]
    measures: Sequence[str]
    runs_root: str | Path
    study: str
    results_root: str | Path | None
    rate: float
    seams: Collection[str] = ()
    varies: Collection[str] = ()
    origin: Mapping[str, Any] | None = None


class Live:
    """The process that shows these runs until it is closed; one that cannot be started is none."""

    def __init__(self, watched: Watched) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        with contextlib.suppress(OSError):
            self._process = subprocess.Popen(
                [sys.executable, "-m", "study.tracking.live"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
            assert self._process.stdin is not None
            self._process.stdin.write(pickle.dumps(watched))
            self._process.stdin.flush()

    def close(self) -> None:
        """Let it end what is on its way, and then itself, as it does where this process is killed. Does not wait."""
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()

    def wait(self) -> None:
        """Close it and wait for its end, so that the mirror of the finished runs is alone; it has a minute for that."""
        self.close()
        if self._process is not None:
            try:
                self._process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


def show(watched: Watched, ended: Callable[[float], bool]) -> None:
    """Send new rows again and again until `ended` (which waits so many seconds) says so; the longest unsent first."""
    results = results_folder(watched.study, watched.results_root)
    sent: dict[str, float] = {}
    pace = Pace(watched.rate)
    n = max(1, int(LIVE_SECONDS / pace.seconds_per_run))
    while not ended(max(LIVE_SECONDS, n * pace.seconds_per_run)):
        with contextlib.suppress(Exception):  # a mirror never fails; the next look tries again
            outbox = Outbox(results)
            runs = [run for run in _as_far_as_they_are(watched) if not outbox.is_sent(run.id, run.digest())]
            some = sorted(runs, key=lambda run: sent.get(run.id, 0.0))[:n]
            sent |= {run.id: time.monotonic() for run in some}
            write_offline(some, results)
            deliver(some, results, rate=watched.rate)


def _as_far_as_they_are(watched: Watched) -> list[WandbRun]:
    """Finished runs whole; those that train with the rows on disk, where there are any."""
    w, origin = watched, watched.origin or {}
    found, _ = finished_runs(w.runs, w.measures, w.runs_root, w.study, w.seams, w.varies, origin)
    finished = {run.id for run in found}
    for config in w.runs:
        epochs = read_epochs(RunPaths(Path(w.runs_root), run_key(config)))
        if epochs and f"{w.study}-{run_key(config)}" not in finished:
            found.append(wandb_run(w.study, started_rows(config, w.seams), epochs, w.varies, origin))
    return found


def main() -> None:
    """Show the runs that stdin names until it ends."""
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # a scheduler's signals are the training's, whose end is heard
    os.nice(10)
    watched: Watched = pickle.load(sys.stdin.buffer)
    end = threading.Event()

    def listen() -> None:
        os.read(0, 1)
        end.set()

    threading.Thread(target=listen, daemon=True).start()
    show(watched, end.wait)


if __name__ == "__main__":
    main()
