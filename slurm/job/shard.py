"""One job = one shard. It holds a lease on its runs, leaves a marker of how it fares, and can be requeued any time.

The shard trains on a thread of its own, so that the main thread can take signals at once. At the time limit and at a
preemption SLURM sends USR2: submitit calls `checkpoint`, which asks the training to end its epoch and save, and then
requeues the job, which goes on from there to the same bits. At SIGTERM (scancel, or a site that preempts without USR2)
the job saves, frees its lease and waits for its end.
"""

from __future__ import annotations

import os
import shutil
import signal
import threading
from dataclasses import dataclass
from typing import Any, ClassVar

from slurm.job.assignment import Assignment
from slurm.job.work import Work
from slurm.journal import REQUEUED


@dataclass
class ShardJob(Assignment):
    """What submitit pickles: an assignment. Call it to do the shard, again to go on with it."""

    _now: ClassVar[Work | None] = None  # this process's work; a class variable is not pickled

    def __call__(self) -> str:
        """Do the shard. Returns how it ended: done, stopped, superseded. Raises what the shard raised."""
        os.environ.pop("WANDB_SERVICE", None)  # inherited through sbatch it names a process that is gone
        work = Work(self)
        ShardJob._now = work
        if threading.current_thread() is not threading.main_thread():
            return work.follow()  # where no signal arrives
        before = signal.signal(signal.SIGTERM, work.on_terminate)
        try:
            return work.follow()
        finally:
            signal.signal(signal.SIGTERM, before)

    @classmethod
    def save(cls, cause: str) -> None:
        """Let this process's work, if it has begun, end its epoch, save and stop, in a signal handler."""
        if cls._now is not None:
            cls._now.save(cause)

    def checkpoint(self) -> Any:
        """Called by submitit in its signal handler: save, then name what is to run after the requeue (this again).

        Returns None where the job cannot requeue itself, which submitit turns into an error that `follow` understands.
        """
        from submitit.helpers import DelayedSubmission

        self.save(REQUEUED)
        if os.environ.get("SUBMITIT_EXECUTOR") == "slurm" and shutil.which("scontrol") is None:
            return None
        return DelayedSubmission(self)
