"""What has become of each shard: the marker that its job left, and what squeue and sacct say. Reads, never sends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from slurm import scheduler
from slurm.journal import REQUEUED, Journal, Marker, Submission
from slurm.log import find_log, last_error
from study.storage import lease

STATES = ("done", "running", "pending", "held", "failed", "stopped", "lost", "unknown", "new")
IN_FLIGHT = ("running", "pending", "unknown")
# How the accounting's last word counts: the job's own fault, or none of it.
_FAULT = {"FAILED", "TIMEOUT", "OUT_OF_MEMORY", "DEADLINE", "COMPLETED"}


@dataclass(frozen=True)
class ShardStatus:
    """Where a shard stands. `cause` is a line for people: why it failed, what it waits for.

    `log` is the path of what its job wrote to stderr; `last_line` says, of a job that ended badly, what stands there.
    """

    shard: str
    state: str
    kind: str = ""
    job: str = ""
    cause: str = ""
    marker: Marker | None = None
    log: str = ""
    last_line: str = ""

    @property
    def requeues(self) -> int:
        """How often the scheduler has put the shard back: its marker counts when it starts again, this at once."""
        m = self.marker
        if m is None:
            return 0
        waits = self.state in ("pending", "held") and m.state in ("waiting", "running", "stopped")
        leaves = self.state == "running" and m.state == "stopped" and m.cause == REQUEUED
        return m.requeues + (self.kind == "slurm" and m.job == self.job and (waits or leaves))

    @property
    def why(self) -> str:
        """The cause, with the last line of the log where only the scheduler knows one."""
        own = self.marker is not None and self.cause == self.marker.cause
        return self.cause if own or self.last_line in self.cause else f"{self.cause}: {self.last_line}"


def shard_states(journal: Journal, shard_ids: Sequence[str], runs_root: Path) -> list[ShardStatus]:
    """One squeue and at most one sacct, whatever the number of shards; a small file a shard.

    States: done; running, pending (its job is in the queue; unknown where the queue cannot be asked); held (in the
    queue too, but the scheduler will not start it again by itself, as after a launch that failed); failed (its job
    raised an error, ran out of time or memory); stopped (saved and left, not requeued); lost (its job is gone without a
    word: killed, cancelled, node failure); new (no job yet).
    """
    latest, waiting = journal.latest(), journal.waiting_locally()
    markers = {shard: journal.marker(shard) for shard in shard_ids}
    mine = {shard: latest[shard] for shard in shard_ids if shard in latest}
    asked = [s for shard, s in mine.items() if s.kind == "slurm" and not _is_done(markers[shard])]
    try:
        queued: dict[str, tuple[str, str, str]] | None = scheduler.queue(_job_name(journal, s) for s in asked)
        unreachable = ""
    except scheduler.SchedulerError as error:
        queued, unreachable = None, str(error)
    found = [
        _local(shard, markers[shard], runs_root, shard in waiting, shard in mine[shard].cancelled)
        if shard in mine and mine[shard].kind == "local" and not _is_done(markers[shard])
        else _first_look(journal, shard, mine.get(shard), markers[shard], queued, unreachable)
        for shard in shard_ids
    ]
    open_jobs = [status.job for status in found if status.state == "lost" and status.kind == "slurm"]
    try:
        accounts, silence = scheduler.history(open_jobs), "the accounting knows nothing of it"
    except scheduler.SchedulerError as error:  # or there is none at this site
        accounts, silence = {}, f"the accounting cannot be asked: {error}"
    known = [_with_account(status, accounts, silence) if status.state == "lost" else status for status in found]
    return [_with_log(journal, status, mine.get(status.shard)) for status in known]


def _with_log(journal: Journal, status: ShardStatus, submission: Submission | None) -> ShardStatus:
    path = find_log(journal, status.shard, submission, status.job, status.marker)
    last_line = last_error(path) if status.state in ("failed", "lost") else ""
    return replace(status, log=path, last_line=last_line)


def _job_name(journal: Journal, submission: Submission) -> str:
    return f"{journal.folder.parent.name}.{submission.id}"


def _is_done(marker: Marker | None) -> bool:
    return marker is not None and marker.state == "done"


def _first_look(
    journal: Journal, shard: str, submission: Submission | None, marker: Marker | None,
    queued: dict[str, tuple[str, str, str]] | None, unreachable: str,
) -> ShardStatus:  # fmt: skip
    if _is_done(marker):
        return ShardStatus(
            shard, "done", submission.kind if submission else "", marker.job if marker else "", "", marker
        )
    if submission is None:
        return ShardStatus(shard, "new", marker=marker)
    job = submission.task(shard) if submission.job else ""
    if queued is None:
        return ShardStatus(shard, "unknown", "slurm", job, f"the queue cannot be asked: {unreachable}", marker)
    entry = queued.get(f"{_job_name(journal, submission)}/{submission.index(shard)}")
    if entry is not None:
        id, state, reason = entry
        started = state in ("RUNNING", "COMPLETING", "SIGNALING", "SUSPENDED")
        if not started:
            held = scheduler.holds(state, reason)
            return ShardStatus(shard, "held" if held else "pending", "slurm", id, reason, marker)
        if submission.shards_per_job > 1 and marker and marker.job == job and marker.state == "failed":
            return ShardStatus(shard, "failed", "slurm", job, marker.cause, marker)  # its job goes on with the others
        cause = marker.cause if marker and marker.state == "waiting" else ""
        return ShardStatus(shard, "running", "slurm", id, cause, marker)
    own = marker if marker is not None and marker.job == job else None  # of this job, not of one before
    if shard in submission.cancelled and (own is None or own.state != "failed"):
        return ShardStatus(shard, "stopped", "slurm", job, _cancelled(own), marker)
    if own is not None and own.state in ("failed", "stopped"):
        return ShardStatus(shard, own.state, "slurm", job, own.cause, marker)
    cause = "" if job else "its submitter ended before the scheduler had answered"
    return ShardStatus(shard, "lost", "slurm", job, cause, marker)


def _cancelled(marker: Marker | None) -> str:
    if marker is None or marker.state == "new":
        return "cancelled before it was started"
    return "cancelled: saved" if marker.state == "stopped" else "cancelled"


def _local(shard: str, marker: Marker | None, runs: Path, submitter_lives: bool, cancelled: bool) -> ShardStatus:
    if marker is None or marker.state == "new":
        if submitter_lives:
            return ShardStatus(shard, "pending", "local", "", "waits for a core")
        if cancelled:
            return ShardStatus(shard, "stopped", "local", "", _cancelled(None))
        return ShardStatus(shard, "lost", "local", "", "was not started")
    if marker.state in ("failed", "stopped"):
        return ShardStatus(shard, marker.state, "local", marker.job, marker.cause, marker)
    if lease.alive(runs, marker.holder):
        return ShardStatus(shard, "running", "local", marker.job, marker.cause, marker)
    if submitter_lives and marker.state == "waiting":  # it waits for the runs that another process holds
        return ShardStatus(shard, "pending", "local", marker.job, marker.cause, marker)
    state, cause = ("stopped", _cancelled(marker)) if cancelled else ("lost", "its process is gone")
    return ShardStatus(shard, state, "local", marker.job, cause, marker)


def _with_account(status: ShardStatus, accounts: dict[str, tuple[str, str, str]], silence: str) -> ShardStatus:
    state, exit_code, nodes = accounts.get(status.job, ("", "", ""))
    if not state:
        cause = status.cause or f"its job is not in the queue, and {silence}"
        return ShardStatus(status.shard, "lost", status.kind, status.job, cause, status.marker)
    where = f" on {nodes}" if nodes and nodes != "None assigned" else ""
    why = f", {scheduler.explain_exit(exit_code)}" if state == "FAILED" else ""
    cause = f"SLURM says {state}{where}{why}"
    kind = "failed" if state in _FAULT else "lost"
    return ShardStatus(status.shard, kind, status.kind, status.job, cause, status.marker)


def count(states: Iterable[ShardStatus]) -> dict[str, int]:
    """How many shards are in each state, in the order of STATES; only those that occur."""
    found = Counter(status.state for status in states)
    return {name: found[name] for name in STATES if found[name]}
