"""One screen about a study's jobs: totals, then the shards that need attention. `watch` refreshes it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from slurm import scheduler
from slurm.launch import Place, digest
from slurm.status import IN_FLIGHT, ShardStatus, count, shard_states
from study.config import run_key
from study.grid import shards
from study.state import run_state
from study.storage.paths import RunPaths

ATTENTION = ("failed", "held", "lost", "stopped", "unknown", "running", "pending", "new", "done")  # what is shown first


@dataclass(frozen=True)
class Overview:
    """A study's shards with their runs: `runs[shard]` are keys, `trained[shard]` how many have ended training."""

    study: str
    statuses: Sequence[ShardStatus]
    runs: Mapping[str, Sequence[str]]
    trained: Mapping[str, int]
    sent: Mapping[str, int]  # how many submissions held a shard
    commits: Sequence[str]

    def totals(self) -> dict[str, Any]:
        """What the header says; seconds_left is None until something is done."""
        n_runs, n_trained = sum(map(len, self.runs.values())), sum(self.trained.values())
        running = [s.marker for s in self.statuses if s.state == "running" and s.marker]
        return {
            "study": self.study,
            "shards": {"total": len(self.statuses), **count(self.statuses)},
            "runs": {"total": n_runs, "trained": n_trained},
            "epochs_per_second": sum(m.epochs_per_second for m in running),
            "seconds_left": self._seconds_left(n_runs - n_trained, len(running)),
            "requeues": sum(s.marker.requeues for s in self.statuses if s.marker),
            "resubmissions": sum(max(0, n - 1) for n in self.sent.values()),
            "commits": list(self.commits),
        }

    def _seconds_left(self, n_left: int, n_running: int) -> float | None:
        """By the job seconds that a run has taken so far, on as many jobs as run now."""
        if not n_left:
            return 0.0
        markers = [s.marker for s in self.statuses if s.marker and s.marker.runs_done and s.marker.seconds]
        if not markers or not n_running:
            return None
        return n_left * sum(m.seconds for m in markers) / sum(m.runs_done for m in markers) / n_running

    def as_json(self) -> str:
        """Everything, for scripts."""
        rows = []
        for s in self.statuses:
            rows.append({**asdict(s), "runs": len(self.runs[s.shard]), "trained": self.trained[s.shard]})
        return json.dumps({**self.totals(), "shard_list": rows}, indent=1)


def look(place: Place) -> Overview:
    """Read the journal, the markers and the queue. Under 2 s for a thousand jobs: no run that is done is looked at."""
    journal = place.journal
    kept = journal.plan(digest(place.config))
    runs = kept or {s.id: [run_key(c) for c in s.runs] for s in shards(place.study)}
    statuses = shard_states(journal, list(runs), place.runs)
    trained = {s.shard: _trained(s, runs[s.shard], place.runs) for s in statuses}
    unmarked = {s.shard for s in statuses if s.state not in ("done", *IN_FLIGHT)}
    unmarked = {shard for shard in unmarked if trained[shard] == len(runs[shard])}
    outdated = {s.shard for s in statuses if s.state == "done"} if kept is None else set()  # by a yaml that has changed
    if unmarked | outdated:  # done without the launcher, or before its marker could be written: the runs' files decide
        complete = _complete(place, unmarked | outdated)
        statuses = [replace(s, state="done", cause="") if s.shard in complete else s for s in statuses]
        more = "the study asks for more since; `submit` sends it"
        statuses = [replace(s, state="new", cause=more) if s.shard in outdated - complete else s for s in statuses]
    submissions = journal.submissions()
    sent = Counter(shard for submission in submissions for shard in submission.shards)
    commits = list(dict.fromkeys(s.commit for s in submissions))
    return Overview(place.study_name, statuses, runs, trained, sent, commits)


def _trained(status: ShardStatus, keys: Sequence[str], runs_root: Path) -> int:
    if status.state == "done":
        return len(keys)
    if status.state == "running" and status.marker is not None and status.marker.runs == len(keys):
        return status.marker.runs_done
    return sum(RunPaths(runs_root, key).outcome.exists() for key in keys)


def _complete(place: Place, candidates: set[str]) -> set[str]:
    study = place.study
    return {
        shard.id
        for shard in shards(study)
        if shard.id in candidates
        and all(run_state(RunPaths(place.runs, run_key(c)), c, study.measures) == "done" for c in shard.runs)
    }


