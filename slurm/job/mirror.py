"""What a job shows of its runs in wandb: while they train, where that was asked for, and when its shard is done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slurm.job.assignment import Assignment
from slurm.journal import Journal, Marker

if TYPE_CHECKING:
    from study.tracking.live import Live


class Mirror:
    """Of one job; nothing that it does fails or holds up the training."""

    def __init__(self, job: Assignment, marker: Marker, journal: Journal) -> None:
        self.job, self.marker, self.journal = job, marker, journal
        self._live: Live | None = None

    def begin(self) -> None:
        """Let wandb show the runs while they train, from a process of its own."""
        job = self.job
        if job.live_rate:
            from study.tracking.live import Live, Watched

            places = (job.runs_root, job.study, job.results_root)
            self._live = Live(
                Watched(job.runs, job.measures, *places, job.live_rate, job.seams, job.varies, self._origin())
            )

    def leave(self) -> None:
        """The training has ended, or stops here."""
        if self._live is not None:
            self._live.close()

    def finish(self) -> None:
        """Show the finished runs."""
        if self.job.wandb == "off":
            return
        from study.tracking.mirror import mirror

        job = self.job
        if self._live is not None:
            self._live.wait()
        done = mirror(
            job.runs, job.measures, job.runs_root, job.study, job.wandb, job.results_root, seams=job.seams,
            varies=job.varies, origin=self._origin(),
        )  # fmt: skip
        for problem in done.problems:
            print(problem, flush=True)

    def _origin(self) -> dict[str, Any]:
        """Where the runs are computed, for wandb's config."""
        m = self.marker
        log = {"log": str(self.journal.logs(m.log))} if m.log else {}
        return {"job": m.job, "shard": self.job.shard, "host": m.host, **log}
