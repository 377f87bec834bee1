"""A gate at which training waits for its test, so that a job is met while it trains however fast the machine is.

A job on the testbed starts this file where it would start python. While the gate is shut, an epoch ends at the gate's
pace and not at the processor's, and near its end a shard stands, still answering signals, losing its lease, leaving its
marker, until the gate opens. What is computed is untouched: the gate waits between epochs, and only in the tests' jobs.
"""

from __future__ import annotations

import os
import runpy
import stat
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PACE_SECONDS = 0.25  # an epoch's length while the gate is shut
LOOK_SECONDS = 0.05
SPARE = 40  # epochs before its end at which a shard stands: each start of its job takes one or two of them
OFTENER = 20  # how many times as often as the product a job saves, so that faults meet writes within seconds


@dataclass(frozen=True)
class Gate:
    """The test's side: where its jobs look whether they may pass."""

    folder: Path

    def __post_init__(self) -> None:
        self.folder.mkdir()

    def python(self, skew_seconds: int = 0) -> str:
        """What a cluster file names as python. Every other job's clock is so much ahead, the rest's so much behind."""
        script = self.folder / "python"
        words = f"{sys.executable} -u {Path(__file__).resolve()} {self.folder} {skew_seconds}"
        script.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        return str(script)

    def open(self, job: str = "all") -> None:
        """Let one job train to its end at full speed, or all jobs, those of later submissions too."""
        (self.folder / f"{job}.open").touch()


def main() -> None:
    """The job's side: `gate.py FOLDER SKEW_SECONDS -u -m MODULE ARGUMENTS...`."""
    folder, skew = Path(sys.argv[1]), int(sys.argv[2])
    sys.argv = sys.argv[5:]
    if skew:
        _skew_clock(skew * (1 - 2 * (int(os.environ.get("SLURM_ARRAY_TASK_ID", "0")) % 2)))
    _put_up(folder)
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


def _skew_clock(seconds: int) -> None:
    true_time = time.time
    time.time = lambda: true_time() + seconds


def _put_up(folder: Path) -> None:
    """Have every shard of this process wait at the gate."""
    from study import run

    run.SAVE_EVERY_SECONDS /= OFTENER
    plain = run.run_shard

    def gated(
        runs: Sequence[Any], *rest: Any, should_stop: Callable[[], bool], progress: Callable[[dict[str, Any]], None],
        **more: Any,
    ) -> Any:  # fmt: skip
        from slurm.job.work import job_name

        doors = [folder / "all.open", folder / f"{job_name()}.open"]

        def may_pass() -> bool:
            return any(door.exists() for door in doors) or should_stop()

        def wait(event: dict[str, Any]) -> None:
            progress(event)
            if event["kind"] != "epoch" or not event["running"]:
                return
            stands = event["epoch"] >= max(config.max_epochs for config in runs) - SPARE
            end = time.monotonic() + PACE_SECONDS
            while (stands or time.monotonic() < end) and not may_pass():
                time.sleep(LOOK_SECONDS)
                progress(event)  # leaves a marker every second, as an epoch does

        return plain(runs, *rest, should_stop=should_stop, progress=wait, **more)

    run.run_shard = gated


if __name__ == "__main__":
    main()