def show(overview: Overview, lines: int = 0) -> None:
    """Print it, in at most `lines` lines (default: the terminal's height)."""
    total = overview.totals()
    lines = lines or shutil.get_terminal_size((120, 40)).lines
    shown = total["shards"]
    states = ", ".join(f"{n} {name}" for name, n in shown.items() if name != "total")
    left = total["seconds_left"]
    print(f"{overview.study}: {total['runs']['trained']} of {total['runs']['total']} runs trained")
    print(f"  shards    {shown['total']}: {states}")
    time_left = "unknown time" if left is None else duration(left)
    print(f"  speed     {total['epochs_per_second']:.1f} epochs/s, {time_left} left")
    print(f"  requeues  {total['requeues']} by the scheduler, {total['resubmissions']} sent again")
    print(f"  code      {', '.join(total['commits']) or 'nothing sent yet'}")
    order = sorted(overview.statuses, key=lambda s: ATTENTION.index(s.state))
    room = max(3, lines - 8)
    print(
        f"  {'shard':<12} {'state':<8} {'job':<14} {'runs':>9} {'epoch':>6} {'ep/s':>7} {'left':>8} {'req':>4}  cause"
    )
    for status in order[:room]:
        print("  " + _row(overview, status))
    if len(order) > room:
        print(f"  ... and {len(order) - room} more; --json has all")
    sys.stdout.flush()


def _row(overview: Overview, s: ShardStatus) -> str:
    m, n, trained = s.marker, len(overview.runs[s.shard]), overview.trained[s.shard]
    live = m is not None and s.state == "running"
    epoch, rate = (f"{m.epoch}", f"{m.epochs_per_second:.1f}") if live and m else ("", "")
    left = duration(m.seconds / m.runs_done * (n - trained)) if live and m and m.runs_done else ""
    cause = s.cause or (m.history[-1] if m and m.history and s.state != "done" else "")
    line = (
        f"{s.shard:<12} {s.state:<8} {s.job:<14} {trained:>4}/{n:<4} {epoch:>6} {rate:>7} {left:>8}"
        f" {m.requeues if m else 0:>4}  {cause}"
    )
    return line[: max(60, shutil.get_terminal_size((160, 40)).columns - 3)] if sys.stdout.isatty() else line


def duration(seconds: float) -> str:
    """Seconds in the units one thinks in.

    >>> duration(42), duration(600), duration(9000)
    ('42 s', '10 min', '2.5 h')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def watch(place: Place, seconds: float) -> int:
    """Show the overview again and again until no job is in flight. 0 if all is done, else 1."""
    while True:
        overview = look(place)
        if sys.stdout.isatty():
            print("\x1b[H\x1b[2J", end="")
        show(overview)
        if not any(s.state in IN_FLIGHT for s in overview.statuses):
            return exit_status(overview)
        time.sleep(seconds)


def exit_status(overview: Overview) -> int:
    """0 if every shard is done, else 1."""
    return 0 if all(s.state == "done" for s in overview.statuses) else 1


def cancel(place: Place) -> int:
    """End all jobs of the study that are queued or running; what they have saved stays."""
    import signal

    for submission in place.journal.submissions():  # a submitter on this machine, which would start the next shards
        if submission.kind == "local" and not submission.cancelled:
            place.journal.write(replace(submission, cancelled=True))
    overview = look(place)
    found = [s for s in overview.statuses if s.state in ("running", "pending", "held")]
    scheduler.cancel([s.job for s in found if s.kind == "slurm" and s.job])
    here = os.uname().nodename
    for status in found:  # those that wait for a core end with their submitter
        if status.kind == "local" and status.state == "running" and status.marker and status.marker.host == here:
            pid = int(status.job.rpartition("/")[2])  # this very process, and alive a moment ago: its lease says so
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
    print(f"{place.study_name}: {len(found)} jobs cancelled")
    return 0


def collect(place: Place) -> int:
    """Write the records of what is done and say what is not. 0 if nothing is missing, else 1."""
    from study.records import collect as write_records

    path, missing = write_records(place.study, place.runs, place.results)
    n = len(place.study.runs)
    print(f"{path}: {n - missing} of {n} runs" + (f", {missing} not done" if missing else ""))
    if missing:
        show(look(place), lines=18)
    else:
        print(f"next      python -m analysis report {place.study_name} --results {place.results}")
    return 1 if missing else 0
